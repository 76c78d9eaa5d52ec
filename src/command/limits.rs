//! Options for what a model may use up, as several commands have them.

use clap::Args;
use hf_conformance::runner::Asked;
use hf_conformance::typed::Typed;

#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Seconds that each check may take, in place of the entry's time_limit
    #[arg(long, value_name = "SECONDS", env = "HF_CONFORMANCE_TIMEOUT", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// GiB of memory that a model's process may hold, in place of the entry's memory_limit
    #[arg(long, value_name = "GIB", env = "HF_CONFORMANCE_MEMORY", value_parser = clap::value_parser!(u64).range(1..=4096))]
    memory: Option<u64>,
}

impl Limits {
    /// What was asked for.
    pub fn asked(&self) -> Asked {
        Asked { seconds: self.timeout, gib: self.memory }
    }

    /// The same as arguments of a command.
    pub fn words(&self) -> Vec<String> {
        let option = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        option("--timeout", self.timeout).into_iter().chain(option("--memory", self.memory)).collect()
    }

    /// The command, with the same limits.
    pub fn repeat(&self, typed: Typed) -> Typed {
        let text = |number: u64| number.to_string();
        typed
            .option("--timeout", self.timeout.map(text).as_deref())
            .option("--memory", self.memory.map(text).as_deref())
    }
}
