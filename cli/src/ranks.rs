//! Several processes of one training on this machine.

use std::ffi::OsString;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use experiments::torch::LAUNCHED_BY;
use storage::failure::FailureKind;

use crate::interrupt::{INTERRUPTED, expect_suspension, is_to_suspend, stop_flag};

/// What is kept of what a process other than the first says.
const MOST_SAID: usize = 64 << 10;

/// The processes ended with this exit code, and have said why.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) u8);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the processes ended with exit code {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// How often processes are looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How long the others may take to notice that one is gone.
const GRACE: Duration = Duration::from_secs(10);
/// Processes for each core, at most: beyond it they wait for each other and for memory.
const FOR_EACH_CORE: usize = 4;

/// Runs this command in `count` processes, which find each other by `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`,
/// and waits for them. They share the cores, unless the command says how many threads each has.
///
/// # Errors
/// A process that cannot be started; [`Ended`] where one of them failed.
pub(crate) fn launch(count: u32, has_threads: bool) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if count as usize > FOR_EACH_CORE * cores {
        bail!(
            "--nproc is {count}, but this machine has {cores} cores, for {} processes at most",
            FOR_EACH_CORE * cores
        );
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no port is free")?.port();
    let threads = (cores / count as usize).max(1).to_string();
    let stop = stop_flag();
    let launched_by = std::env::args().collect::<Vec<_>>().join("\n");
    let mut children: Vec<Child> = Vec::new();
    let mut said = Vec::new();
    for rank in 0..count {
        let mut command = Command::new(&program);
        let words = without_nproc(std::env::args_os().skip(1));
        command.args(if has_threads { words } else { with_threads(words, &threads) });
        let number = |value: u32| value.to_string();
        command.envs([("RANK", number(rank)), ("LOCAL_RANK", number(rank)), ("WORLD_SIZE", number(count))]);
        command.envs([("MASTER_ADDR", "127.0.0.1".to_owned()), ("MASTER_PORT", port.to_string())]);
        command.env_remove("TORCHELASTIC_USE_AGENT_STORE").env_remove("TORCHELASTIC_RESTART_COUNT");
        command.env(LAUNCHED_BY, &launched_by).stdin(Stdio::null());
        if rank > 0 {
            // What goes wrong for all of them the first one says.
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        }
        with_this_process(&mut command);
        match command.spawn() {
            Ok(mut child) => {
                said.push(child.stderr.take().map(|stderr| std::thread::spawn(move || last_words(stderr))));
                children.push(child);
            }
            Err(error) => {
                children.iter_mut().for_each(end);
                return Err(error).context(format!("cannot start process {rank} of {count}"));
            }
        }
    }
    let mut codes: Vec<Option<u8>> = vec![None; children.len()];
    let mut first: Option<(usize, Failed, Instant)> = None;
    let mut is_told = false;
    expect_suspension();
    while codes.iter().any(Option::is_none) {
        if stop.load(Ordering::Relaxed) && !std::mem::replace(&mut is_told, true) {
            // Those that were waited for have no number of their own any more.
            let left = children.iter().zip(&codes).filter(|(_, code)| code.is_none());
            left.for_each(|(child, _)| ask_to_stop(child));
        }
        if is_to_suspend() {
            suspend_with(children.iter().zip(&codes).filter(|(_, code)| code.is_none()).map(|(child, _)| child));
        }
        for (rank, (child, code)) in children.iter_mut().zip(&mut codes).enumerate() {
            if code.is_some() {
                continue;
            }
            let Some(status) = child.try_wait().context("cannot wait for a process")? else { continue };
            let failed = match status.code().map(u8::try_from) {
                Some(Ok(0)) => None,
                Some(Ok(code)) => Some(Failed::With(code)),
                // It had nothing to save yet.
                _ if is_told => Some(Failed::With(INTERRUPTED)),
                _ => Some(Failed::Killed),
            };
            *code = Some(failed.map_or(0, Failed::code));
            if let Some(failed) = failed {
                first.get_or_insert((rank, failed, Instant::now()));
            }
        }
        if first.is_some_and(|(.., since)| since.elapsed() > GRACE) {
            let left = children.iter_mut().zip(&codes).filter(|(_, code)| code.is_none());
            left.for_each(|(child, _)| end(child));
        }
        std::thread::sleep(EVERY);
    }
    let Some((first, failed, _)) = first else { return Ok(()) };
    let codes: Vec<u8> = codes.into_iter().flatten().collect();
    // Who lost another ends with the code of input and output; the reason is elsewhere, if it is another one.
    let reason = codes.iter().position(|code| *code != 0 && *code != FailureKind::Io.exit_code());
    if reason.is_none() && matches!(failed, Failed::Killed) {
        bail!("process {first} of {count} was killed");
    }
    let speaker = reason.unwrap_or(first);
    // What is wrong for the first one as well stands there already.
    if speaker > 0 && (reason.is_none() || codes[speaker] != codes[0]) {
        let words = said.swap_remove(speaker).and_then(|thread| thread.join().ok());
        eprint!("{}", words.unwrap_or_default());
    }
    Err(Ended(codes[speaker]).into())
}

