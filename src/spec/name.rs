//! Every rule about names.
//!
//! In: a name as HuggingFace spells it. Out: a [`Name`] with its Rust spellings, or why it cannot have them.

use heck::{ToSnakeCase, ToUpperCamelCase};
use serde::{Serialize, Serializer};
use std::fmt;

/// Words that are keywords in any edition of Rust, or reserved for one.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Longest file name, in bytes, of the file systems in use.
const FILE_NAME_MAX: usize = 255;
/// The longest of what is put behind a name in a file's or folder's: `.rs` of a module, `.json`, and this of an
/// artifact that is just being replaced, with the largest process number of Linux.
const LONGEST_ENDING: &str = ".partial-4194304-old";
/// Longest name, in bytes, as HuggingFace spells it and as a module.
pub const NAME_MAX: usize = FILE_NAME_MAX - LONGEST_ENDING.len();

/// A name of a model or a family: the HuggingFace spelling, from which the Rust spellings follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text cannot be a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name holds ASCII letters, digits, '-', '_' and '.', not {0:?}")]
    Character(char),
    #[error("a name begins and ends with a letter or a digit")]
    Edge,
    #[error(
        "a file would be named with {0} characters: at most {NAME_MAX}, so that there is room for its ending"
    )]
    TooLong(usize),
    #[error("module {0} would begin with a digit")]
    LeadingDigit(String),
    #[error("module {0} would be a Rust keyword")]
    Keyword(String),
}

impl Name {
    /// Takes a name in its HuggingFace spelling.
    ///
    /// # Errors
    /// When no Rust module can have that name, or a folder should not.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let punctuation = ['-', '_', '.'];
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !punctuation.contains(c)) {
            return Err(NameError::Character(c));
        }
        if text.starts_with(punctuation) || text.ends_with(punctuation) {
            return Err(NameError::Edge);
        }
        let name = Self(text.to_owned());
        let module = name.module();
        let longest = text.len().max(module.len());
        if longest > NAME_MAX {
            return Err(NameError::TooLong(longest));
        }
        if module.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NameError::LeadingDigit(module));
        }
        if KEYWORDS.contains(&module.as_str()) {
            return Err(NameError::Keyword(module));
        }
        Ok(name)
    }

    /// The HuggingFace spelling: `qwen2.5-vl`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module and file name: `qwen2_5_vl`.
    pub fn module(&self) -> String {
        self.0.to_snake_case()
    }

    /// The type name: `Qwen25Vl`.
    pub fn type_name(&self) -> String {
        self.0.to_upper_camel_case()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rust_spellings() {
        let table = [
            ("bert", "bert", "Bert"),
            ("xlm-roberta", "xlm_roberta", "XlmRoberta"),
            ("t5", "t5", "T5"),
            ("mt5", "mt5", "Mt5"),
            ("gpt2", "gpt2", "Gpt2"),
            ("gpt_bigcode", "gpt_bigcode", "GptBigcode"),
            ("llama4", "llama4", "Llama4"),
            ("dinov2", "dinov2", "Dinov2"),
            ("wav2vec2", "wav2vec2", "Wav2vec2"),
            ("wav2vec2-bert", "wav2vec2_bert", "Wav2vec2Bert"),
            ("blip-2", "blip_2", "Blip2"),
            ("d-fine", "d_fine", "DFine"),
            ("phi-4", "phi_4", "Phi4"),
            ("xlnet", "xlnet", "Xlnet"),
            ("m2m-100", "m2m_100", "M2m100"),
            ("qwen2.5-vl", "qwen2_5_vl", "Qwen25Vl"),
            ("no", "no", "No"),
            ("on", "on", "On"),
            ("encoder-only", "encoder_only", "EncoderOnly"),
            ("XLM", "xlm", "Xlm"),
        ];
        for (text, module, type_name) in table {
            let name = Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (name.as_str(), name.module(), name.type_name()),
                (text, module.into(), type_name.into())
            );
        }
    }

    #[test]
    fn refused() {
        let table = [
            ("", "a name cannot be empty"),
            ("bért", "a name holds ASCII letters, digits, '-', '_' and '.', not 'é'"),
            ("a b", "a name holds ASCII letters, digits, '-', '_' and '.', not ' '"),
            ("org/bert", "a name holds ASCII letters, digits, '-', '_' and '.', not '/'"),
            ("..", "a name begins and ends with a letter or a digit"),
            ("-bert", "a name begins and ends with a letter or a digit"),
            ("bert_", "a name begins and ends with a letter or a digit"),
            ("3d-vit", "module 3d_vit would begin with a digit"),
            ("1e3", "module 1e3 would begin with a digit"),
            ("gen", "module gen would be a Rust keyword"),
            ("Self", "module self would be a Rust keyword"),
            ("mod", "module mod would be a Rust keyword"),
            ("crate", "module crate would be a Rust keyword"),
        ];
        for (text, message) in table {
            assert_eq!(Name::new(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn a_name_leaves_room_for_the_endings_of_its_files() {
        let long = "x".repeat(NAME_MAX);
        let name = Name::new(&long).unwrap();
        for file in [format!("{}.rs", name.module()), format!("{name}{LONGEST_ENDING}")] {
            assert!(file.len() <= FILE_NAME_MAX, "{}", file.len());
        }
        assert_eq!(Name::new(&format!("{long}x")), Err(NameError::TooLong(NAME_MAX + 1)));
        // A module's name has a line between words that HuggingFace's need not have.
        assert_eq!(Name::new(&"Ab".repeat(100)), Err(NameError::TooLong(299)));
    }

    #[test]
    fn every_keyword_of_syn_is_refused() {
        for keyword in KEYWORDS {
            assert!(Name::new(keyword).is_err());
        }
    }

    proptest! {
        #[test]
        fn accepted_names_are_identifiers(text in r"[a-zA-Z0-9._-]{0,12}|\PC{0,8}|[a-z]{2,6}") {
            if let Ok(name) = Name::new(&text) {
                prop_assert!(syn::parse_str::<syn::Ident>(&name.module()).is_ok(), "{}", name.module());
                prop_assert!(syn::parse_str::<syn::Ident>(&name.type_name()).is_ok(), "{}", name.type_name());
            }
        }
    }
}
