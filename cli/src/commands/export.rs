//! `ofa export`.

use std::path::Path;

use anyhow::Result;
use experiments::error::Error;
use experiments::torch::{
    self, BundleUse, ExportedFile, FileForm, FileRequest, FileRun, Int8Report, NestedFile, NestedRequest, NestedSlice,
    WeightsForm,
};
use serde_json::{Value, json};

use super::set_threads;
use crate::args::{ExportArgs, ExportForm};
use crate::next;
use crate::output::{Output, as_text, percent, share};

/// Layers that a table of the damage shows, the noisiest first.
const WORST: usize = 5;
/// Points of top-1 from which on something should be done about it.
const TOO_MUCH: f64 = 0.01;

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let (data, device) = (args.data.as_ref(), args.compute.device);
    let on = args.supernet.as_ref().map(|bundle| BundleUse { bundle, data, device });
    if let (Some(on), Some(nested)) = (&on, &args.nested) {
        if !matches!(args.to, ExportForm::Safetensors | ExportForm::Onnx) || !args.keep_float.is_empty() || args.damage
        {
            let hint = "leave out --to, --keep-float and --damage, or export the subnets one by one";
            return Err(form("nested subnets are ONNX graphs, in float32 or all in int8", hint));
        }
        let request =
            NestedRequest { subnets: nested, names: &args.names, int8: args.int8, images: args.images, out: &args.out };
        return show_nested(&torch::export_nested(on, &request)?, output);
    }
    let kind = match args.to {
        ExportForm::Onnx => FileForm::Onnx,
        ExportForm::Tflite => FileForm::Tflite,
        ExportForm::Safetensors | ExportForm::Torchscript | ExportForm::Pointer => {
            if args.int8 {
                return Err(form(
                    "named tensors and TorchScript modules are float32",
                    "int8 takes --to onnx or --to tflite",
                ));
            }
            let (Some(on), Some(subnet)) = (on, &args.subnet) else {
                let hint =
                    "--to onnx or --to tflite make a file of it; TorchScript and pointers take --supernet and --subnet";
                return Err(form("the folder of a network holds named tensors already", hint));
            };
            let form = match args.to {
                ExportForm::Torchscript => WeightsForm::TorchScript,
                ExportForm::Pointer => WeightsForm::Pointer,
                _ => WeightsForm::Tensors,
            };
            let files = torch::export(&on, subnet, form, &args.out)?;
            if output.is_json() {
                return output.json(&json!({"files": files.iter().map(|file| as_text(file)).collect::<Vec<_>>()}));
            }
            files.iter().try_for_each(|file| output.line(file.display().to_string()))?;
            return output.next(&next::eval(&args.out, data.map(ToString::to_string).as_deref()));
        }
    };
    let request = FileRequest {
        form: kind,
        int8: args.int8,
        keep_float: &args.keep_float,
        damage: args.damage,
        images: args.images,
        data,
        out: &args.out,
    };
    match (&args.network, on, &args.subnet) {
        (Some(network), ..) => {
            let made = torch::export_file(network, &request, device)?;
            show(&made, kind, network, output)?;
            // Where no runtime ran it, none would now; the warning says what to install.
            made.ran.map_or(Ok(()), |_| {
                output.next(&next::verify(&args.out, network, data.map(ToString::to_string).as_deref()))
            })
        }
        (_, Some(on), Some(subnet)) => show(&torch::export_subnet_file(&on, subnet, &request)?, kind, subnet, output),
        _ => Err(form("there is no network", "name one with --network, or --supernet and --subnet")),
    }
}

/// A wish that cannot be met, and what to wish instead.
fn form(problem: &'static str, hint: &str) -> anyhow::Error {
    Error::ExportForm { problem, hint: hint.to_owned() }.into()
}

/// The file, how far it was found to be from the network, and the lines that run it elsewhere.
fn show(made: &ExportedFile, form: FileForm, of: &Path, output: &mut Output) -> Result<()> {
    made.warnings.iter().for_each(|warning| output.warn(warning));
    made.notes.iter().for_each(|note| output.say(note));
    let ExportedFile { file, bytes, ran, checked_with, int8, .. } = made;
    if output.is_json() {
        let mut object = json!({
            "file": file, "bytes": bytes, "of": of, "checked_with": checked_with,
        });
        add_run(&mut object, ran);
        if let Some(int8) = int8 {
            object["int8"] = int8_json(int8);
        }
        return output.json(&object);
    }
    let mut rows = vec![
        ("file".to_owned(), file.display().to_string()),
        ("size".to_owned(), format!("{:.2} MB", *bytes as f64 / 1e6)),
    ];
    match ran {
        Ok(FileRun { runtime, agreement, milliseconds, differing_in_micro }) => {
            rows.push((format!("{runtime}, {checked_with}"), agreement.to_string()));
            if let Some(differing) = differing_in_micro {
                let words = format!("{differing} numbers of these outputs are others");
                rows.push(("TensorFlow Lite Micro".to_owned(), words));
            }
            rows.push((
                format!("one image here, {}", runtime.split(',').next().unwrap_or_default()),
                format!("{milliseconds:.2} ms"),
            ));
        }
        Err(missing) => output.warn(not_run(missing)),
    }
    if let Some(int8) = int8 {
        rows.extend(int8_rows(int8, checked_with));
    }
    output.rows(&rows)?;
    if let Some(int8) = int8 {
        int8_table(int8, output)?;
    }
    let lines = python(form, &file.display().to_string(), made.size, made.normalisation, made.int8.is_some());
    output.line("in Python:")?;
    lines.iter().try_for_each(|line| output.line(format!("  {line}")))
}

