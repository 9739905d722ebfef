//! `ofa report`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use experiments::error::Error;
use experiments::report::error::ReportError;
use experiments::report::tracking::run::Experiment;
use experiments::report::tracking::{self, mlflow, trackio};
use experiments::report::{data, folder, html, text};
use experiments::sweep::folder::SweepFolder;
use experiments::sweep::plan::SweepPlan;
use experiments::sweep::table;
use serde_json::json;
use storage::atomic::write_atomically;

use crate::args::report::{ReportArgs, ReportForm};
use crate::output::{Output, as_text};

/// Extensions of pages and tables to read.
const PAGES: [&str; 6] = ["htm", "html", "markdown", "md", "tex", "txt"];

/// Whether a file is there, which by its name, or by that of the file that it leads to, is no page and may be dear.
fn is_other_file(path: &Path) -> bool {
    let Ok(file) = fs::canonicalize(path) else { return false };
    let is_page = |end: &OsStr| PAGES.iter().any(|page| end.eq_ignore_ascii_case(page));
    let is_full = fs::metadata(&file).is_ok_and(|there| there.is_file() && there.len() > 0);
    is_full && file.extension().is_some_and(|end| !is_page(end))
}

/// Writes runs into a folder.
type WriteRuns = fn(&Path, &[Experiment]) -> experiments::error::Result<()>;

pub(crate) fn run(args: &ReportArgs, output: &mut Output) -> Result<()> {
    match args.form {
        ReportForm::Html | ReportForm::Md | ReportForm::Latex => show(args, output),
        ReportForm::Mlflow => track(args, "MLflow", mlflow::write, output),
        ReportForm::Trackio => track(args, "Trackio", trackio::write, output),
    }
}

/// The sweep in a folder; none of a folder that holds something else.
fn sweep_of(path: &Path, output: &Output) -> Result<Option<(SweepPlan, SweepFolder)>> {
    let folder = SweepFolder::at(path);
    if !folder.file().exists() {
        return Ok(None);
    }
    let plan = SweepPlan::new(&folder.file(), Some(folder.path()))?;
    let there = table::rows(&plan, &folder)?.len();
    if there < plan.points.len() {
        let (missing, path) = (plan.points.len() - there, path.display());
        output.warn(format!("{missing} of {} points of {path} are not computed yet", plan.points.len()));
    }
    Ok(Some((plan, folder)))
}

/// A page or tables.
fn show(args: &ReportArgs, output: &mut Output) -> Result<()> {
    let (mut sweeps, mut folders) = (Vec::new(), Vec::new());
    for path in &args.folders {
        let Some((mut plan, folder)) = sweep_of(path, output)? else {
            folders.push(folder::of_folder(path)?);
            continue;
        };
        // Two folders of one sweep's file are told apart by where they are.
        if args.folders.len() > 1 || plan.name == "sweep" {
            plan.name =
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        }
        sweeps.push((plan, folder));
    }
    let mut data = data::of_sweeps(&sweeps)?;
    let names: Vec<String> = sweeps
        .iter()
        .map(|(plan, _)| plan.name.clone())
        .chain(folders.iter().map(|folder| folder["name"].as_str().unwrap_or_default().to_owned()))
        .collect();
    data["folders"] = folders.into();
    let (form, page) = match args.form {
        ReportForm::Html => ("html", html::page(&names.join(" and "), &data)),
        ReportForm::Md => ("md", text::markdown(&data)),
        _ => ("latex", text::latex(&data)),
    };
    let Some(out) =
        args.out.clone().or_else(|| (args.form == ReportForm::Html).then(|| args.folders[0].join("report.html")))
    else {
        if output.is_json() {
            return output.json(&json!({"as": form, "text": page}));
        }
        return page.lines().try_for_each(|line| output.line(line));
    };
    if is_other_file(&out) {
        return Err(Error::from(ReportError::OtherForm { path: out }).into());
    }
    write_atomically(&out, |file| file.write_all(page.as_bytes())).map_err(|source| Error::Write { source })?;
    match output.is_json() {
        true => output.json(&json!({"report": as_text(&out), "bytes": page.len()})),
        false => output.line(format!("written to {}", out.display())),
    }
}

/// Runs for a program that shows them beside others.
fn track(args: &ReportArgs, tracker: &'static str, write: WriteRuns, output: &mut Output) -> Result<()> {
    let Some(out) = &args.out else {
        return Err(Error::from(ReportError::NoFolder { tracker }).into());
    };
    let mut experiments = Vec::new();
    for path in &args.folders {
        experiments.push(match sweep_of(path, output)? {
            Some((plan, folder)) => tracking::sweep::of_sweep(&plan, &folder)?,
            None => tracking::folder::of_folder(path)?,
        });
    }
    write(out, &experiments)?;
    let runs: usize = experiments.iter().map(|experiment| experiment.runs.len()).sum();
    if output.is_json() {
        let named = |one: &Experiment| json!({"name": one.name, "runs": one.runs.len()});
        let experiments: Vec<_> = experiments.iter().map(named).collect();
        return output.json(&json!({"report": as_text(out), "runs": runs, "experiments": experiments}));
    }
    let plural = if runs == 1 { "run" } else { "runs" };
    output.line(format!("{runs} {plural} for {tracker} written to {}", out.display()))
}
