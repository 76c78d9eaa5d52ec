//! The example's files: a crate that loads a bundle and prints what the model answers to a text.
//!
//! In: what goes in and comes out, and the tokenizer's rules. Out: `Cargo.toml` and `src/main.rs`, laid out by prettyplease.

use super::answers::Rules;
use super::writing;
use crate::artifact::{Format, StepProgram};
use crate::task::{Dtype, Input};
use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

/// What an example prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A vector for each text.
    Embedding,
    /// A label and the scores of all.
    Label,
    /// How the text goes on.
    Text,
}

/// What an example is made from.
pub struct Plan<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub inputs: &'a [Input],
    /// Which output is read, counted from 0.
    pub output: usize,
    pub rules: &'a Rules,
    /// The tokenizer's file, from the bundle's folder.
    pub tokenizer: &'a str,
    /// Where it writes a text with a cache: what the program of a step takes beside tokens.
    pub cache: Option<&'a StepProgram>,
    /// How many outputs the task has.
    pub outputs: usize,
    /// The most tokens that are written.
    pub new_tokens: usize,
}

/// What the example is built with: the tch of this project, and the tokenizers whose Python package has the same number but
/// for its last part.
const MANIFEST: &str = r#"[package]
name = "example"
version = "0.1.0"
edition = "2024"
publish = false

[dependencies]
anyhow = "1"
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tch = "=0.24.0"
# Reads files alone: it asks no hub.
tokenizers = { version = "=0.23.2", default-features = false, features = ["onig"] }

[workspace]
"#;

/// `Cargo.toml`. Every package has a name of its own: all of them are built in one folder, perhaps at the same time.
pub fn manifest(package: &str) -> String {
    MANIFEST.replacen("example", package, 1)
}

