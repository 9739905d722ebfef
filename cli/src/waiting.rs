//! How long LibTorch's threads wait for each other by turning in circles.

use std::ffi::OsStr;

use crate::args::{Command, PredictorCommand};

/// The variables by which a user says it instead.
const BY_USER: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Turns before a thread sleeps. By default it is 300,000, some hundred microseconds: where something else wants a core as
/// well, the thread that is waited for does not run, and the one that waits keeps its core busy. A step of mcu-cifar's
/// largest subnet on two busy cores took 376 to 412 ms with that and 117 to 204 ms with this (medians of three rounds), on
/// quiet ones 42 to 48 and 43 to 46 ms; sleeping at once (`passive`) cost 49 to 59 ms there.
const TURNS: &str = "3000";

/// Starts this program over with fewer such turns, where `command` computes with LibTorch and the user has not said
/// otherwise: LibTorch reads the number when it is loaded, before `main`. If that fails, all goes on as it is.
pub(crate) fn briefly(command: &Command) {
    if !trains_or_measures(command) || BY_USER.iter().any(|name| is_set(std::env::var_os(name).as_deref())) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_else(|| "ofa".into());
        let mut again = std::process::Command::new("/proc/self/exe");
        // Returns only if it failed.
        let problem = again.arg0(name).args(words).env("GOMP_SPINCOUNT", TURNS).exec();
        tracing::debug!("not started over: {problem}");
    }
}

fn is_set(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// Verbs that run for longer than starting over takes (some 0.2 s).
fn trains_or_measures(command: &Command) -> bool {
    match command {
        Command::Build(_)
        | Command::Train(_)
        | Command::Finetune(_)
        | Command::Refine(_)
        | Command::Eval(_)
        | Command::Calibration(_)
        | Command::Export(_)
        | Command::Verify(_) => cfg!(feature = "torch"),
        Command::Predictor(command) => cfg!(feature = "torch") && matches!(command, PredictorCommand::Collect(_)),
        _ => false,
    }
}
