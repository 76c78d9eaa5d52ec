//! Texts that tokenizers stumble over.

/// How far long texts stand from each other.
const APART: usize = 6;

/// Empty and blank texts, scripts, marks that combine, special tokens spelled out, what nobody sees, what is too long.
pub fn corpus() -> Vec<String> {
    let texts = [
        "",
        " ",
        "\t\n\u{a0}\u{3000}",
        "\r\n\r\n",
        "The capital of France is Paris.",
        "     spaces before,    between, and after     ",
        "I'm sure they don't: \"quoted\" \u{2013} \u{201c}curly\u{201d} \u{2026}",
        "https://example.org/?q=a&b=%20#x user@example.org 1,234.56 -0.5e-7",
        "\u{c7}a va? caf\u{e9} cafe\u{301} na\u{ef}ve e\u{301}te\u{301} Z\u{35b}\u{351}a\u{32a}l\u{318}go",
        "\u{130}stanbul stra\u{df}e \u{17f} \u{1c5} \u{fb01} \u{bd} \u{2167} \u{2460} \u{ff21}\u{ff22}",
        "\u{1f600}\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f3f3}\u{fe0f}\u{200d}\u{1f308} \u{1f1eb}\u{1f1f7}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{5e2}\u{5d5}\u{5dc}\u{5dd} \u{645}\u{631}\u{62d}\u{628}\u{627} \u{202e}right to left\u{202c}",
        "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{30c6}\u{30ad}\u{30b9}\u{30c8} \u{4e2d}\u{6587} \u{d55c}\u{ad6d}\u{c5b4}",
        "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940} \u{e44}\u{e17}\u{e22} \u{10e5}\u{10d0}\u{10e0}\u{10d7} \u{1208}",
        "[CLS] [SEP] [PAD] [MASK] [UNK] <s></s><pad><unk><mask> <|endoftext|><|im_start|>user<|im_end|>",
        "[SEP]inside[SEP] a [MASK]word and##pieces ##s \u{2581}low \u{120}bar",
        "a\0b\u{7}c\u{1b}[0md\u{7f}e\u{85}f\u{ad}g\u{200b}h\u{feff}i\u{2028}j",
        "\u{fffd}\u{e000}\u{10ffff}\u{378}",
    ];
    let long = ["word ".repeat(2000), "x".repeat(10_000), "\u{e9}\u{1f600} ".repeat(400)];
    let mut corpus = texts.map(str::to_owned).to_vec();
    // Far from each other: tokenizers keep what they cut off a pair, every piece of the one with every piece of the other.
    long.into_iter().enumerate().for_each(|(place, text)| corpus.insert(APART * place, text));
    corpus
}

/// Each text with the next.
pub fn pairs(corpus: &[String]) -> Vec<(String, String)> {
    let next = corpus.iter().cycle().skip(1);
    corpus.iter().cloned().zip(next.cloned()).collect()
}

/// Texts to answer, as somebody would write them.
pub const SAMPLES: [&str; 4] = [
    "The capital of France is",
    "A man is eating a piece of bread.",
    "I do not like this film at all: it is slow, and the end is silly.",
    "Gravity bends light; that was seen first in 1919.",
];

/// What is asked about each of them, where a question is answered.
pub const QUESTION: &str = "What is it that this is about?";
