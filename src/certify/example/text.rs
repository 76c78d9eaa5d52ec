//! The parts of an example that make rows of tokens of texts.
//!
//! In: the program's inputs, and how Python's tokenizer pads and cuts. Out: Rust.

use super::code::{Kind, Plan};
use super::writing;
use crate::task::Input;
use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

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

/// Rows of tokens, typed by the program's inputs.
pub fn rows(plan: &Plan) -> TokenStream {
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
            fn of(encodings: &[Encoding]) -> Self {
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

/// What the parts below use.
pub fn uses() -> TokenStream {
    quote! {
        use tokenizers::{
            EncodeInput, Encoding, PaddingDirection, PaddingParams, Tokenizer, TruncationDirection, TruncationParams,
        };
    }
}

/// How the tokenizer is called.
pub fn encode() -> TokenStream {
    quote! {
        fn encode(&self, texts: Vec<EncodeInput>) -> Result<Vec<Encoding>> {
            self.tokenizer.encode_batch_char_offsets(texts, true).map_err(|error| anyhow!("{error}"))
        }
    }
}

/// The option that shows what texts become.
pub fn encode_file() -> TokenStream {
    quote! {
        if let [option, path] = &arguments[..] && option == "--encode" {
            let bundle = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
            let texts: Vec<Vec<String>> = serde_json::from_reader(std::fs::File::open(path)?)?;
            let inputs = texts.iter().map(|texts| match &texts[..] {
                [text] => Ok(text.as_str().into()),
                [first, second] => Ok((first.as_str(), second.as_str()).into()),
                _ => Err(anyhow!("a row is made of one text or two, not of {}", texts.len())),
            });
            let rows = Rows::of(&bundle.encode(inputs.collect::<Result<_>>()?)?);
            println!("{}", serde_json::to_string(&rows)?);
            return Ok(());
        }
    }
}

/// Opens the tokenizer in `folder`.
pub fn open(plan: &Plan) -> TokenStream {
    let tokenizer = plan.tokenizer;
    quote! {
        let path = folder.join(#tokenizer);
        let tokenizer = Tokenizer::from_file(&path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
}

/// Opens the tokenizer in `folder`, and sets how it pads and cuts.
pub fn load(plan: &Plan) -> TokenStream {
    let rules = plan.rules;
    let max_length = Literal::usize_unsuffixed(rules.max_length);
    let [pad_id, pad_type_id] = [rules.pad_id, rules.pad_type_id].map(Literal::u32_unsuffixed);
    let (pad_token, tokenizer) = (&rules.pad_token, plan.tokenizer);
    let side = |left| if left { format_ident!("Left") } else { format_ident!("Right") };
    let (pads, cuts) = (side(rules.pads_left), side(rules.cuts_left));
    quote! {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{BATCH, SEQUENCE, mask, tokens};

    #[test]
    fn an_input_that_is_made_of_no_text_is_named() {
        let shape = &[BATCH, SEQUENCE];
        assert_eq!(foreign(&[tokens("input_ids", shape), mask("attention_mask", shape)]), None);
        let pictures = crate::task::features("pixel_values", &[BATCH]);
        assert_eq!(foreign(&[tokens("input_ids", shape), pictures]), Some("pixel_values"));
    }
}
