//! All printing: data to stdout, talk to stderr.

use std::io::{self, IsTerminal, Stdout, Write};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use experiments::error::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::{Common, Format};

/// Where results and talk go.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
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
        Self { format: common.format, quiet: common.quiet, stdout: io::BufWriter::new(io::stdout()) }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One line of results.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        let written = writeln!(self.stdout, "{}", text.as_ref());
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
        table.add_rows(rows);
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
            self.line(format!("{label:width$}  {value}").trim_end())?;
        }
        Ok(())
    }

    /// Talk, unless asked to be quiet.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // Talk that nobody hears is no failure.
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
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

/// A fraction as a percentage: `82.1 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}
