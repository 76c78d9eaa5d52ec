//! The parts of an example that writes a text: token by token, the largest score first.
//!
//! In: what the program takes, its cache where it has one, and what `generation_config.json` asks for. Out: Rust.

use super::answers::{Greedy, Speech};
use super::code::{Head, Plan};
use crate::artifact::CacheTensor;
use crate::task::Dtype;
use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

/// What follows a text.
pub fn head(plan: &Plan) -> Head {
    Head { items: answer(plan), body: answers(plan) }
}

/// What comes out, and what an empty cache is.
fn answer(plan: &Plan) -> TokenStream {
    let ends = plan.rules.ends.iter().map(|id| Literal::i64_unsuffixed(*id));
    let new_tokens = Literal::usize_unsuffixed(plan.new_tokens);
    let settle = settle(&plan.rules.greedy);
    let empty = match plan.cache {
        Some(cache) => {
            let tensors = empty(&cache.cache);
            quote! {
                /// The cache before anything was read.
                fn empty() -> Vec<Tensor> {
                    let of = |count, shape: &[i64], kind| {
                        std::iter::repeat_with(move || Tensor::zeros(shape, (kind, Device::Cpu))).take(count).collect()
                    };
                    let tensors: Vec<Vec<Tensor>> = vec![#(#tensors),*];
                    tensors.into_iter().flatten().collect()
                }
            }
        }
        None => TokenStream::new(),
    };
    quote! {
        /// Tokens that end a text.
        const ENDS: &[i64] = &[#(#ends),*];
        /// The most tokens that are written.
        const NEW_TOKENS: usize = #new_tokens;

        /// What comes out.
        #[derive(Debug, Serialize)]
        struct Answer {
            text: String,
            tokens: Vec<i64>,
        }

        #empty

        #settle

        /// The first of the largest scores.
        fn largest(scores: &[f32]) -> i64 {
            let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            best.unwrap_or(0) as i64
        }
    }
}

/// Tensors of a cache that has read nothing, those that follow each other alike together.
fn empty(cache: &[CacheTensor]) -> Vec<TokenStream> {
    let same =
        |a: &CacheTensor, b: &CacheTensor| (a.dtype, a.shape(1, 0, |_| 0)) == (b.dtype, b.shape(1, 0, |_| 0));
    let group = |group: &[CacheTensor]| {
        let count = Literal::usize_unsuffixed(group.len());
        let shape = group[0].shape(1, 0, |_| 0).into_iter().map(Literal::usize_unsuffixed);
        let kind = kind(group[0].dtype);
        quote!(of(#count, &[#(#shape),*], Kind::#kind))
    };
    cache.chunk_by(same).map(group).collect()
}

/// tch's name of an element type.
fn kind(dtype: Dtype) -> proc_macro2::Ident {
    let name = match dtype {
        Dtype::Bool => "Bool",
        Dtype::Uint8 => "Uint8",
        Dtype::Int8 => "Int8",
        Dtype::Int16 => "Int16",
        Dtype::Int32 => "Int",
        Dtype::Int64 => "Int64",
        Dtype::Float16 => "Half",
        Dtype::Bfloat16 => "BFloat16",
        Dtype::Float32 => "Float",
        Dtype::Float64 => "Double",
    };
    format_ident!("{name}")
}

/// The row for the next step: with a cache the new token alone, under the mask of all so far; else the whole row.
pub fn follow(plan: &Plan) -> TokenStream {
    let is_cached = plan.cache.is_some();
    let grown = plan.inputs.iter().map(|input| {
        let name = format_ident!("{}", input.name.0);
        let next = match &*input.name {
            "input_ids" => quote!(next),
            "attention_mask" => return quote!(self.#name[0].push(1);),
            "position_ids" => quote!(self.#name[0].last().map_or(0, |last| last + 1)),
            _ => quote!(self.#name[0].last().copied().unwrap_or(0)),
        };
        match is_cached {
            true => quote!(self.#name = vec![vec![#next]];),
            false => quote! {
                let value = #next;
                self.#name[0].push(value);
            },
        }
    });
    quote! {
        /// Becomes the row of the next step, after that token was written.
        fn follow(&mut self, next: i64) {
            #(#grown)*
        }
    }
}

/// A step of the program with a cache, which it puts another in the place of.
pub fn step(plan: &Plan) -> TokenStream {
    let (output, outputs) = (plan.output(), Literal::usize_unsuffixed(plan.outputs));
    quote! {
        fn run(&self, rows: &Rows, cache: &mut Vec<Tensor>) -> Result<Tensor> {
            let held = cache.drain(..).map(IValue::Tensor);
            let inputs: Vec<IValue> = rows.tensors().into_iter().chain(held).collect();
            let mut outputs = self.outputs(&inputs)?;
            *cache = outputs.split_off(#outputs);
            Ok(outputs.swap_remove(#output))
        }
    }
}

/// From a text to what follows it.
fn answers(plan: &Plan) -> TokenStream {
    let (begin, run) = match plan.cache {
        Some(_) => (quote!(let mut cache = empty();), quote!(self.run(&rows, &mut cache)?)),
        None => (TokenStream::new(), quote!(self.run(&rows.tensors())?)),
    };
    let written = written(plan, &run, &quote!(rows.follow(next);));
    quote! {
        let mut rows = Rows::of(&self.encode(vec![text.into()])?);
        let mut read = rows.input_ids[0].clone();
        let prompt = read.len();
        #begin
        #written
    }
}

/// A token a step, until the text ends, and its answer; `then` comes after each that others follow.
fn written(plan: &Plan, run: &TokenStream, then: &TokenStream) -> TokenStream {
    let next = next(plan, &scores(run));
    quote! {
        while read.len() < prompt + NEW_TOKENS {
            #next
            let next = largest(&scores);
            read.push(next);
            if ENDS.contains(&next) {
                break;
            }
            #then
        }
        let tokens = read.split_off(prompt);
        let ids = tokens.iter().map(|token| u32::try_from(*token)).collect::<Result<Vec<_>, _>>()?;
        let text = self.tokenizer.decode(&ids, true).map_err(|error| anyhow!("{error}"))?;
        Ok(Answer { text, tokens })
    }
}

/// The scores of what follows all that was read.
fn scores(run: &TokenStream) -> TokenStream {
    quote!(Vec::<f32>::try_from(#run.get(0).get(-1).to_kind(Kind::Float))?)
}

/// The scores of the next token, as they are asked for.
fn next(plan: &Plan, scores: &TokenStream) -> TokenStream {
    match plan.rules.greedy.is_any() {
        true => quote! {
            let mut scores = #scores;
            settle(&mut scores, &read, prompt);
        },
        false => quote!(let scores = #scores;),
    }
}

/// What was said in a sound: each step reads the sound again, and all that was written of it.
pub fn spoken(plan: &Plan, speech: &Speech) -> Head {
    let answer = answer(plan);
    let prompt = speech.prompt.iter().map(|id| Literal::i64_unsuffixed(*id));
    let tensors = plan.inputs.iter().map(|input| match &*input.name {
        "decoder_input_ids" => quote!(IValue::Tensor(Tensor::from_slice(read).unsqueeze(0))),
        _ => quote!(IValue::Tensor(values.shallow_clone())),
    });
    let items = quote! {
        #answer

        /// Tokens that every text begins with.
        const PROMPT: &[i64] = &[#(#prompt),*];

        /// What the program is given of a sound and of what was written of it.
        fn inputs(values: &Tensor, read: &[i64]) -> Vec<IValue> {
            vec![#(#tensors),*]
        }
    };
    let run = quote!(self.run(&inputs(&values, &read))?);
    let language = language(&speech.languages, &scores(&run));
    let written = written(plan, &run, &TokenStream::new());
    let body = quote! {
        let values = values(Path::new(sound)).with_context(|| sound.to_owned())?;
        #language
        let prompt = read.len();
        #written
    };
    Head { items, body }
}

/// What a text begins with: the second token is the language that is heard, where there are several.
fn language(languages: &[i64], scores: &TokenStream) -> TokenStream {
    if languages.is_empty() {
        return quote!(let mut read = PROMPT.to_vec(););
    }
    let languages = languages.iter().map(|id| Literal::i64_unsuffixed(*id));
    quote! {
        /// Tokens of the languages that it knows.
        const LANGUAGES: &[i64] = &[#(#languages),*];
        let mut read = PROMPT[..1].to_vec();
        let scores = #scores;
        let best = LANGUAGES.iter().max_by(|&&a, &&b| scores[a as usize].total_cmp(&scores[b as usize]));
        read.extend(best);
        read.extend(&PROMPT[2..]);
    }
}

/// What `generation_config.json` asks of the scores before the largest is taken, in the library's order.
fn settle(greedy: &Greedy) -> TokenStream {
    if !greedy.is_any() {
        return TokenStream::new();
    }
    let asked = [
        greedy.repetition_penalty.map(penalised),
        greedy.no_repeat_ngram_size.map(unrepeated),
        greedy.min_new_tokens.map(unended),
        (!greedy.suppress_tokens.is_empty()).then(|| suppressed(&greedy.suppress_tokens)),
        (!greedy.begin_suppress_tokens.is_empty()).then(|| unbegun(&greedy.begin_suppress_tokens)),
    ];
    let asked = asked.into_iter().flatten();
    quote! {
        /// What generation_config.json asks of the scores of the next token, after those that were read; so many of them are
        /// the prompt's.
        #[allow(unused_variables, reason = "what is asked for may need neither")]
        fn settle(scores: &mut [f32], read: &[i64], prompt: usize) {
            #(#asked)*
        }
    }
}

/// Once for each token that was read.
fn penalised(penalty: f64) -> TokenStream {
    let penalty = Literal::f64_unsuffixed(penalty);
    quote! {
        const REPETITION_PENALTY: f32 = #penalty;
        let mut seen = read.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            let score = &mut scores[token as usize];
            *score = if *score < 0.0 { *score * REPETITION_PENALTY } else { *score / REPETITION_PENALTY };
        }
    }
}

/// No token that would end a run of so many that was there before.
fn unrepeated(size: usize) -> TokenStream {
    let size = Literal::usize_unsuffixed(size);
    quote! {
        const NO_REPEAT_NGRAM_SIZE: usize = #size;
        let before = NO_REPEAT_NGRAM_SIZE - 1;
        let last = &read[read.len().saturating_sub(before)..];
        for run in read.windows(NO_REPEAT_NGRAM_SIZE).filter(|run| run[..before] == *last) {
            scores[run[before] as usize] = f32::NEG_INFINITY;
        }
    }
}

fn unended(least: usize) -> TokenStream {
    let least = Literal::usize_unsuffixed(least);
    quote! {
        const MIN_NEW_TOKENS: usize = #least;
        if read.len() < prompt + MIN_NEW_TOKENS {
            ENDS.iter().for_each(|end| scores[*end as usize] = f32::NEG_INFINITY);
        }
    }
}

fn unbegun(tokens: &[usize]) -> TokenStream {
    let tokens = tokens.iter().map(|token| Literal::usize_unsuffixed(*token));
    quote! {
        const BEGIN_SUPPRESS_TOKENS: &[usize] = &[#(#tokens),*];
        if read.len() == prompt {
            BEGIN_SUPPRESS_TOKENS.iter().for_each(|token| scores[*token] = f32::NEG_INFINITY);
        }
    }
}

fn suppressed(tokens: &[usize]) -> TokenStream {
    let tokens = tokens.iter().map(|token| Literal::usize_unsuffixed(*token));
    quote! {
        const SUPPRESS_TOKENS: &[usize] = &[#(#tokens),*];
        SUPPRESS_TOKENS.iter().for_each(|token| scores[*token] = f32::NEG_INFINITY);
    }
}
