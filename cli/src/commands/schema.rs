//! `ofa schema`.

use anyhow::Result;
use experiments::schemas::ALL;
use serde_json::json;

use crate::output::Output;

pub(crate) fn run(name: Option<&str>, output: &mut Output) -> Result<()> {
    if let Some(format) = ALL.iter().find(|known| Some(known.name) == name) {
        let schema = format.schema()?;
        return if output.is_json() { output.json(&schema) } else { output.line(format!("{schema:#}")) };
    }
    if output.is_json() {
        return ALL.iter().try_for_each(|format| {
            let about = json!({"name": format.name, "file": format.file, "schema": format.word, "about": format.about});
            output.json(&about)
        });
    }
    let row = |format: &experiments::schemas::FileFormat| {
        [format.name, format.word, format.about, format.file].map(str::to_owned).to_vec()
    };
    output.table(&["name", "schema", "what", "file"], ALL.iter().map(row).collect())
}
