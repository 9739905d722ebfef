//! A network as one file, in float32 or int8, which is not written where a runtime of others computes something else from
//! it ([`super::run`]).

use std::io::Write;
use std::path::Path;

use deploy::agreement::Agreement;
use deploy::onnx::{int8_network_model, network_model};
use deploy::tflite::{Label, Normalisation, float_model, int8_model};
use serde_json::{Map, json};
use storage::atomic::write_atomically;
use storage::failure::Setting;
use supernet::error::SupernetError;
use supernet::network::Network;
use tch::Device;

use super::facts::{Facts, facts_of, text_of};
use super::int8::{Quantised, quantised, top1};
use super::run::{Check, Whole};
use super::samples::{OwnImages, Samples, bytes_of, images_of_origin, training_images};
use super::source::Source;
use crate::error::{Error, Result};
use crate::folders::names;
use crate::torch::{ExportedFile, FileForm, FileRequest, FileRun, Int8Report};

/// Images that a file is checked with before it is written, where nobody says how many: in float32 they show whether it
/// is the network, in int8 what was lost.
pub(crate) const CHECKED: usize = 100;
pub(crate) const CHECKED_IN_INT8: usize = 1000;
/// Images that a runtime elsewhere is given, where nobody says how many.
pub(crate) const ELSEWHERE: i64 = 100;

/// Writes the network in `folder` as `request` says. `own` are images to calibrate int8 with where the request names no
/// data, without which those of the bundle that the folder names will do; the result of the search that found the network
/// may lie in `found`.
///
/// # Errors
/// A damaged folder, images that do not fit, a layer that the format does not know, int8 without images,
/// [`Error::NotExported`] where the file computes something else; a file that cannot be written.
pub(crate) fn export_file(
    folder: &Path,
    request: &FileRequest<'_>,
    own: Option<OwnImages>,
    found: Option<&Path>,
    device: Device,
) -> Result<ExportedFile> {
    if other_form(request) {
        let hint = format!("end its name with .{}, or name another format", request.form.word());
        return Err(Error::ExportForm { problem: "the name of the file is one of another format's", hint });
    }
    let source = Source::read(folder, device)?;
    let own = match own {
        None if request.int8 && request.data.is_none() => {
            let of_origin = images_of_origin(folder, source.shape.input().size)?;
            Some(of_origin.ok_or_else(|| no_images(folder))?)
        }
        own => own,
    };
    let refused = |problem: String| Error::NotExported { file: request.out.to_path_buf(), problem };
    if request.out.is_dir() {
        let hint = format!("name a file in it with {}", Setting("out"));
        return Err(Error::ExportForm { problem: "a folder is where the file should be", hint });
    }
    let kept = |name: &str| request.keep_float.iter().any(|kept| is_in(name, kept));
    Network::check_frozen(&source.shape, request.keep_float).map_err(|error| match error {
        SupernetError::UnknownLayer { name, nearest } => Error::NoLayer { name, nearest },
        other => other.into(),
    })?;
    if request.int8 {
        deploy::int8::check(&source.folded, kept)
            .map_err(|error| refused(format!("{error}; {} leaves it in float32", Setting("keep-float"))))?;
    }
    let scratch = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let samples = samples(folder, &source, request, own.as_ref())?;
    let expected = source.outputs(&samples.images, device);
    let int8 = match request.int8 {
        false => None,
        true => {
            let described = source.described(folder)?;
            let images = match (request.data, own) {
                (Some(data), _) => training_images(data, described, &source.shape)?,
                (None, Some(own)) => own.images,
                (None, None) => return Err(no_images(folder)),
            };
            let preprocessing = described.preprocessing();
            Some(
                quantised(source.folded.clone(), &preprocessing, &bytes_of(&images, &preprocessing), &kept)
                    .map_err(|error| refused(error.to_string()))?,
            )
        }
    };
    let report = int8.as_ref().map(|int8| int8_report(int8, &source, &samples, &expected, request.damage));
    let facts = facts_of(folder, found, &source.shape, source.described.as_ref(), request.int8);
    let name = request.out.file_stem().map_or("network".into(), |stem| stem.to_string_lossy());
    let written = |facts: &Facts| {
        bytes_in(request.form, &name, &source, int8.as_ref(), facts).map_err(|error| refused(error.to_string()))
    };
    let check = Check { form: request.form, out: request.out, source: &source, samples: &samples, expected: &expected };
    let ran = match &int8 {
        None => check.float(Whole::Bytes(&written(&facts)?))?,
        Some(int8) => {
            let file = scratch.path().join("checked");
            std::fs::write(&file, written(&facts)?).map_err(|source| Error::Write { source })?;
            check.int8(&file, int8, request.images.map_or(ELSEWHERE, |_| i64::MAX))?
        }
    };
    // What was found goes into the file that it was found of, and changes nothing that is computed.
    let mut facts = facts;
    facts.push(measured(&samples, &expected, report.as_ref(), ran.as_ref().ok()));
    let bytes = written(&facts)?;
    write_atomically(request.out, |file| file.write_all(&bytes)).map_err(|source| Error::Write { source })?;
    Ok(ExportedFile {
        file: request.out.to_path_buf(),
        bytes: bytes.len() as u64,
        ran,
        checked_with: samples.words,
        size: source.shape.input().size,
        normalisation: source.described.as_ref().map(|described| [described.mean, described.std]),
        int8: report,
        warnings: source.warnings,
        notes: samples.notes,
    })
}

