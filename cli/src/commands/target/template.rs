//! `ofa target template`.

use std::path::Path;

use anyhow::Result;
use experiments::error::Error;
use experiments::{operator_models, target as targets};
use hw_targets::target::Target;
use search::space::SearchSpace;
use serde_json::json;

use crate::next;
use crate::output::Output;

/// `out` is the file for the list, or the folder for the list and a model per operator.
pub(crate) fn run(
    space: &SearchSpace,
    target: Option<&Target>,
    (file, models): (Option<&Path>, Option<&Path>),
    output: &mut Output,
) -> Result<()> {
    let list = targets::work_list::work_list(space, target)?;
    let (operators, missing) = (list.operators, list.missing);
    if let Some(target) = target {
        let measured = operators - missing;
        output.say(format!(
            "{} has measured values of {measured} of the {operators} operators of {}",
            target.name(),
            space.id()
        ));
    }
    if let Some(table) = &list.table {
        if let Some(file) = file {
            targets::work_list::check_place(table, file)?;
            table.write_csv(file).map_err(Error::from)?;
        }
        models.map(|folder| operator_models::write(table, folder)).transpose()?;
    }
    let out = file.or(models);
    if output.is_json() {
        let path = out.filter(|_| missing > 0).map(|out| out.display().to_string());
        return output
            .json(&json!({"space": space.id().to_string(), "operators": operators, "missing": missing, "path": path}));
    }
    match (&list.table, out) {
        (None, _) => output.line("nothing is missing"),
        (Some(_), Some(out)) => {
            let with = if models.is_some() { ", each with a model" } else { "" };
            output.line(format!("{missing} operators to measure are in {}{with}", out.display()))?;
            // What another target lacks is no target by itself.
            file.filter(|_| target.is_none()).map_or(Ok(()), |file| output.next(&next::add(file)))
        }
        (Some(table), None) => {
            let mut text = Vec::new();
            table.write_rows(&mut text).map_err(Error::from)?;
            output.line(String::from_utf8_lossy(&text).trim_end())
        }
    }
}