/// What a row holds beside its tokens, and how it is made of a text; `given` is what Python's tokenizer gives.
fn source(name: &str, given: &[String]) -> Option<TokenStream> {
    let read = |getter: &str| {
        let getter = format_ident!("{getter}");
        quote!(encoding.#getter().iter().map(|value| i64::from(*value)).collect())
    };
    match name {
        "input_ids" => Some(read("get_ids")),
        "attention_mask" => Some(read("get_attention_mask")),
        "token_type_ids" if given.iter().any(|given| given == name) => Some(read("get_type_ids")),
        // Then Python's model has none either, which is zeros.
        "token_type_ids" => Some(quote!(vec![0; encoding.len()])),
        "position_ids" => Some(quote!(positions(encoding.get_attention_mask()))),
        _ => None,
    }
}

/// The first input that no text is made into; then there is no example.
pub fn foreign(inputs: &[Input]) -> Option<&str> {
    inputs.iter().map(|input| input.name.0).find(|name| source(name, &[]).is_none())
}

/// `src/main.rs`.
pub fn main_rs(plan: &Plan) -> String {
    let parts = [header(plan), rows(plan), answer(plan), bundle(plan), main(plan)];
    let file = syn::parse2(parts.into_iter().collect()).expect("the example is Rust");
    prettyplease::unparse(&file)
}

fn header(plan: &Plan) -> TokenStream {
    let about = [
        format!(" Prints what {} answers to each text that is given.", plan.name),
        String::new(),
        " With libtorch, or the folder of Python's torch package, in LIBTORCH:".to_owned(),
        " `LD_LIBRARY_PATH=$LIBTORCH/lib cargo run -- \"a text\" \"another\"`. `cargo run -- --encode FILE` reads a JSON list".to_owned(),
        " of lists of one or two texts, and prints the rows of tokens that they become.".to_owned(),
    ];
    quote! {
        #(#![doc = #about])*
        use anyhow::{Context, Result, anyhow};
        use serde::Serialize;
        use std::path::Path;
        use tch::{CModule, Device, IValue, Kind, Tensor};
        use tokenizers::{
            EncodeInput, PaddingDirection, PaddingParams, Tokenizer, TruncationDirection, TruncationParams,
        };
    }
}

/// Rows of tokens, typed by the program's inputs.
fn rows(plan: &Plan) -> TokenStream {
    let names: Vec<_> = plan.inputs.iter().map(|input| format_ident!("{}", input.name.0)).collect();
    let sources = plan.inputs.iter().filter_map(|input| source(&input.name, &plan.rules.names));
    let positions = plan.inputs.iter().any(|input| input.name == "position_ids").then(|| {
        quote! {
            /// Places of tokens, counted from the first real one.
            fn positions(mask: &[u32]) -> Vec<i64> {
                let mut seen = 0;
                mask.iter()
                    .map(|real| {
                        seen += i64::from(*real);
                        (seen - 1).max(0)
                    })
                    .collect()
            }
        }
    });
    let follow = (plan.kind == Kind::Text).then(|| writing::follow(plan));
    quote! {
        /// What goes in: one row for each text, all as long as the longest.
        #[derive(Debug, Default, Serialize)]
        struct Rows {
            #(#names: Vec<Vec<i64>>,)*
        }

        impl Rows {
            fn of(encodings: &[tokenizers::Encoding]) -> Self {
                let mut rows = Self::default();
                for encoding in encodings {
                    #(rows.#names.push(#sources);)*
                }
                rows
            }

            fn tensors(&self) -> Vec<IValue> {
                [#(&self.#names),*].map(|rows| IValue::Tensor(tensor(rows))).into()
            }

            #follow
        }

        fn tensor(rows: &[Vec<i64>]) -> Tensor {
            Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
        }

        #positions
    }
}

/// What comes out, typed by the task.
fn answer(plan: &Plan) -> TokenStream {
    match plan.kind {
        Kind::Embedding => quote! {
            /// What comes out.
            #[derive(Debug, Serialize)]
            struct Answer {
                sentence_embedding: Vec<f32>,
            }
        },
        Kind::Label => {
            let labels = &plan.rules.labels;
            let count = Literal::usize_unsuffixed(labels.len());
            quote! {
                /// Names of the scores, in order.
                const LABELS: [&str; #count] = [#(#labels),*];

                /// What comes out.
                #[derive(Debug, Serialize)]
                struct Answer {
                    label: &'static str,
                    scores: Vec<f32>,
                }
            }
        }
        Kind::Text => writing::answer(plan),
    }
}

/// Tokenizer and program.
fn bundle(plan: &Plan) -> TokenStream {
    let rules = plan.rules;
    let max_length = Literal::usize_unsuffixed(rules.max_length);
    let [pad_id, pad_type_id] = [rules.pad_id, rules.pad_type_id].map(Literal::u32_unsuffixed);
    let (pad_token, tokenizer) = (&rules.pad_token, plan.tokenizer);
    let side = |left| if left { format_ident!("Left") } else { format_ident!("Right") };
    let (pads, cuts) = (side(rules.pads_left), side(rules.cuts_left));
    let format = Format::TorchScript;
    let program = if plan.cache.is_some() { format.step() } else { format.file(Dtype::Float32) };
    let (run, answers) = (run(plan), answers(plan));
    quote! {
        /// A model and its tokenizer.
        struct Bundle {
            tokenizer: Tokenizer,
            program: CModule,
        }

        impl Bundle {
            fn load(folder: &Path) -> Result<Self> {
                let path = folder.join(#tokenizer);
                let wrong = |error| anyhow!("{}: {error}", path.display());
                let mut tokenizer = Tokenizer::from_file(&path).map_err(wrong)?;
                tokenizer.with_padding(Some(PaddingParams {
                    direction: PaddingDirection::#pads,
                    pad_id: #pad_id,
                    pad_type_id: #pad_type_id,
                    pad_token: #pad_token.to_owned(),
                    ..PaddingParams::default()
                }));
                let cut = TruncationParams {
                    max_length: #max_length,
                    direction: TruncationDirection::#cuts,
                    ..TruncationParams::default()
                };
                tokenizer.with_truncation(Some(cut)).map_err(wrong)?;
                let program = folder.join(#program);
                let program = CModule::load_on_device(&program, Device::Cpu)
                    .with_context(|| program.display().to_string())?;
                Ok(Self { tokenizer, program })
            }

            fn encode(&self, texts: Vec<EncodeInput>) -> Result<Rows> {
                let encodings = self.tokenizer.encode_batch(texts, true).map_err(|error| anyhow!("{error}"))?;
                Ok(Rows::of(&encodings))
            }

            #run

            fn answer(&self, text: &str) -> Result<Answer> {
                #answers
            }
        }
    }
}

/// How the program is run.
fn run(plan: &Plan) -> TokenStream {
    let output = Literal::usize_unsuffixed(plan.output);
    let outputs = quote! {
        fn outputs(&self, inputs: &[IValue]) -> Result<Vec<Tensor>> {
            let IValue::Tuple(outputs) = self.program.forward_is(inputs)? else {
                return Err(anyhow!("the program returned no tuple"));
            };
            let tensor = |output| match output {
                IValue::Tensor(tensor) => Ok(tensor),
                other => Err(anyhow!("the program returned {other:?}")),
            };
            outputs.into_iter().map(tensor).collect()
        }
    };
    let run = match plan.cache {
        Some(_) => writing::step(plan),
        None => quote! {
            fn run(&self, rows: &Rows) -> Result<Tensor> {
                Ok(self.outputs(&rows.tensors())?.swap_remove(#output))
            }
        },
    };
    quote!(#outputs #run)
}

/// From a text to its answer.
fn answers(plan: &Plan) -> TokenStream {
    match plan.kind {
        Kind::Embedding => quote! {
            let output = self.run(&self.encode(vec![text.into()])?)?;
            Ok(Answer { sentence_embedding: Vec::try_from(output.get(0).to_kind(Kind::Float))? })
        },
        Kind::Label => {
            let scored = match plan.rules.scored_alone {
                true => quote!(logits.sigmoid()),
                false => quote!(logits.softmax(-1, Kind::Float)),
            };
            quote! {
                let logits = self.run(&self.encode(vec![text.into()])?)?.get(0);
                let best = usize::try_from(logits.argmax(-1, false).int64_value(&[]))?;
                Ok(Answer { label: LABELS[best], scores: Vec::try_from(#scored.to_kind(Kind::Float))? })
            }
        }
        Kind::Text => writing::answers(plan),
    }
}

fn main(_: &Plan) -> TokenStream {
    quote! {
        fn main() -> Result<()> {
            let _guard = tch::no_grad_guard();
            let bundle = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
            let texts: Vec<String> = std::env::args().skip(1).collect();
            if let [option, path] = &texts[..] && option == "--encode" {
                let texts: Vec<Vec<String>> = serde_json::from_reader(std::fs::File::open(path)?)?;
                let inputs = texts.iter().map(|texts| match &texts[..] {
                    [text] => Ok(text.as_str().into()),
                    [first, second] => Ok((first.as_str(), second.as_str()).into()),
                    _ => Err(anyhow!("a row is made of one text or two, not of {}", texts.len())),
                });
                let rows = bundle.encode(inputs.collect::<Result<_>>()?)?;
                println!("{}", serde_json::to_string(&rows)?);
                return Ok(());
            }
            for text in &texts {
                println!("{}", serde_json::to_string(&bundle.answer(text)?)?);
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::example::answers::Greedy;
    use crate::task::{BATCH, SEQUENCE, mask, positions, tokens};
    use serde_json::json;

    const SHAPE: &[crate::task::Dim] = &[BATCH, SEQUENCE];
    const INPUTS: [Input; 3] =
        [tokens("input_ids", SHAPE), mask("attention_mask", SHAPE), positions("position_ids", SHAPE)];

    fn plan<'a>(kind: Kind, rules: &'a Rules, cache: Option<&'a StepProgram>) -> Plan<'a> {
        Plan {
            name: "mine",
            kind,
            inputs: &INPUTS,
            output: 0,
            rules,
            tokenizer: "tokenizer.json",
            cache,
            outputs: 1,
            new_tokens: 16,
        }
    }

    fn rules() -> Rules {
        Rules {
            max_length: 256,
            pad_token: "[PAD]".to_owned(),
            pads_left: true,
            labels: vec!["\"good\"".to_owned(), "bad".to_owned()],
            ends: vec![2, 7],
            ..Rules::default()
        }
    }

    fn example(kind: Kind) -> String {
        main_rs(&plan(kind, &rules(), None))
    }

    /// A cache of two layers, of which the second is of another size.
    fn cache() -> StepProgram {
        let tensor = |name: &str, heads: usize| json!({"name": name, "dtype": "float32", "shape": ["batch", heads, "past", 8]});
        let layers = [("cache/0/key", 2), ("cache/0/value", 2), ("cache/1/key", 1), ("cache/1/value", 1)];
        let cache: Vec<_> = layers.map(|(name, heads)| tensor(name, heads)).into();
        let about = json!({"tokens": "input_ids", "mask": "attention_mask", "positions": "position_ids", "prompt": 4,
            "prefill": null, "cache": cache, "held": []});
        serde_json::from_value(about).unwrap()
    }

    fn shown(name: &str, example: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, example));
    }

    #[test]
    fn an_example_goes_from_a_text_to_its_embedding() {
        shown("example", &example(Kind::Embedding));
    }

    #[test]
    fn a_text_is_written_with_a_cache_as_its_generation_config_asks() {
        let greedy = Greedy {
            repetition_penalty: Some(1.1),
            no_repeat_ngram_size: Some(3),
            min_new_tokens: Some(2),
            suppress_tokens: vec![5, 6],
        };
        let rules = Rules { greedy, ..rules() };
        shown("example_writing", &main_rs(&plan(Kind::Text, &rules, Some(&cache()))));
    }

    #[test]
    fn an_example_runs_on_the_libtorch_that_proved_the_program() {
        let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let own = manifest.lines().find_map(|line| line.strip_prefix("tch = { version = ")).unwrap();
        let version = own.split(',').next().unwrap();
        let example = super::manifest("example_mine");
        assert!(example.starts_with("[package]\nname = \"example_mine\"\n"), "{example}");
        assert!(example.contains(&format!("tch = {version}\n")), "{version}");
    }

    #[test]
    fn each_task_has_an_answer_of_its_own() {
        let label = example(Kind::Label);
        assert!(label.contains(r#"const LABELS: [&str; 2] = ["\"good\"", "bad"];"#), "{label}");
        let text = example(Kind::Text);
        assert!(text.contains("const ENDS: &[i64] = &[2, 7];"), "{text}");
        assert!(text.contains("self.position_ids[0].push(value);"), "without a cache the row grows: {text}");
        assert!(!text.contains("settle"), "nothing is asked for: {text}");
    }

    #[test]
    fn an_input_that_is_made_of_no_text_is_named() {
        assert_eq!(foreign(&INPUTS), None);
        let pictures = crate::task::features("pixel_values", &[BATCH]);
        assert_eq!(foreign(&[INPUTS[0], pictures]), Some("pixel_values"));
    }
}