/// What int8 without images is refused with; the subnet in `folder` may be one of a bundle that has some.
fn no_images(folder: &Path) -> Error {
    let name_some = format!("name some with {}", Setting("data"));
    let subnet = folder.join(names::SUBNET);
    let hint = match subnet.is_file() {
        false => name_some,
        true => format!(
            "{name_some}; where its bundle has images of its own, they will do, if the subnet is taken out of it: {} \
             instead of the folder, and {} {}",
            Setting("supernet"),
            Setting("subnet"),
            subnet.display()
        ),
    };
    Error::ExportForm {
        problem: "int8 needs images to see how far its feature maps reach, and this network has none of its own",
        hint,
    }
}

/// Whether the file's name ends like one of another kind, which it may well be.
fn other_form(request: &FileRequest<'_>) -> bool {
    const OTHERS: [&str; 7] = ["onnx", "tflite", "safetensors", "json", "yaml", "parquet", "pt"];
    let ends = |other: &&str| request.out.extension().is_some_and(|end| end.eq_ignore_ascii_case(other));
    OTHERS.iter().filter(|other| **other != request.form.word()).any(ends)
}

/// What the file says of its accuracy, and of who ran it.
pub(crate) fn measured(
    samples: &Samples,
    expected: &[f32],
    report: Option<&Int8Report>,
    ran: Option<&FileRun>,
) -> (String, serde_json::Value) {
    let top1 = samples.labels.as_ref().map(|labels| match report.and_then(|report| report.top1) {
        Some([_, rounded]) => rounded,
        None => top1(expected, labels),
    });
    let by = if report.is_some() { "the arithmetic of int8 as ofa defines it" } else { "LibTorch, of the network" };
    let ran = ran.map(|FileRun { runtime, agreement, .. }| {
        json!({"runtime": runtime, "images": agreement.images, "largest_error": agreement.largest_error,
               "differing": agreement.differing, "same_class": agreement.same_class})
    });
    let value = json!({"top1": top1, "top1_by": by, "images": samples.count(), "on": samples.kind, "file_run_by": ran});
    ("ofa.measured".into(), value)
}

