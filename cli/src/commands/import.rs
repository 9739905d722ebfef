//! `ofa import`.

use anyhow::Result;
use experiments::torch;
use serde_json::json;

use crate::args::{ImportArgs, ImportCommand};
use crate::output::Output;

pub(crate) fn run(command: ImportCommand, output: &mut Output) -> Result<()> {
    let ImportCommand::OfaMbv3(ImportArgs { checkpoint, space, out }) = command;
    let imported = torch::import(&checkpoint, &space, &out)?;
    let (parameters, space) = (imported.parameters, imported.space);
    if output.is_json() {
        return output.json(&json!({"bundle": out, "space": space, "parameters": parameters}));
    }
    output.line(format!("{parameters} parameters of space {space} are in {}", out.display()))
}
