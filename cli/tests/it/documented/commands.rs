//! The commands that documents show: found in one place, for the test that reads each (`cli/src/args/documented.rs`, which
//! takes this file in) and for the one that runs them.

use std::fs;
use std::path::{Path, PathBuf};

/// A document, by its path from the checkout.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// One command as it stands in a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    /// The line that it stands in, from 1.
    pub(crate) line: usize,
    /// The whole of it, without the prompt and without a comment.
    pub(crate) text: String,
    /// What it is shown to print: the lines below it, up to the next command.
    pub(crate) output: Vec<String>,
}

pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All documents that may show commands, in the order of their names.
pub(crate) fn documents() -> Vec<Document> {
    let root = checkout();
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).expect("a folder of documents");
        let files = entries.map(|entry| format!("{folder}{}", entry.expect("an entry").file_name().display()));
        files.filter(|name| name.ends_with(".md")).collect::<Vec<_>>()
    };
    let cards = ["fbnet-cifar", "mcu-cifar"].map(|bundle| format!("experiments/zoo/{bundle}/MODEL_CARD.md"));
    let mut all = [names(""), names("docs/"), cards.into()].concat();
    all.sort();
    let read = |name: String| Document { text: fs::read_to_string(root.join(&name)).expect("a document"), name };
    all.into_iter().map(read).collect()
}

/// Whether words of running text are a whole command of `ofa`: verbs alone name what is talked about, and `…` stands for
/// more.
fn is_whole(words: &str) -> bool {
    let is_verb = |word: &str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    given(words).is_some_and(|given| !given.contains('…') && !given.split(' ').all(is_verb))
}

/// The commands of `text` in order: in its blocks what stands behind `$ `, lines that end in a backslash joined, and in
/// running text what stands between backticks and is a whole command of `ofa`.
pub(crate) fn shown(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut lines = text.lines().enumerate();
    let (mut is_block, mut is_below) = (false, false);
    // Backticks may be lines apart, but not paragraphs.
    let (mut first, mut paragraph) = (0, String::new());
    while let Some((at, line)) = lines.next() {
        let is_fence = line.starts_with("```");
        if is_block || is_fence || line.is_empty() {
            found.extend(in_paragraph(first, &std::mem::take(&mut paragraph)));
        }
        if is_fence {
            is_block = !is_block;
            is_below = false;
        } else if !is_block {
            first = if paragraph.is_empty() { at + 1 } else { first };
            paragraph += &format!("{line}\n");
        } else if let Some(command) = line.strip_prefix("$ ") {
            let mut whole = command.to_owned();
            while let Some(start) = whole.strip_suffix('\\') {
                whole = format!("{start}{}", lines.next().map_or("", |(_, line)| line.trim_start()));
            }
            let text = whole.split(" #").next().unwrap_or_default().trim_end().to_owned();
            found.push(Shown { line: at + 1, text, output: Vec::new() });
            is_below = true;
        } else if is_below && let Some(last) = found.last_mut() {
            last.output.push(line.to_owned());
        }
    }
    found.extend(in_paragraph(first, &paragraph));
    found
}

/// The commands in the running text that begins at line `first`.
fn in_paragraph(first: usize, text: &str) -> Vec<Shown> {
    let (mut line, mut found) = (first, Vec::new());
    for (number, part) in text.split('`').enumerate() {
        let words = part.replace('\n', " ");
        if number % 2 == 1 && is_whole(&words) {
            found.push(Shown { line, text: words, output: Vec::new() });
        }
        line += part.matches('\n').count();
    }
    found
}

/// What `ofa` is given by a command, if that runs it: without another program's part or a redirection.
pub(crate) fn given(command: &str) -> Option<&str> {
    let command = command.strip_prefix("scripts/").unwrap_or(command).strip_prefix("ofa ")?;
    let end = [" | ", " > ", " 2>", " && "].iter().filter_map(|cut| command.find(cut)).min();
    Some(command[..end.unwrap_or(command.len())].trim())
}
