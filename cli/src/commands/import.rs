//! `ofa import`.

use anyhow::Result;
use experiments::error::AppError;
use experiments::folders::spaces;
use experiments::training::import::import;
use serde_json::json;

use crate::args::{ImportArgs, ImportCommand};
use crate::output::Output;

pub(crate) fn run(command: ImportCommand, output: &mut Output) -> Result<()> {
    let ImportCommand::OfaMbv3(ImportArgs { checkpoint, space, out }) = command;
    let space = spaces::find(&space)?;
    if !checkpoint.exists() {
        return Err(AppError::NotFound { path: checkpoint }.into());
    }
    let supernet = import(&checkpoint, &space, &out)?;
    let parameters = supernet.parameter_count();
    if output.is_json() {
        return output.json(&json!({"bundle": out, "space": space.id().to_string(), "parameters": parameters}));
    }
    output.line(format!("{parameters} parameters of space {} are in {}", space.id(), out.display()))
}