/// Whether `layer` is `name` or a part of it.
fn is_in(layer: &str, name: &str) -> bool {
    layer.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The images that it is checked with.
fn samples(folder: &Path, source: &Source, request: &FileRequest<'_>, own: Option<&OwnImages>) -> Result<Samples> {
    let count = request.images.unwrap_or(if request.int8 { CHECKED_IN_INT8 } else { CHECKED });
    match (request.data, own) {
        (Some(data), _) => Samples::of_test(data, source.described(folder)?, &source.shape, count),
        (None, Some(own)) => Ok(Samples::of_bundle(own, count)),
        (None, None) => Ok(Samples::noise(&source.shape, count)),
    }
}

/// What rounding did to a network.
pub(crate) fn int8_report(
    int8: &Quantised,
    source: &Source,
    samples: &Samples,
    expected: &[f32],
    damage: bool,
) -> Int8Report {
    let preprocessing = source.described.as_ref().expect("int8 reads pixels").preprocessing();
    let bytes = bytes_of(&samples.images, &preprocessing);
    let got = int8.outputs(&bytes);
    let classes = source.shape.output().elements() as usize;
    let agreement = Agreement::of(expected, &got, classes);
    let labels = samples.labels.as_deref();
    let noise: f64 = got.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let signal: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
    Int8Report {
        weights: int8.network.bytes(),
        float_weights: int8
            .folded
            .layers
            .iter()
            .map(|layer| 4 * (layer.weight.as_ref().map_or(0, |weight| weight.values.len()) + layer.bias.len()) as u64)
            .sum(),
        images: agreement.images,
        same_class: agreement.same_class,
        top1: labels.map(|labels| [top1(expected, labels), top1(&got, labels)]),
        signal_to_noise_db: 10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10(),
        is_equalised: int8.is_equalised,
        layers: int8.damage(&bytes, labels.filter(|_| damage)),
    }
}

/// The file's bytes.
fn bytes_in(
    form: FileForm,
    name: &str,
    source: &Source,
    int8: Option<&Quantised>,
    facts: &Facts,
) -> std::result::Result<Vec<u8>, deploy::Unsupported> {
    if form == FileForm::Onnx {
        let facts: Vec<(String, String)> = facts.iter().map(|(key, value)| (key.clone(), text_of(value))).collect();
        return Ok(match int8 {
            Some(int8) => int8_network_model(name, &int8.network, &facts),
            None => network_model(name, &source.folded, &facts),
        });
    }
    let facts = serde_json::Value::Object(facts.iter().cloned().collect::<Map<_, _>>()).to_string();
    let described = source.described.as_ref();
    let in_bytes = |values: [f64; 3]| values.map(|value| (255.0 * value) as f32).to_vec();
    let normalisation = described.map(|described| match int8 {
        Some(_) => Normalisation { mean: vec![0.0], std: vec![1.0] },
        None => Normalisation { mean: in_bytes(described.mean), std: in_bytes(described.std) },
    });
    let class_names = described.map_or(&[][..], |described| &described.class_names);
    let label = Label { name, normalisation, class_names, facts: &facts };
    match int8 {
        Some(int8) => int8_model(&int8.network, &label),
        None => float_model(&source.folded, &label),
    }
}

#[cfg(test)]
mod tests {
    use network::op::{Conv, Map, Op};
    use network::shape::NetworkShape;
    use network::weights::Weights;
    use serde_json::Value;
    use supernet::data::{DataSource, Preprocessing};

    use super::*;
    use crate::folders::names;
    use crate::folders::network_folder::NetworkFolder;

    #[test]
    fn a_network_of_grey_images_is_checked_with_noise_and_not_with_colour_images() {
        let folder = tempfile::tempdir().unwrap();
        let conv = Op::Conv(Conv { kernel: 8, ..Conv::plain(Map::new(8, 1), Map::new(1, 4)) });
        let shape = NetworkShape::chain(Map::new(8, 1), vec![("conv".into(), conv)], 1e-5).unwrap();
        let weights = Weights::random(&shape, 1);
        NetworkFolder { shape, weights, mixed: Vec::new() }.write(folder.path(), &Value::Null).unwrap();
        let classes: Vec<String> = (0..4).map(|class| class.to_string()).collect();
        let described = Preprocessing::cifar10().describe(Some(8), &classes, None);
        described.write(&folder.path().join(names::PREPROCESSING)).unwrap();
        let data: DataSource = "synthetic:200,size=32,classes=4".parse().unwrap();
        for form in [FileForm::Onnx, FileForm::Tflite] {
            let out = folder.path().join(format!("grey.{}", form.word()));
            let plain = FileRequest::new(form, &out);
            let export = |request: &FileRequest<'_>| export_file(folder.path(), request, None, None, Device::Cpu);
            let refused = export(&FileRequest { data: Some(&data), ..plain }).unwrap_err().to_string();
            assert!(refused.contains("no colour image") && !out.exists(), "{refused}");
            assert!(export(&plain).unwrap().ran.unwrap().agreement.holds());
        }
    }
}
