//! A package index on this machine that breaks off in the middle of a package, as networks do.
//!
//! In: a yard, and how far it sends a package. Out: whether set-up said so and left nothing that counts as ready, and went
//! on as soon as the index was whole. The packages are made up, so that they are small.

use super::{PROMISED, SLACK, Well, Yard, in_words, worked};
use crate::interpreter;
use rustix::process::Signal;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What the made-up environment has; the last one is sent in part.
const PACKAGES: [&str; 2] = ["torch", "transformers"];
const VERSIONS: &str = "python: {torch: 1.0.0, transformers: 1.0.0}
sources: {transformers: {package: transformers, version: 1.0.0}}
";
/// What is empty until set-up has ended.
const STAMP: &str = ".venv/locked.txt";
/// Writes wheels into the working directory, which hold a file of a megabyte each.
const WHEELS: &str = r#"
import random, sys, zipfile
for name in sys.argv[1:]:
    info = f"{name}-1.0.0.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/data": random.Random(0).randbytes(1 << 20),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{name}-1.0.0-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
"#;

/// Sets an environment up from an index that sends this part of a package, and again from one that sends all.
pub(super) fn breaks_off(yard: &Yard, part: f64) -> io::Result<Well> {
    let root = yard.root().join("checkout");
    served(&root, part, &|index, breaks| {
        breaks.store(true, Ordering::SeqCst);
        let told = told(&set_up(yard, &root, index).output()?, &root);
        breaks.store(false, Ordering::SeqCst);
        Ok(told.and(whole(yard, &root, index)?))
    })
}

/// Sends set-up a signal after this part of the time that it takes by itself, and has it go on.
pub(super) fn signalled(yard: &Yard, signal: Signal, part: f64) -> io::Result<Well> {
    let [first, root] = ["first", "checkout"].map(|name| yard.root().join(name));
    let started = Instant::now();
    if let Err(why) = served(&first, 1.0, &|index, _| whole(yard, &first, index))? {
        return Ok(Err(format!("by itself: {why}")));
    }
    let at = started.elapsed().mul_f64(part);
    served(&root, 1.0, &|index, _| {
        let ended = super::interrupted(&mut set_up(yard, &root, index), signal, at)?;
        // pip does not hear that who started it was killed: the next run waits for it.
        let quiet = || if signal == Signal::KILL { Ok(()) } else { yard.is_quiet(PROMISED + SLACK) };
        let ended = ended.and_then(|()| quiet());
        let next = whole(yard, &root, index)?;
        Ok(ended.and(next).map_err(|why| format!("at {:.1} s: {why}", at.as_secs_f64())))
    })
}

/// Whether set-up does its work.
fn whole(yard: &Yard, root: &Path, index: &str) -> io::Result<Well> {
    let output = set_up(yard, root, index).output()?;
    Ok(worked(&output).map_err(|why| format!("the next run: {why}")))
}

/// Has an index serve packages for a checkout while something is done, which can make it break off.
fn served(root: &Path, part: f64, what: &dyn Fn(&str, &AtomicBool) -> io::Result<Well>) -> io::Result<Well> {
    let wheels = wheels(root)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (breaks, ends) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whoever asks may be gone before all is said.
            let streams = listener.incoming().take_while(|_| !ends.load(Ordering::SeqCst));
            streams.flatten().for_each(|stream| {
                drop(answer(stream, &wheels, part, breaks.load(Ordering::SeqCst)));
            });
        });
        let done = what(&format!("http://{address}/simple"), &breaks);
        ends.store(true, Ordering::SeqCst);
        // Wakes the index, which hears that it ends.
        drop(TcpStream::connect(address));
        done
    })
}

/// Writes the spec, its lock and the wheels; the wheels by their names.
fn wheels(root: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let locked = root.join("spec/locked");
    fs::create_dir_all(&locked)?;
    fs::write(root.join("spec/versions.yaml"), VERSIONS)?;
    let python = interpreter::system().map_err(io::Error::other)?;
    let made = Command::new(python).args(["-c", WHEELS]).args(PACKAGES).current_dir(root).output()?;
    worked(&made).map_err(io::Error::other)?;
    let (mut wheels, mut lock) = (BTreeMap::new(), String::new());
    for package in PACKAGES {
        let name = format!("{package}-1.0.0-py3-none-any.whl");
        let bytes = fs::read(root.join(&name))?;
        lock += &format!("{package}==1.0.0 \\\n    --hash=sha256:{:x}\n", Sha256::digest(&bytes));
        wheels.insert(name, bytes);
    }
    fs::write(locked.join("python.txt"), lock)?;
    Ok(wheels)
}

/// `setup`, which asks that index and nobody else.
fn set_up(yard: &Yard, root: &Path, index: &str) -> Command {
    let mut command = yard.program();
    command.arg("setup").current_dir(root).env("HF_CONFORMANCE_RESULTS", yard.results());
    for name in
        ["HF_CONFORMANCE_PYTHON", "HF_CONFORMANCE_TORCH_INDEX", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"]
    {
        command.env_remove(name);
    }
    command.env("PIP_INDEX_URL", index).env("PIP_CONFIG_FILE", "/dev/null").env("NO_PROXY", "127.0.0.1");
    command.env("PIP_NO_CACHE_DIR", "1").env("PIP_RETRIES", "0");
    command
}

/// Whether it failed, said that the same command helps, and left no environment that looks ready.
fn told(output: &Output, root: &Path) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr);
    let is_stamped = fs::read(root.join(STAMP)).is_ok_and(|lock| !lock.is_empty());
    if output.status.success() || is_stamped {
        return Err("half a package was enough".to_owned());
    }
    in_words(output)?;
    match said.contains("the same command") || said.contains("The same command") {
        true => Ok(()),
        false => Err(format!("it does not say what helps: {}", super::last_line(output))),
    }
}

/// Answers one request: a package's page, or a wheel, the last one in part where the index breaks.
fn answer(stream: TcpStream, wheels: &BTreeMap<String, Vec<u8>>, part: f64, breaks: bool) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    let last = asked.split(' ').nth(1).unwrap_or_default().trim_matches('/').rsplit('/').next();
    let last = last.unwrap_or_default();
    let links = || {
        let own = wheels.keys().filter(|name| name.starts_with(&format!("{last}-")));
        own.map(|name| format!("<a href=\"/files/{name}\">{name}</a>")).collect::<String>()
    };
    let body = wheels.get(last).cloned().unwrap_or_else(|| links().into_bytes());
    let is_cut = breaks && last.starts_with(PACKAGES[1]) && wheels.contains_key(last);
    let sent = if is_cut { (body.len() as f64 * part) as usize } else { body.len() };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
    write!(&stream, "{head} {}\r\n\r\n", body.len())?;
    (&stream).write_all(&body[..sent])
}
