//! `ofa export`.

use std::path::Path;

use anyhow::Result;
use experiments::error::Error;
use experiments::torch::{self, BundleUse, OnnxFile};
use serde_json::json;

use super::set_threads;
use crate::args::{ExportArgs, ExportForm};
use crate::output::Output;

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let (data, device) = (args.data.as_ref(), args.compute.device);
    match (&args.network, &args.supernet, &args.subnet, args.to) {
        (Some(network), .., ExportForm::Onnx) => {
            onnx(&torch::export_onnx(network, data, &args.out, device)?, network, output)
        }
        (_, Some(bundle), Some(subnet), to) => {
            let on = BundleUse { bundle, data, device };
            if to == ExportForm::Onnx {
                return onnx(&torch::export_subnet_onnx(&on, subnet, &args.out)?, subnet, output);
            }
            let files = torch::export(&on, subnet, to == ExportForm::Torchscript, &args.out)?;
            if output.is_json() {
                return output.json(&json!({"files": files}));
            }
            files.iter().try_for_each(|file| output.line(file.display().to_string()))
        }
        _ => {
            let problem =
                "the folder of a network holds named tensors already; --to onnx makes another file of it".into();
            Err(Error::NotExported { file: args.out.clone(), problem }.into())
        }
    }
}

/// The file, how far it was found to be from the network, and the lines that run it elsewhere.
fn onnx(made: &OnnxFile, of: &Path, output: &mut Output) -> Result<()> {
    made.warnings.iter().for_each(|warning| output.warn(warning));
    let OnnxFile { file, bytes, agreement, checked_with, .. } = made;
    if output.is_json() {
        return output.json(&json!({
            "file": file, "bytes": bytes, "of": of, "checked_with": checked_with, "runtime": "tract",
            "images": agreement.images, "largest_error": agreement.largest_error, "same_class": agreement.same_class,
        }));
    }
    let python = format!(
        "import numpy, onnxruntime; run = onnxruntime.InferenceSession({:?}).run; \
         logits, = run(None, {{\"input\": images}})",
        file.display().to_string()
    );
    output.rows(&[
        ("file".to_owned(), file.display().to_string()),
        ("size".to_owned(), format!("{:.2} MB", *bytes as f64 / 1e6)),
        (format!("tract, {checked_with}"), agreement.to_string()),
        ("in Python".to_owned(), python),
    ])
}
