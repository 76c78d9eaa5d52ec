//! pip, and other programs that take their time: run under a spinner, and what they say of a failure in a line.
//!
//! In: a command. Out: its standard output, or an error that says what helps.

use super::environment::EnvironmentError;
use super::lock::LockError;
use crate::process::{Process, collect, collected};
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What pip and uv say where nothing answers, or breaks off.
const NO_NETWORK: [&str; 8] = [
    "NewConnectionError",
    "Failed to establish",
    "name resolution",
    "ConnectTimeout",
    "Failed to fetch",
    "Max retries exceeded",
    "Connection broken",
    "Read timed out",
];
/// What is said where a disk is full, or what its user may have of it.
const NO_SPACE: [&str; 3] = ["No space left on device", "File too large", "Disk quota exceeded"];

/// `pip install` of what a lock lists, each file held to its digest, and nothing that these depend on: the lock has all.
pub(super) fn locked(python: &Path, lock: &Path, text: &str) -> Result<Installation, EnvironmentError> {
    let io = |error| EnvironmentError::Io { path: std::env::temp_dir(), error };
    let mut list = tempfile::NamedTempFile::new().map_err(io)?;
    list.write_all(text.as_bytes()).map_err(io)?;
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--no-deps", "--require-hashes", "-r"]).arg(list.path());
    Ok(Installation { command, lock: lock.to_owned(), _list: list })
}

/// A `pip install` that is ready to run.
pub(super) struct Installation {
    pub command: Command,
    lock: PathBuf,
    _list: tempfile::NamedTempFile,
}

impl Installation {
    /// Runs it.
    ///
    /// # Errors
    /// A file of another digest; whatever else pip says.
    pub fn run(mut self, what: &str) -> Result<(), EnvironmentError> {
        finish(what, &mut self.command).map(drop).map_err(|error| match &error {
            EnvironmentError::Command { all, .. } => match changed(all) {
                Some((package, found)) => LockError::Changed { path: self.lock, package, found }.into(),
                None => error,
            },
            _ => error,
        })
    }
}

/// The package that pip found another digest of, and that digest.
fn changed(said: &str) -> Option<(String, String)> {
    let (_, said) = said.split_once("DO NOT MATCH THE HASHES")?;
    let package = said.lines().find_map(|line| line.trim().split_once(" from ").map(|(package, _)| package));
    let found = said.lines().find_map(|line| line.trim().strip_prefix("Got"))?;
    Some((package.unwrap_or("a package").to_owned(), found.trim().to_owned()))
}

/// The last of the versions that pip lists where it does not find the one it was asked for.
pub(super) fn newest(said: &str) -> Option<String> {
    let (listed, _) = said.split_once("(from versions: ")?.1.split_once(')')?;
    listed.rsplit(", ").next().map(str::to_owned)
}

/// [`finish`] for a program and its arguments.
pub(super) fn run<'a>(
    what: &str,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String, EnvironmentError> {
    finish(what, Command::new(program.as_ref()).args(arguments))
}

/// Runs a command under a spinner that shows its latest line; its standard output on success.
pub(super) fn finish(what: &str, command: &mut Command) -> Result<String, EnvironmentError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}").replace('"', "");
    let program = PathBuf::from(command.get_program());
    let io = |error| EnvironmentError::Io { path: program.clone(), error };
    let mut child = Process::spawn(command).map_err(io)?;
    let spinner = ProgressBar::new_spinner().with_prefix(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    let stderr = collect(child.stderr());
    let mut printed = Vec::new();
    for line in child.stdout().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(io)?;
        spinner.set_message(line.clone());
        printed.push(line);
    }
    let status = child.wait().map_err(io)?;
    spinner.finish_and_clear();
    match status.success() {
        true => Ok(printed.join("\n")),
        false => Err(failed(what, shown, &status.to_string(), &collected(stderr))),
    }
}

/// What a command that failed has said, by its cause where that is known.
fn failed(what: &str, command: String, status: &str, said: &[u8]) -> EnvironmentError {
    let all = String::from_utf8_lossy(said).into_owned();
    if NO_NETWORK.iter().any(|words| all.contains(words)) {
        return EnvironmentError::NoNetwork { what: what.to_owned() };
    }
    if NO_SPACE.iter().any(|words| all.contains(words)) {
        return EnvironmentError::NoSpace { what: what.to_owned() };
    }
    let lines: Vec<&str> = all.lines().collect();
    let said = lines[lines.len().saturating_sub(5)..].join("; ");
    EnvironmentError::Command { command, status: status.to_owned(), said, all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_read_from_what_pip_lists() {
        let said = "ERROR: Could not find a version that satisfies the requirement a==9 (from versions: 1.0, 1.10rc1, 2.0); \
                    ERROR: No matching distribution found for a==9";
        assert_eq!(newest(said).as_deref(), Some("2.0"));
        assert_eq!(newest("ERROR: no network"), None);
    }

    #[test]
    fn a_file_of_another_digest_is_told_by_its_package() {
        let said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package \
                    versions, please update the hashes.\n    idna==3.20 from https://a.b/idna.whl#sha256=1:\n        \
                    Expected sha256 00\n             Got        61ab\n";
        assert_eq!(changed(said), Some(("idna==3.20".to_owned(), "61ab".to_owned())));
        assert_eq!(changed("ERROR: no network"), None);
    }

    #[test]
    fn what_pip_says_of_a_missing_network_or_a_full_disk_is_told_in_a_line() {
        let told = |said: &str| {
            failed("installing packages", "pip".to_owned(), "exit status: 1", said.as_bytes()).to_string()
        };
        for network in [
            "WARNING: Retrying after connection broken by 'NewConnectionError(…)'",
            "OSError: HTTPConnectionPool(…): Max retries exceeded with url: /files/a.whl (Caused by ResponseError('too many \
             500 error responses'))",
        ] {
            let told = told(network);
            assert!(told.starts_with("installing packages: no package index answers"), "{told}");
        }
        let disk = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device";
        assert!(told(disk).starts_with("installing packages: the disk is full"), "{}", told(disk));
        assert_eq!(told("a\nb"), "`pip` failed (exit status: 1): a; b");
    }
}
