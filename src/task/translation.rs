//! `translation`: an encoder reads a text in one language, a decoder scores its next token in another.

use super::Text2textGeneration;
use super::contract::*;

/// Translation models (Marian, M2M-100 and their kin).
pub struct Translation;

impl Task for Translation {
    const CONTRACT: Contract = Contract { name: "translation", ..Text2textGeneration::CONTRACT };
}

impl Causal for Translation {}

impl Generates for Translation {}
