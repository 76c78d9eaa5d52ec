//! Commands that reports tell people to type.
//!
//! In: a recipe, and the options that were used. Out: a [`Typed`] command line that repeats just that. All commands that
//! repeat something are built here, so that none loses an option on the way.

use crate::spec::{Check, Name};
use crate::task::Dtype;
use std::fmt;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed(String);

impl Typed {
    /// `just RECIPE`.
    pub fn just(recipe: &str) -> Self {
        Self(format!("just {recipe}"))
    }

    /// `just test FILTERS --check CHECK --device DEVICE`.
    pub fn test<'a>(
        filters: impl IntoIterator<Item = &'a str>,
        check: Option<&str>,
        device: Option<&str>,
    ) -> Self {
        Self::just("test").words(filters).option("--check", check).option("--device", device)
    }

    /// `just export FILTERS`.
    pub fn export<'a>(filters: impl IntoIterator<Item = &'a str>) -> Self {
        Self::just("export").words(filters)
    }

    /// `just run MODEL --weights CHECKPOINT --size AXIS=SIZE --device DEVICE`.
    pub fn run(model: &str, weights: Option<&str>, sizes: &[(String, usize)], device: Option<&str>) -> Self {
        Self::just("run").word(model).weights(weights, sizes).option("--device", device)
    }

    /// `just replay MODEL`.
    pub fn replay(model: &str) -> Self {
        Self::just("replay").word(model)
    }

    /// `just explain MODEL`.
    pub fn explain(model: &str) -> Self {
        Self::just("explain").word(model)
    }

    /// `just bench FILTERS --device DEVICE`.
    pub fn bench<'a>(filters: impl IntoIterator<Item = &'a str>, device: Option<&str>) -> Self {
        Self::just("bench").words(filters).option("--device", device)
    }

    /// The generated test of a model's check on the mock engine.
    pub fn mock_test(family: &str, model: &str, check: &str) -> Self {
        let name = mounted("MOCK", family, model, check);
        Self("cargo test --test suite --".to_owned()).word("--exact").word(&name)
    }

    /// One more word, quoted for a shell where it must be.
    #[must_use]
    pub fn word(self, word: &str) -> Self {
        Self(format!("{} {}", self.0, quoted(word)))
    }

    /// More words.
    #[must_use]
    pub fn words<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(self, Self::word)
    }

    /// An option with its value, if it has one.
    #[must_use]
    pub fn option(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.word(name).word(value),
            None => self,
        }
    }

    /// `--weights CHECKPOINT --size AXIS=SIZE`, where weights were asked for.
    #[must_use]
    pub fn weights(self, weights: Option<&str>, sizes: &[(String, usize)]) -> Self {
        let sizes = sizes.iter().map(|(axis, size)| format!("{axis}={size}"));
        sizes.fold(self.option("--weights", weights), |typed, size| typed.option("--size", Some(&size)))
    }

    /// `--half DTYPE`, unless it is the one that every artifact has.
    #[must_use]
    pub fn half(self, dtype: &str) -> Self {
        self.option("--half", Some(dtype).filter(|dtype| *dtype == Dtype::Float16.name()))
    }

    /// An option without a value, if it is set.
    #[must_use]
    pub fn flag(self, name: &str, set: bool) -> Self {
        if set { self.word(name) } else { self }
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a generated test is in the test target, `engine` being the name of the mounted root: `libtorch` or `MOCK`.
pub fn test_path(engine: &str, family: &Name, model: &Name, check: Check) -> String {
    format!("{engine}::{}::{}::{}", family.module(), model.module(), check.name())
}

/// The same from a record, which has names as text.
fn mounted(engine: &str, family: &str, model: &str, check: &str) -> String {
    match (Name::new(family), Name::new(model), Check::find(check)) {
        (Ok(family), Ok(model), Some(check)) => test_path(engine, &family, &model, check),
        // Written by a build with other names: as near as text comes.
        _ => format!("{engine}::{family}::{model}::{check}"),
    }
}

/// A word as a shell takes it back: in single quotes where it holds anything but what needs none.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_repeated_with_its_weights_sizes_and_device() {
        let sizes = [("image".to_owned(), 224), ("batch".to_owned(), 2)];
        let typed = Typed::run("vit", Some("my weights/it's"), &sizes, Some("cuda:1"));
        assert_eq!(
            typed.to_string(),
            r"just run vit --weights 'my weights/it'\''s' --size image=224 --size batch=2 --device cuda:1"
        );
        assert_eq!(Typed::run("vit", None, &[], None).to_string(), "just run vit");
    }

    #[test]
    fn a_test_is_repeated_with_its_filters_check_and_device() {
        let typed = Typed::test(["bert", "t5"], Some("half"), Some("cpu"));
        assert_eq!(typed.to_string(), "just test bert t5 --check half --device cpu");
        assert_eq!(Typed::test([], None, None).flag("--strict", true).to_string(), "just test --strict");
    }

    #[test]
    fn a_mock_test_is_repeated_alone_under_its_own_name() {
        assert_eq!(
            Typed::mock_test("encoder-only", "qwen2.5-vl", "loads").to_string(),
            "cargo test --test suite -- --exact MOCK::encoder_only::qwen2_5_vl::loads"
        );
    }
}
