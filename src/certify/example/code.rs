//! The example's files: a crate that loads a bundle and prints what the model answers.
//!
//! In: what goes in and comes out, and what Python's tokenizer does. Out: `Cargo.toml` and `src/main.rs`, laid out by
//! prettyplease. What a text becomes is in [`text`], a picture or a sound in [`media`], what an answer is made of in [`heads`]
//! and [`writing`].

use super::answers::{Rules, Steps};
use super::{heads, media, text, writing};
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
    /// A label for each token that has one.
    Entities,
    /// Words in the place of each mask.
    Masks,
    /// The part of a text that answers a question.
    Span,
    /// How the text goes on.
    Text,
    /// What was said in a sound, by letters.
    Heard,
    /// What was said in a sound, written token by token.
    Written,
}

/// What an example is made from.
pub struct Plan<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub inputs: &'a [Input],
    /// Which outputs are read, counted from 0.
    pub reads: Vec<usize>,
    pub rules: &'a Rules,
    /// What a picture or a sound becomes; none where texts go in.
    pub steps: Option<&'a Steps>,
    /// The tokenizer's file, from the bundle's folder.
    pub tokenizer: &'a str,
    /// Where it writes a text with a cache: what the program of a step takes beside tokens.
    pub cache: Option<&'a StepProgram>,
    /// How many outputs the task has.
    pub outputs: usize,
    /// The most tokens that are written.
    pub new_tokens: usize,
}

impl Plan<'_> {
    /// What an answer is made of, by the names of its parts.
    fn takes(&self) -> &'static [&'static str] {
        match (self.kind, self.steps) {
            (_, Some(Steps::Picture { .. })) => &["picture"],
            (_, Some(Steps::Sound { .. } | Steps::Speech(_))) => &["sound"],
            (Kind::Span, None) => &["question", "context"],
            _ => &["text"],
        }
    }

    /// Whether it has a tokenizer.
    fn is_tokenized(&self) -> bool {
        self.steps.is_none_or(Steps::writes)
    }

    /// The one output that is read.
    pub fn output(&self) -> Literal {
        Literal::usize_unsuffixed(self.reads[0])
    }
}

