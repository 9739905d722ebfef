//! `ofa report`.

use std::io::Write;

use anyhow::Result;
use experiments::error::Error;
use experiments::report::{data, folder, html, text};
use experiments::sweep::folder::SweepFolder;
use experiments::sweep::plan::SweepPlan;
use experiments::sweep::table;
use serde_json::json;
use storage::atomic::write_atomically;

use crate::args::report::{ReportArgs, ReportForm};
use crate::output::Output;

pub(crate) fn run(args: &ReportArgs, output: &mut Output) -> Result<()> {
    let (mut sweeps, mut folders) = (Vec::new(), Vec::new());
    for path in &args.folders {
        let folder = SweepFolder::at(path);
        if !folder.file().exists() {
            folders.push(folder::of_folder(path)?);
            continue;
        }
        let mut plan = SweepPlan::new(&folder.file(), Some(folder.path()))?;
        // Two folders of one sweep's file are told apart by where they are.
        if args.folders.len() > 1 || plan.name == "sweep" {
            plan.name =
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        }
        let there = table::rows(&plan, &folder)?.len();
        if there < plan.points.len() {
            let (missing, path) = (plan.points.len() - there, path.display());
            output.warn(format!("{missing} of {} points of {path} are not computed yet", plan.points.len()));
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
    let page = match args.form {
        ReportForm::Html => html::page(&names.join(" and "), &data),
        ReportForm::Md => text::markdown(&data),
        ReportForm::Latex => text::latex(&data),
    };
    let Some(out) =
        args.out.clone().or_else(|| (args.form == ReportForm::Html).then(|| args.folders[0].join("report.html")))
    else {
        return page.lines().try_for_each(|line| output.line(line));
    };
    write_atomically(&out, |file| file.write_all(page.as_bytes())).map_err(|source| Error::Write { source })?;
    match output.is_json() {
        true => output.json(&json!({"report": out, "bytes": page.len()})),
        false => output.line(format!("written to {}", out.display())),
    }
}
