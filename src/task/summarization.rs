//! `summarization`: an encoder reads a text, a decoder scores the next token of its summary.

use super::Text2textGeneration;
use super::contract::*;

/// Summarisers (Pegasus and its kin).
pub struct Summarization;

impl Task for Summarization {
    const CONTRACT: Contract = Contract { name: "summarization", ..Text2textGeneration::CONTRACT };
}

impl Causal for Summarization {}

impl Generates for Summarization {}