/// The file of weights, and each graph over it.
fn show_nested(made: &NestedFile, output: &mut Output) -> Result<()> {
    let NestedFile { weights, bytes, slices } = made;
    let whole = bytes + slices.iter().map(|slice| slice.bytes).sum::<u64>();
    let alone: u64 = slices.iter().map(|slice| slice.alone).sum();
    if output.is_json() {
        let slice = |slice: &NestedSlice| {
            let mut object = json!({
                "file": slice.file, "bytes": slice.bytes, "alone_bytes": slice.alone, "subnet": slice.subnet,
            });
            add_run(&mut object, &slice.ran);
            if let Some(int8) = &slice.int8 {
                object["int8"] = int8_json(int8);
            }
            object
        };
        let slices: Vec<Value> = slices.iter().map(slice).collect();
        return output.json(&json!({"weights": weights, "bytes": bytes, "all_bytes": whole, "slices": slices}));
    }
    output.line(format!("{}, {:.2} MB", weights.display(), *bytes as f64 / 1e6))?;
    let row = |slice: &NestedSlice| {
        let [bytes, alone] = [slice.bytes, slice.alone].map(|bytes| format!("{:.3} MB", bytes as f64 / 1e6));
        let ran = match &slice.ran {
            Ok(FileRun { runtime, agreement, .. }) => format!("{runtime}: {agreement}"),
            Err(_) => "not run".to_owned(),
        };
        let top1 = match slice.int8.as_ref().and_then(|int8| Some((int8.top1?, int8.images))) {
            Some(([float, rounded], images)) => format!("{} → {}", percent(float), share(rounded, images as u64)),
            None => String::new(),
        };
        vec![slice.file.display().to_string(), bytes, alone, ran, top1]
    };
    let is_int8 = slices.iter().any(|slice| slice.int8.is_some());
    let top1 = if is_int8 { "top-1, float32 → int8" } else { "" };
    output
        .table(&["graph", "size", "a file of its own", "beside the subnet", top1], slices.iter().map(row).collect())?;
    if let Some(missing) = slices.iter().find_map(|slice| slice.ran.as_ref().err()) {
        output.warn(not_run(missing));
    }
    let words = format!("{:.2} MB, {:.2} of as many files", whole as f64 / 1e6, whole as f64 / alone.max(1) as f64);
    output.rows(&[("together".to_owned(), words)])?;
    let Some(NestedSlice { file, size, normalisation, int8, .. }) = slices.first() else { return Ok(()) };
    output.line("in Python:")?;
    let lines = python(FileForm::Onnx, &file.display().to_string(), *size, *normalisation, int8.is_some());
    lines.into_iter().try_for_each(|line| output.line(format!("    {line}")))
}

/// A file that nobody has checked, and how to have it checked.
fn not_run(missing: &str) -> String {
    format!(
        "this file was run by no runtime of others ({missing}); `pip install onnxruntime ai-edge-litert`, or name a \
         Python that has them in OFA_PYTHON, and `ofa verify` does"
    )
}

/// Adds what a runtime of others made of a file.
fn add_run(object: &mut Value, ran: &std::result::Result<FileRun, String>) {
    object["runtime"] = ran.as_ref().ok().map(|ran| ran.runtime.as_str()).into();
    if let Ok(FileRun { agreement, milliseconds, differing_in_micro, .. }) = ran {
        object["milliseconds"] = (*milliseconds).into();
        object["differing_in_micro"] = (*differing_in_micro).into();
        object["images"] = agreement.images.into();
        object["largest_error"] = agreement.largest_error.into();
        object["same_class"] = agreement.same_class.into();
        object["differing"] = agreement.differing.into();
    }
}

