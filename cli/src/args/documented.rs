//! Every command that README, documents and model cards show is one that `ofa` understands; `cli/tests/it/documented` runs
//! them.

#[path = "../../tests/it/documented/commands.rs"]
mod commands;

use self::commands::{documents, given, shown};
use super::Cli;

#[test]
fn every_command_shown_is_one_that_is_understood() {
    let mut count = 0;
    for document in documents() {
        for command in shown(&document.text) {
            let Some(words) = given(&command.text) else { continue };
            count += 1;
            // An ellipsis stands for what was said before, and `|` in running text for a choice.
            let words = words.split_whitespace().filter(|word| *word != "…").map(|word| {
                let word = word.trim_matches(['"', '[', ']']);
                word.split('|').next().unwrap_or(word)
            });
            let read = Cli::read(std::iter::once("ofa").chain(words));
            let is_understood = match &read {
                Ok(_) => true,
                Err(error) => error.exit_code() == 0,
            };
            let place = format!("{}:{}", document.name, command.line);
            assert!(is_understood, "{place}: `{}`: {}", command.text, read.unwrap_err());
        }
    }
    assert!(count > 80, "{count} commands in all");
}

#[test]
fn commands_are_found_in_blocks_and_whole_ones_in_text() {
    let lines = [
        "run `ofa doctor` or `ofa target show pixel3`, never `ofa search … --to x`, or `ofa",
        "space show x.yaml`",
        "```console",
        "$ ofa space list   # all",
        "a space",
        "$ scripts/ofa search \\",
        "  --macs 3M > x",
        "ofa x",
        "```",
        "$ ofa no",
    ];
    let text = &lines.join("\n");
    let found = shown(text);
    let texts: Vec<&str> = found.iter().map(|command| &*command.text).collect();
    assert_eq!(
        texts,
        ["ofa target show pixel3", "ofa space show x.yaml", "ofa space list", "scripts/ofa search --macs 3M > x"]
    );
    assert_eq!(found.iter().map(|command| command.line).collect::<Vec<_>>(), [1, 1, 4, 6]);
    assert_eq!((&*found[2].output, &*found[3].output), (&["a space".to_owned()][..], &["ofa x".to_owned()][..]));
    assert_eq!(given(texts[3]), Some("search --macs 3M"));
    assert_eq!(given("cat a > b"), None);
}
