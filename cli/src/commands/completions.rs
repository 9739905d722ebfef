//! `ofa completions` and `ofa man`: what shells and `man` are told about the verbs.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use experiments::error::Error;
use serde_json::json;
use storage::atomic::write_atomically;

use crate::args::definition;
use crate::output::{Output, as_text};

/// The script that completes verbs and options.
pub(crate) fn completions(shell: Shell, output: &mut Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "ofa", &mut script);
    let script = String::from_utf8_lossy(&script);
    if output.is_json() {
        return output.json(&json!({"shell": shell.to_string(), "script": script}));
    }
    output.line(script.trim_end())
}

/// A page for `ofa` and one for each verb, as `ofa-target-cost.1`.
pub(crate) fn man(folder: &Path, output: &mut Output) -> Result<()> {
    let failed = |path: &Path, error: io::Error| Error::from(error).within(path.display().to_string());
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    // Without the `help` that clap adds to every group of verbs.
    let mut command = definition().disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    for verb in all(&command) {
        let page = Man::new(verb.clone());
        let path = folder.join(page.get_filename());
        write_atomically(&path, |file| page.render(file)).map_err(|error| failed(&path, error))?;
        files.push(path);
    }
    if output.is_json() {
        return output.json(&json!({"files": files.iter().map(|file| as_text(file)).collect::<Vec<_>>()}));
    }
    let (count, place) = (files.len(), folder.display());
    output.line(format!("{count} pages are in {place}; `man {place}/ofa.1` shows the first"))
}

/// A verb and those below it.
fn all(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(all);
    std::iter::once(command).chain(below).collect()
}
