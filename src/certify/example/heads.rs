//! The parts of an example that read an answer off a program's outputs.
//!
//! In: what the example prints, and what labels and scores mean. Out: Rust, for every kind but the one that writes.

use super::answers::{Meanings, Scoring};
use super::code::{Head, Plan};
use proc_macro2::{Literal, TokenStream};
use quote::quote;

/// So many words are told for each mask, as the pipeline does.
const TOP: i64 = 5;
/// The longest span of tokens that answers a question: `SPAN` in `exporter/answers.py`.
const SPAN: i64 = 15;
/// The label of what has none: the pipeline leaves such tokens out.
const OUTSIDE: &str = "O";

/// The vector of a text.
pub fn embedding() -> Head {
    Head {
        items: quote! {
            /// What comes out.
            #[derive(Debug, Serialize)]
            struct Answer {
                sentence_embedding: Vec<f32>,
            }
        },
        body: quote! {
            let output = self.run(&Rows::of(&self.encode(vec![text.into()])?).tensors())?;
            Ok(Answer { sentence_embedding: Vec::try_from(output.get(0).to_kind(Kind::Float))? })
        },
    }
}

/// The names of labels.
fn labels(meanings: &Meanings) -> TokenStream {
    let labels = &meanings.labels;
    let count = Literal::usize_unsuffixed(labels.len());
    quote! {
        /// Names of the scores, in order.
        const LABELS: [&str; #count] = [#(#labels),*];
    }
}

/// The best label and the scores of all, of `logits`.
pub fn label(meanings: &Meanings) -> Head {
    let labels = labels(meanings);
    let scored = match meanings.scoring {
        Scoring::Softmax => quote!(logits.softmax(-1, Kind::Float)),
        Scoring::Sigmoid => quote!(logits.sigmoid()),
        Scoring::None => quote!(logits),
    };
    Head {
        items: quote! {
            #labels

            /// What comes out.
            #[derive(Debug, Serialize)]
            struct Answer {
                label: &'static str,
                scores: Vec<f32>,
            }
        },
        body: quote! {
            let best = usize::try_from(logits.argmax(-1, false).int64_value(&[]))?;
            Ok(Answer { label: LABELS[best], scores: Vec::try_from(#scored.to_kind(Kind::Float))? })
        },
    }
}

/// The tokens that have a label.
pub fn entities(plan: &Plan) -> Head {
    let labels = labels(&plan.rules.meanings);
    let token = quote!(encoding.get_tokens()[index].clone());
    let word = match plan.rules.unk_id {
        Some(unknown) => {
            let unknown = Literal::i64_unsuffixed(unknown);
            quote!(match i64::from(encoding.get_ids()[index]) {
                #unknown => part(text, start, end),
                _ => #token,
            })
        }
        None => token,
    };
    let part = plan.rules.unk_id.map(|_| part());
    Head {
        items: quote! {
            #labels

            /// A token that has a label; where it stands in the text, by characters.
            #[derive(Debug, Serialize)]
            struct Entity {
                entity: &'static str,
                score: f32,
                index: usize,
                word: String,
                start: usize,
                end: usize,
            }

            /// What comes out.
            #[derive(Debug, Serialize)]
            struct Answer {
                entities: Vec<Entity>,
            }

            #part
        },
        body: quote! {
            let encodings = self.encode(vec![text.into()])?;
            let (scores, places) =
                self.run(&Rows::of(&encodings).tensors())?.get(0).softmax(-1, Kind::Float).max_dim(-1, false);
            let (scores, places) = (Vec::<f32>::try_from(scores)?, Vec::<i64>::try_from(places)?);
            let encoding = &encodings[0];
            let own = |index: &usize| encoding.get_special_tokens_mask()[*index] == 0;
            let entity = |index: usize| {
                let (start, end) = encoding.get_offsets()[index];
                Entity { entity: LABELS[places[index] as usize], score: scores[index], index, word: #word, start, end }
            };
            let entities = (0..encoding.len()).filter(own).map(entity).filter(|found| found.entity != #OUTSIDE);
            Ok(Answer { entities: entities.collect() })
        },
    }
}

/// A part of a text, by characters.
fn part() -> TokenStream {
    quote! {
        /// A part of a text, by characters.
        fn part(text: &str, start: usize, end: usize) -> String {
            text.chars().skip(start).take(end - start).collect()
        }
    }
}

/// The likeliest words in the place of each mask.
pub fn masks(plan: &Plan) -> Head {
    let mask = Literal::i64_unsuffixed(plan.rules.mask_id.unwrap_or(-1));
    let top = Literal::i64_unsuffixed(TOP);
    Head {
        items: quote! {
            /// The token that stands in the place of a word.
            const MASK: i64 = #mask;
            /// So many words are told for each mask.
            const TOP: i64 = #top;

            /// A word that may be in the place of a mask.
            #[derive(Debug, Serialize)]
            struct Word {
                token: i64,
                token_str: String,
                score: f32,
            }

            /// What comes out, for each mask of the text.
            #[derive(Debug, Serialize)]
            struct Answer {
                masks: Vec<Vec<Word>>,
            }
        },
        body: quote! {
            let rows = Rows::of(&self.encode(vec![text.into()])?);
            let logits = self.run(&rows.tensors())?.get(0);
            let word = |(token, score): (i64, f32)| {
                let decoded = self.tokenizer.decode(&[u32::try_from(token)?], false);
                Ok(Word { token, token_str: decoded.map_err(|error| anyhow!("{error}"))?, score })
            };
            let words = |place: usize| {
                let scores = logits.get(place as i64).softmax(-1, Kind::Float);
                let (scores, tokens) = scores.topk(TOP, -1, true, true);
                let (scores, tokens) = (Vec::<f32>::try_from(scores)?, Vec::<i64>::try_from(tokens)?);
                tokens.into_iter().zip(scores).map(word).collect()
            };
            let row = &rows.input_ids[0];
            let masks = (0..row.len()).filter(|place| row[*place] == MASK).map(words);
            Ok(Answer { masks: masks.collect::<Result<_>>()? })
        },
    }
}

/// The likeliest part of the context.
pub fn span(plan: &Plan) -> Head {
    let longest = Literal::i64_unsuffixed(SPAN);
    let [starts, ends] = [plan.reads[0], plan.reads[1]].map(Literal::usize_unsuffixed);
    let part = part();
    Head {
        items: quote! {
            /// The longest span of tokens that answers a question.
            const LONGEST: i64 = #longest;

            /// What comes out: a part of the context, where it stands there, by characters.
            #[derive(Debug, Serialize)]
            struct Answer {
                answer: String,
                start: usize,
                end: usize,
                score: f32,
            }

            #part
        },
        body: quote! {
            let encodings = self.encode(vec![(question, context).into()])?;
            let outputs = self.outputs(&Rows::of(&encodings).tensors())?;
            let parts = encodings[0].get_sequence_ids();
            let inside: Vec<usize> = (0..parts.len()).filter(|place| parts[*place] == Some(1)).collect();
            let places: Vec<i64> = inside.iter().map(|place| *place as i64).collect();
            let places = Tensor::from_slice(&places);
            let [starts, ends] = [&outputs[#starts], &outputs[#ends]]
                .map(|logits| logits.get(0).index_select(0, &places).softmax(-1, Kind::Float));
            let joint = starts.outer(&ends).triu(0).tril(LONGEST - 1);
            let best = usize::try_from(joint.argmax(None, false).int64_value(&[]))?;
            let offsets = encodings[0].get_offsets();
            let start = offsets[inside[best / inside.len()]].0;
            let end = offsets[inside[best % inside.len()]].1;
            Ok(Answer { answer: part(context, start, end), start, end, score: joint.max().double_value(&[]) as f32 })
        },
    }
}
