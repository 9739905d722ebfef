//! All printing: data to stdout, talk to stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdout, Write};
use std::path::Path;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
pub(crate) use experiments::duration::duration;
use experiments::error::Error;
use experiments::share::Interval;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::{Common, Format};

/// Where results and talk go.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
    stdout: io::BufWriter<Stdout>,
}

/// Nobody reads the results any more: no reason for a message.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl std::fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reader of the results is gone")
    }
}

impl std::error::Error for OutputClosed {}

impl Output {
    pub(crate) fn new(common: &Common) -> Self {
        Self {
            format: common.format,
            quiet: common.quiet,
            verbose: common.verbose > 0,
            stdout: io::BufWriter::new(io::stdout()),
        }
    }

    /// Whether to show where results come from.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Lines of results.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        let written = writeln!(self.stdout, "{}", harmless(text.as_ref()));
        written.map_err(stdout_error)
    }

    /// One JSON object of results, on one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        self.line(value.to_string())
    }

    /// Results as columns under `header`.
    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.to_vec());
        table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| one_line(&cell)).collect::<Vec<_>>()));
        for line in table.lines() {
            // Columns are padded on both sides.
            let line = line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
            self.line(line)?;
        }
        Ok(())
    }

    /// Label and value of each row, labels padded to one width; an empty label continues the row above.
    pub(crate) fn rows(&mut self, rows: &[(String, String)]) -> Result<()> {
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in rows {
            self.line(one_line(format!("{label:width$}  {value}").trim_end()))?;
        }
        Ok(())
    }

    /// The command that usually comes next, as the last line; capitals stand for what only the user knows.
    pub(crate) fn next(&mut self, words: &[String]) -> Result<()> {
        if self.quiet || self.is_json() {
            return Ok(());
        }
        let words: Vec<Cow<'_, str>> = words.iter().map(|word| quoted(word)).collect();
        self.line(format!("next: ofa {}", words.join(" ")))
    }

    /// Talk, unless asked to be quiet.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // Talk that nobody hears is no failure.
            let _ = writeln!(io::stderr(), "{}", harmless(text.as_ref()));
        }
    }

    /// What may make results wrong: said to whoever asked to be quiet, too.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let _ = writeln!(io::stderr(), "warning: {}", harmless(text.as_ref()));
    }

    /// A bar for `length` steps on stderr, seen only on a terminal.
    pub(crate) fn progress(&self, length: u64, template: &str) -> ProgressBar {
        let shown = self.shows_progress();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }

    /// Whether progress bars are seen.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Hands everything over.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.stdout.flush().map_err(stdout_error)
    }
}

fn stdout_error(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => Error::from(error).within("cannot write the results to standard output").into(),
    }
}

/// Text as it may be printed: what would steer the terminal is spelled out. Files and arguments bring all sorts.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::new(), |mut text, letter| {
            if steers(letter) {
                text.extend(letter.escape_default())
            } else {
                text.push(letter)
            }
            text
        })
        .into()
}

/// As [`harmless`], where a line of its own would be taken for one of ours.
fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:,=+@%".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// A path as JSON has it: what is not Unicode is replaced.
pub(crate) fn as_text(path: &Path) -> String {
    path.display().to_string()
}

/// A fraction as a percentage: `82.1 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// A counted share of so many images with the interval of one standard deviation: `87.50 % (70.41 to 95.31 %)`.
pub(crate) fn share(share: f64, images: u64) -> String {
    let Interval { low, high } = Interval::of_share(share, images);
    format!("{} ({:.2} to {})", percent(share), 100.0 * low, percent(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_part_them() {
        assert_eq!((&*quoted("runs/a-1"), &*quoted("my run")), ("runs/a-1", "'my run'"));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn what_steers_a_terminal_is_spelled_out() {
        assert_eq!(harmless("µ-controller, 50 mJ\n\tsecond"), "µ-controller, 50 mJ\n\tsecond");
        assert_eq!(harmless("\u{1b}[2Jgone\r\u{7}\u{9b}1m"), "\\u{1b}[2Jgone\\r\\u{7}\\u{9b}1m");
        assert_eq!(one_line("board\nlatency  1 ms"), "board\\nlatency  1 ms");
    }
}