fn int8_rows(int8: &Int8Report, checked_with: &str) -> Vec<(String, String)> {
    let Int8Report { weights, float_weights, images, same_class, top1, signal_to_noise_db, is_equalised, .. } = int8;
    let part = *weights as f64 / (*float_weights).max(1) as f64;
    let mut rows = vec![
        ("weights".to_owned(), format!("{:.3} MB, {part:.2} of float32", *weights as f64 / 1e6)),
        (
            format!("int8 beside float32, {checked_with}"),
            format!("same class {same_class} of {images}, signal to noise {signal_to_noise_db:.1} dB"),
        ),
        ("channels balanced first".to_owned(), if *is_equalised { "yes" } else { "no" }.to_owned()),
    ];
    if let Some([float, rounded]) = top1 {
        rows.push(("top-1, float32".to_owned(), share(*float, *images as u64)));
        rows.push(("top-1, int8".to_owned(), share(*rounded, *images as u64)));
        if float - rounded > TOO_MUCH {
            let worst: Vec<&str> = worst_of(int8).into_iter().take(2).collect();
            rows.push(("try".to_owned(), format!("--keep-float {}", worst.join(","))));
        }
    }
    rows
}

/// Layers by what they lose, the worst first.
fn worst_of(int8: &Int8Report) -> Vec<&str> {
    let mut layers: Vec<_> = int8.layers.iter().collect();
    layers.sort_by(|a, b| match (a.top1_alone, b.top1_alone) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.signal_to_noise_db.total_cmp(&b.signal_to_noise_db),
    });
    layers.into_iter().map(|layer| layer.layer.as_str()).collect()
}

/// Layer by layer where top-1 was measured, else the noisiest.
fn int8_table(int8: &Int8Report, output: &mut Output) -> Result<()> {
    let worst = worst_of(int8);
    let is_whole = int8.layers.iter().any(|layer| layer.top1_alone.is_some());
    let shown =
        int8.layers.iter().filter(|layer| is_whole || worst.iter().take(WORST).any(|name| *name == layer.layer));
    let rows = shown.map(|layer| {
        let alone = layer.top1_alone.map_or_else(String::new, percent);
        vec![layer.layer.clone(), format!("{:.1} dB", layer.signal_to_noise_db), alone]
    });
    output.table(&["layer", "signal to noise", if is_whole { "top-1, it alone in int8" } else { "" }], rows.collect())
}

fn int8_json(int8: &Int8Report) -> Value {
    let layer = |layer: &experiments::torch::LayerDamage| json!({"layer": layer.layer, "signal_to_noise_db": layer.signal_to_noise_db, "top1_alone": layer.top1_alone});
    json!({
        "weight_bytes": int8.weights, "float_weight_bytes": int8.float_weights, "images": int8.images,
        "same_class": int8.same_class, "float_top1": int8.top1.map(|[float, _]| float),
        "top1": int8.top1.map(|[_, rounded]| rounded), "signal_to_noise_db": int8.signal_to_noise_db,
        "equalised": int8.is_equalised, "layers": int8.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

/// The lines that run a file in Python, on an image if it reads colour images.
fn python(form: FileForm, file: &str, size: u32, normalisation: Option<[[f64; 3]; 2]>, is_int8: bool) -> Vec<String> {
    let mut lines = vec![match form {
        FileForm::Onnx => "import numpy, onnxruntime".to_owned(),
        FileForm::Tflite => "import numpy; from ai_edge_litert.interpreter import Interpreter".to_owned(),
    }];
    if let Some([mean, std]) = normalisation {
        let open = format!("Image.open(\"image.png\").convert(\"RGB\").resize(({size}, {size}))");
        lines.push(format!("from PIL import Image; pixels = numpy.asarray({open})"));
        lines.push(match is_int8 {
            true => "images = pixels[None]  # bytes".to_owned(),
            false => format!("images = ((pixels[None] / 255 - {mean:?}) / {std:?}).astype(\"float32\")"),
        });
    } else {
        lines.push(format!("images = numpy.zeros([1, {size}, {size}, 3], \"float32\")  # normalised"));
    }
    match form {
        FileForm::Onnx => {
            lines.push(format!("session = onnxruntime.InferenceSession({file:?})"));
            lines.push("logits, = session.run(None, {\"input\": images.transpose(0, 3, 1, 2)})".to_owned());
        }
        FileForm::Tflite => {
            lines.push(format!("model = Interpreter({file:?}); model.allocate_tensors()"));
            lines.push("model.set_tensor(model.get_input_details()[0][\"index\"], images); model.invoke()".to_owned());
            lines.push(
                "output = model.get_output_details()[0]; logits = model.get_tensor(output[\"index\"])".to_owned(),
            );
            if is_int8 {
                let real =
                    "scale, zero = output[\"quantization\"]; logits = scale * (logits.astype(\"float32\") - zero)";
                lines.push(real.to_owned());
            }
        }
    }
    lines
}