/// What the answers of a kind are made by.
pub struct Head {
    /// `Answer`, and what it needs.
    pub items: TokenStream,
    /// The body that makes one.
    pub body: TokenStream,
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
"#;
pub const TOKENIZERS: &str = r#"# Reads files alone: it asks no hub.
tokenizers = { version = "=0.23.2", default-features = false, features = ["onig"] }
"#;

/// `Cargo.toml`. Every package has a name of its own: all of them are built in one folder, perhaps at the same time.
pub fn manifest(package: &str, steps: Option<&Steps>) -> String {
    let more = steps.map_or_else(|| TOKENIZERS.to_owned(), Steps::dependencies);
    format!("{}{more}\n[workspace]\n", MANIFEST.replacen("example", package, 1))
}

/// `src/main.rs`.
pub fn main_rs(plan: &Plan) -> String {
    let head = match plan.kind {
        Kind::Embedding => heads::embedding(),
        Kind::Label => of_logits(plan, heads::label(&plan.rules.meanings)),
        Kind::Entities => heads::entities(plan),
        Kind::Masks => heads::masks(plan),
        Kind::Span => heads::span(plan),
        Kind::Text => writing::head(plan),
        Kind::Heard => of_logits(plan, heard(plan)),
        Kind::Written => written(plan),
    };
    let inputs = plan.steps.map_or_else(|| text::rows(plan), Steps::items);
    let parts = [header(plan), inputs, head.items, bundle(plan, &head.body), main(plan)];
    let file = syn::parse2(parts.into_iter().collect()).expect("the example is Rust");
    prettyplease::unparse(&file)
}

/// The body of a head that reads `logits` of one row, whatever that is made of.
fn of_logits(plan: &Plan, head: Head) -> Head {
    let name = format_ident!("{}", plan.takes()[0]);
    let inputs = match plan.steps {
        None => quote!(let inputs = Rows::of(&self.encode(vec![#name.into()])?).tensors();),
        Some(_) => media::inputs(&name, plan.inputs),
    };
    let body = head.body;
    Head { body: quote!(#inputs let logits = self.run(&inputs)?.get(0); #body), ..head }
}

fn heard(plan: &Plan) -> Head {
    match plan.steps {
        Some(Steps::Sound { letters, lowers, .. }) => media::heard(letters, *lowers),
        _ => media::heard(&[], false),
    }
}

fn written(plan: &Plan) -> Head {
    match plan.steps {
        Some(Steps::Speech(speech)) => writing::spoken(plan, speech),
        _ => writing::head(plan),
    }
}

fn header(plan: &Plan) -> TokenStream {
    let (takes, is_text) = (plan.takes(), plan.steps.is_none());
    let typed = match takes {
        [one] => format!("\"a {one}\" \"another\""),
        _ => Vec::from_iter(takes.iter().map(|one| format!("\"a {one}\""))).join(" "),
    };
    let encodes = match is_text {
        true => [
            "`cargo run -- --encode FILE` reads a JSON list",
            " of lists of one or two texts, and prints the rows of tokens that they become.",
        ],
        false => [
            "`cargo run -- --encode FILE OUT` reads a JSON list",
            " of paths, and writes what the model is given of each to a safetensors file.",
        ],
    };
    let about = [
        format!(" Prints what {} answers to each {} that is given.", plan.name, takes.join(" and ")),
        String::new(),
        " With libtorch, or the folder of Python's torch package, in LIBTORCH:".to_owned(),
        format!(" `LD_LIBRARY_PATH=$LIBTORCH/lib cargo run -- {typed}`. {}", encodes[0]),
        encodes[1].to_owned(),
    ];
    let uses = plan.steps.map_or_else(text::uses, Steps::uses);
    quote! {
        #(#![doc = #about])*
        use anyhow::{Context, Result, anyhow};
        use serde::Serialize;
        use std::path::Path;
        use tch::{CModule, Device, IValue, Kind, Tensor};
        #uses
    }
}

/// The program, and the tokenizer where texts go in.
fn bundle(plan: &Plan, answers: &TokenStream) -> TokenStream {
    let is_text = plan.steps.is_none();
    let load = match (is_text, plan.is_tokenized()) {
        (true, _) => text::load(plan),
        (false, true) => text::open(plan),
        (false, false) => TokenStream::new(),
    };
    let encode = is_text.then(text::encode);
    let (about, field, value) = match plan.is_tokenized() {
        true => (" A model and its tokenizer.", quote!(tokenizer: Tokenizer,), quote!(tokenizer,)),
        false => (" A model.", TokenStream::new(), TokenStream::new()),
    };
    let format = Format::TorchScript;
    let program = if plan.cache.is_some() { format.step() } else { format.file(Dtype::Float32) };
    let run = run(plan);
    let takes = plan.takes().iter().map(|name| format_ident!("{name}"));
    quote! {
        #[doc = #about]
        struct Bundle {
            #field
            program: CModule,
        }

        impl Bundle {
            fn load(folder: &Path) -> Result<Self> {
                #load
                let program = folder.join(#program);
                let program = CModule::load_on_device(&program, Device::Cpu)
                    .with_context(|| program.display().to_string())?;
                Ok(Self { #value program })
            }

            #encode

            #run

            fn answer(&self, #(#takes: &str),*) -> Result<Answer> {
                #answers
            }
        }
    }
}

/// How the program is run.
fn run(plan: &Plan) -> TokenStream {
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
    let run = match (plan.cache, &plan.reads[..]) {
        (Some(_), _) => writing::step(plan),
        (None, [_]) => {
            let output = plan.output();
            quote! {
                fn run(&self, inputs: &[IValue]) -> Result<Tensor> {
                    Ok(self.outputs(inputs)?.swap_remove(#output))
                }
            }
        }
        // Each kind that reads several takes them as they come.
        (None, _) => TokenStream::new(),
    };
    quote!(#outputs #run)
}

fn main(plan: &Plan) -> TokenStream {
    let answers = answers(plan.takes());
    let encode = plan.steps.map_or_else(text::encode_file, |_| media::encode_files());
    quote! {
        fn main() -> Result<()> {
            let _guard = tch::no_grad_guard();
            let arguments: Vec<String> = std::env::args().skip(1).collect();
            #encode
            let bundle = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
            #answers
            Ok(())
        }
    }
}

/// Prints an answer for each argument, or for each group of them.
fn answers(takes: &[&str]) -> TokenStream {
    let names: Vec<_> = takes.iter().map(|name| format_ident!("{name}")).collect();
    let print = quote!(println!("{}", serde_json::to_string(&bundle.answer(#(#names),*)?)?););
    if let [name] = &names[..] {
        return quote!(for #name in &arguments { #print });
    }
    let (count, told) =
        (Literal::usize_unsuffixed(takes.len()), format!("it takes a {}", takes.join(" and a ")));
    quote! {
        for arguments in arguments.chunks(#count) {
            let [#(#names),*] = arguments else { return Err(anyhow!(#told)) };
            #print
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::example::answers::{Greedy, Meanings};
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
            reads: vec![0, 1],
            rules,
            steps: None,
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
            meanings: Meanings {
                labels: vec!["\"good\"".to_owned(), "bad".to_owned()],
                ..Meanings::default()
            },
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
            begin_suppress_tokens: Vec::new(),
        };
        let rules = Rules { greedy, ..rules() };
        shown("example_writing", &main_rs(&plan(Kind::Text, &rules, Some(&cache()))));
    }

    #[test]
    fn an_example_runs_on_the_libtorch_that_proved_the_program() {
        let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let own = manifest.lines().find_map(|line| line.strip_prefix("tch = { version = ")).unwrap();
        let version = own.split(',').next().unwrap();
        let example = super::manifest("example_mine", None);
        assert!(example.starts_with("[package]\nname = \"example_mine\"\n"), "{example}");
        assert!(example.contains(&format!("tch = {version}\n")), "{version}");
    }

    #[test]
    fn what_heads_read_off_a_text_is_what_its_pipeline_tells() {
        let rules = Rules { unk_id: Some(1), mask_id: Some(4), ..rules() };
        let kinds = [("entities", Kind::Entities), ("masks", Kind::Masks), ("span", Kind::Span)];
        for (name, kind) in kinds {
            shown(&format!("example_{name}"), &main_rs(&plan(kind, &rules, None)));
        }
    }

    #[test]
    fn pictures_and_sounds_become_what_the_checkpoints_processor_makes_of_them() {
        let rules = rules();
        let of = |kind: Kind, steps: serde_json::Value| {
            let steps: Steps = serde_json::from_value(steps).unwrap();
            let inputs = [crate::task::features("values", SHAPE), INPUTS[1]];
            main_rs(&Plan { steps: Some(&steps), inputs: &inputs, ..plan(kind, &rules, None) })
        };
        let picture = json!({"takes": "picture", "resize": {"shortest_edge": 72}, "filter": "CatmullRom", "crop": [64, 60],
            "mean": [127.5, 127.5, 127.5], "std": [50.0, 100.0, 200.0]});
        shown("example_picture", &of(Kind::Label, picture));
        let sound = json!({"takes": "sound", "sampling_rate": 16000, "normalised": true, "letters": ["", " ", "A"], "lowers": true});
        shown("example_heard", &of(Kind::Heard, sound));
        let as_it_is = json!({"takes": "picture", "resize": null, "filter": null, "crop": null, "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0]});
        let plain = of(Kind::Label, as_it_is);
        assert!(!plain.contains("fast_image_resize") && !plain.contains("narrow"), "{plain}");
    }

    #[test]
    fn what_is_said_is_written_from_a_spectrum_in_the_language_that_is_heard() {
        let steps = json!({"takes": "speech", "sampling_rate": 16000, "window": 400, "hop": 160, "mels": 80, "samples": 480_000,
            "prompt": [1, 3, 4, 9], "languages": [2, 3], "greedy": {"suppress_tokens": [5], "begin_suppress_tokens": [7]},
            "ends": [0]});
        let steps: Steps = serde_json::from_value(steps).unwrap();
        let inputs = [crate::task::features("input_features", SHAPE), tokens("decoder_input_ids", SHAPE)];
        let rules = steps.rules();
        let plan = Plan { steps: Some(&steps), inputs: &inputs, ..plan(Kind::Written, &rules, None) };
        shown("example_written", &main_rs(&plan));
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
}
