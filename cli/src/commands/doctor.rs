//! `ofa doctor`.

use anyhow::Result;

use crate::output::Output;

pub(crate) fn run(output: &mut Output) -> Result<()> {
    let report = experiments::doctor::report();
    if output.is_json() {
        return output.json(&serde_json::to_value(&report)?);
    }
    output.rows(&report.rows())?;
    if report.problems.is_empty() {
        return output.line("all is well");
    }
    for problem in &report.problems {
        output.line(format!("problem: {problem}"))?;
    }
    Ok(())
}
