//! `ofa export`.

use anyhow::Result;
use experiments::error::AppError;
use experiments::export::deploy::deploy;
use experiments::folders::bundle::Bundle;
use experiments::folders::spaces;
use serde_json::json;
use supernet::data::DataSource;

use super::prepare;
use crate::args::{ExportArgs, WeightsForm};
use crate::output::Output;

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<()> {
    let data = args.data.as_deref().map(str::parse::<DataSource>).transpose()?;
    let bundle = Bundle::find(&args.supernet)?;
    let subnets = spaces::read_subnets(&args.subnet, &bundle.space()?)?;
    let [arch] = subnets.as_slice() else {
        return Err(AppError::NotOneSubnet { path: args.subnet.clone(), got: subnets.len() }.into());
    };
    let device = prepare(&args.compute)?;
    let torchscript = args.to == WeightsForm::Torchscript;
    let files = deploy(&bundle, arch, data.as_ref(), torchscript, &args.out, device)?;
    if output.is_json() {
        return output.json(&json!({"files": files}));
    }
    files.iter().try_for_each(|file| output.line(file.display().to_string()))
}
