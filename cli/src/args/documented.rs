//! Every command that README, documents and model cards show is one that `ofa` understands.

use std::fs;
use std::path::{Path, PathBuf};

use super::Cli;

/// The documents that show commands.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let markdown = |folder: PathBuf| {
        let files = fs::read_dir(folder).expect("a folder of documents").map(|entry| entry.expect("an entry").path());
        files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
    };
    let cards =
        ["fbnet-cifar", "mcu-cifar"].map(|bundle| root.join("experiments/zoo").join(bundle).join("MODEL_CARD.md"));
    let mut all = [markdown(root.clone()), markdown(root.join("docs")), cards.into()].concat();
    all.sort();
    all
}

/// The command lines of `text`'s blocks: what stands behind `$ ofa ` or `$ scripts/ofa `, without a comment, another
/// program's part or a redirection, lines that end in a backslash joined.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut inside = false;
    let mut found = Vec::new();
    for line in joined.lines() {
        if line.starts_with("```") {
            inside = !inside;
        }
        let command = ["$ ofa ", "$ scripts/ofa "].iter().find_map(|prompt| line.strip_prefix(prompt));
        let Some(command) = command.filter(|_| inside) else { continue };
        let end = [" #", " | ", " > ", " 2>", " && "].iter().filter_map(|cut| command.find(cut)).min();
        found.push(command[..end.unwrap_or(command.len())].trim().to_owned());
    }
    found
}

#[test]
fn every_command_shown_is_one_that_is_understood() {
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        for command in commands(&text) {
            count += 1;
            // An ellipsis stands for what was said before.
            let words = command.split_whitespace().filter(|word| *word != "…").map(|word| word.trim_matches('"'));
            let read = Cli::read(std::iter::once("ofa").chain(words));
            let is_understood = match &read {
                Ok(_) => true,
                Err(error) => error.exit_code() == 0,
            };
            assert!(is_understood, "{}: `ofa {command}`: {}", path.display(), read.unwrap_err());
        }
    }
    assert!(count > 60, "{count} commands in all");
}

#[test]
fn commands_are_found_in_blocks_alone() {
    let text = "run `ofa doctor`\n```console\n$ ofa space list   # all\n$ scripts/ofa search \\\n  --macs 3M > x\nofa x\n```\n$ ofa no\n";
    let words: Vec<Vec<String>> =
        commands(text).iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(
        words,
        [["space", "list"].map(String::from).to_vec(), ["search", "--macs", "3M"].map(String::from).to_vec()]
    );
}