/// How a process failed.
#[derive(Clone, Copy)]
enum Failed {
    With(u8),
    /// By somebody else.
    Killed,
}

impl Failed {
    fn code(self) -> u8 {
        match self {
            Self::With(code) => code,
            Self::Killed => FailureKind::Io.exit_code(),
        }
    }
}

/// The end of what a process says.
fn last_words(mut stderr: ChildStderr) -> String {
    let (mut words, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stderr.read(&mut part) {
        words.extend_from_slice(&part[..count]);
        let surplus = words.len().saturating_sub(MOST_SAID);
        words.drain(..surplus);
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// The arguments but for `--nproc` and its value.
fn without_nproc(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        match word.to_string_lossy().as_ref() {
            "--nproc" => {
                words.next();
            }
            text if text.starts_with("--nproc=") => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// The arguments with a number of threads, before anything that may follow `--`.
fn with_threads(mut words: Vec<OsString>, threads: &str) -> Vec<OsString> {
    let verb = words.iter().position(|word| word == "train").map_or(0, |verb| verb + 1);
    words.splice(verb..verb, ["--threads", threads].map(OsString::from));
    words
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
}

/// Ctrl-C and Ctrl-Z reach this process alone, which tells the others; they end with it.
#[cfg(unix)]
fn with_this_process(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

#[cfg(not(unix))]
fn with_this_process(_: &mut Command) {}

#[cfg(unix)]
fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: a child that was not waited for keeps its number.
    unsafe {
        libc::kill(child.id().cast_signed(), signal);
    }
}

#[cfg(unix)]
fn ask_to_stop(child: &Child) {
    signal(child, libc::SIGTERM);
}

#[cfg(not(unix))]
fn ask_to_stop(_: &Child) {}

/// Suspends the children and this process, until somebody lets it go on, and they with it.
#[cfg(unix)]
fn suspend_with<'c>(children: impl Iterator<Item = &'c Child> + Clone) {
    children.clone().for_each(|child| signal(child, libc::SIGSTOP));
    // SAFETY: to be suspended is harmless.
    unsafe {
        libc::raise(libc::SIGSTOP);
    }
    children.for_each(|child| signal(child, libc::SIGCONT));
}

#[cfg(not(unix))]
fn suspend_with<'c>(_: impl Iterator<Item = &'c Child>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_not_launched_again() {
        let without = |words: &[&str]| without_nproc(words.iter().map(OsString::from));
        assert_eq!(without(&["train", "r.yaml", "--nproc", "2", "--out", "run"]), ["train", "r.yaml", "--out", "run"]);
        assert_eq!(without(&["train", "--nproc=4", "r.yaml"]), ["train", "r.yaml"]);
        let words = without(&["-v", "train", "--nproc=4", "--", "r.yaml"]);
        assert_eq!(with_threads(words, "1"), ["-v", "train", "--threads", "1", "--", "r.yaml"]);
    }
}
