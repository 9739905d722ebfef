//! Every command that documents show runs, in the order of its document, in a folder that holds what the document presumes:
//! `FOLDER` and `img` with images, tables of a board, recipes of one epoch a phase (`made_up.rs`). What is run otherwise, or
//! not, is in `tables.rs`, each with its reason; each entry has to have a use.

mod commands;
mod made_up;
mod tables;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use self::commands::{Shown, documents, given, shown};
use self::tables::{CHANGED, NEEDS_LIBTORCH, NOT_RUN, Otherwise, WITHOUT_LIBTORCH};
use crate::support::{Run, Sandbox};

/// A test for each document, so that they run side by side and can be named.
macro_rules! documents {
    ($($test:ident: $name:literal,)*) => {
        /// The documents that have a test.
        const RUN: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*
    };
}

documents! {
    contributing: "CONTRIBUTING.md",
    readme: "README.md",
    skill: "SKILL.md",
    command_line: "docs/command-line.md",
    deployment: "docs/deployment.md",
    files: "docs/files.md",
    install: "docs/install.md",
    networks: "docs/networks.md",
    own_data: "docs/own-data.md",
    own_device: "docs/own-device.md",
    search: "docs/search.md",
    several_processes: "docs/several-processes.md",
    spaces: "docs/spaces.md",
    sweeps: "docs/sweeps.md",
    targets: "docs/targets.md",
    training: "docs/training.md",
    card_of_fbnet_cifar: "experiments/zoo/fbnet-cifar/MODEL_CARD.md",
    card_of_mcu_cifar: "experiments/zoo/mcu-cifar/MODEL_CARD.md",
}

#[test]
fn every_document_with_commands_is_run() {
    let shows = |name: &&str| documents().iter().any(|document| document.name == **name);
    assert!(RUN.iter().all(shows), "a document is gone: {RUN:?}");
    for document in documents() {
        let is_run = RUN.contains(&&*document.name);
        assert_eq!(is_run, !shown(&document.text).is_empty(), "{} shows commands, or none any more", document.name);
    }
}

#[test]
fn every_exception_has_a_use() {
    let all: Vec<(String, Shown)> = documents()
        .into_iter()
        .flat_map(|document| shown(&document.text).into_iter().map(move |shown| (document.name.clone(), shown)))
        .collect();
    for (document, text, _) in NOT_RUN {
        assert!(all.iter().any(|(name, shown)| name == document && shown.text == *text), "{document}: `{text}`");
    }
    for (from, ..) in CHANGED {
        assert!(all.iter().any(|(_, shown)| shown.text.contains(from)), "`{from}` is in no command");
    }
}

/// Runs the commands of a document.
fn run(name: &str) {
    let is_whole = cfg!(feature = "torch");
    if !is_whole && !WITHOUT_LIBTORCH.contains(&name) {
        return;
    }
    let text = documents().into_iter().find(|document| document.name == name).expect("a document").text;
    let sandbox = Sandbox::new();
    made_up::prepare(&sandbox);
    let mut count = 0;
    for command in shown(&text) {
        let needs = |verbs: &&str| given(&command.text).is_some_and(|given| given.starts_with(verbs));
        if !is_whole && NEEDS_LIBTORCH.iter().any(needs) {
            continue;
        }
        let otherwise = NOT_RUN.iter().find(|(document, text, _)| *document == name && *text == command.text);
        if otherwise.is_some_and(|(.., otherwise)| is_left_out(*otherwise)) {
            continue;
        }
        made_up::prepare_for(&sandbox, &command.text);
        let began = Instant::now();
        check(name, &command, &bash(&sandbox, &as_run(&command.text)));
        eprintln!("{name}:{}: {:.1} s: {}", command.line, began.elapsed().as_secs_f64(), as_run(&command.text));
        count += 1;
    }
    eprintln!("{name}: {count} commands ran");
}

fn is_left_out(otherwise: Otherwise) -> bool {
    match otherwise {
        Otherwise::Never(_) => true,
        Otherwise::Slow(_) => std::env::var_os("OFA_SLOW_TESTS").is_none_or(|value| value != "1"),
        Otherwise::WithPackage(package) => {
            let python = Command::new("python3").args(["-c", &format!("import {package}")]).output();
            !python.is_ok_and(|output| output.status.success())
        }
    }
}

/// A command with the words that are given otherwise.
fn as_run(text: &str) -> String {
    CHANGED.iter().fold(text.to_owned(), |text, (from, to, _)| text.replace(from, to))
}

/// Runs a line as a user's shell does, with `ofa` on the path.
fn bash(sandbox: &Sandbox, line: &str) -> Run {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", line]).current_dir(sandbox.path("."));
    command.env("PATH", format!("{}:{path}", sandbox.path("scripts").display()));
    command.env("OFA_HOME", sandbox.path("home")).env_remove("RUST_LOG");
    Run::of(command.output().expect("bash"))
}

/// It ends well, or with the error that the document shows, and its lines begin as the document's do.
fn check(document: &str, command: &Shown, run: &Run) {
    let place = format!("{document}:{}: `{}`", command.line, as_run(&command.text));
    let said = format!("{}\n{}", run.stdout, run.stderr);
    let error = command.output.iter().find(|line| line.starts_with("error: "));
    match error {
        Some(error) => assert!(run.code != 0 && said.contains(error), "{place}: {}: {said}", run.code),
        None => assert_eq!(run.code, 0, "{place}: {said}"),
    }
    let first = |line: &str| -> String {
        let word = line.trim_start_matches(['[', ' ']).split_whitespace().next().unwrap_or_default();
        word.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '/').to_owned()
    };
    let begins: BTreeSet<String> = said.lines().map(first).collect();
    for word in command.output.iter().map(|line| first(line)) {
        let is_word = word.starts_with(|letter: char| letter.is_ascii_alphabetic());
        assert!(!is_word || begins.contains(&word), "{place}: no line begins with `{word}`: {said}");
    }
}
