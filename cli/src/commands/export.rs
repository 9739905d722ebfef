//! `ofa export`.

use anyhow::Result;
use experiments::torch::{self, BundleUse};
use serde_json::json;

use super::set_threads;
use crate::args::{ExportArgs, WeightsForm};
use crate::output::Output;

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let on = BundleUse { bundle: &args.supernet, data: args.data.as_ref(), device: args.compute.device };
    let files = torch::export(&on, &args.subnet, args.to == WeightsForm::Torchscript, &args.out)?;
    if output.is_json() {
        return output.json(&json!({"files": files}));
    }
    files.iter().try_for_each(|file| output.line(file.display().to_string()))
}
