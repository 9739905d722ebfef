//! A network as one file, in float32 or int8, which is not written where a runtime of others computes something else from
//! it.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use deploy::agreement::{Agreement, TOLERANCE};
use deploy::onnx::{int8_network_model, network_model};
use deploy::runtime::Runtime;
use deploy::tflite::{Label, Normalisation, float_model, int8_model};
use network::folded::Folded;
use network::op::Map as NetworkMap;
use network::shape::NetworkShape;
use serde_json::{Map, json};
use storage::atomic::write_atomically;
use storage::failure::Setting;
use supernet::data::PreprocessingFile;
use supernet::error::SupernetError;
use supernet::network::Network;
use tch::{Device, Tensor};

use super::elsewhere::{self, Elsewhere, Images, Missing};
use super::facts::{Facts, facts_of, text_of};
use super::int8::{Quantised, quantised, top1};
use super::samples::{Samples, bytes_of, channels_innermost, numbers, training_images};
use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::torch::{ExportedFile, FileForm, FileRequest, FileRun, Int8Report};

/// Images that a file is checked with before it is written, where nobody says how many: in float32 they show whether it
/// is the network, in int8 what was lost.
const CHECKED: usize = 100;
const CHECKED_IN_INT8: usize = 1000;
/// Images that a runtime elsewhere is given, where nobody says how many.
const ELSEWHERE: i64 = 100;
/// Steps of the output that two runtimes may be apart in int8: each rounds in its own way, layer by layer.
const STEPS: f64 = 16.0;
/// Images at a time.
const BATCH: i64 = 250;

/// Images that come with a bundle, as a network of its reads them.
pub(crate) struct OwnImages {
    /// `[N, C, S, S]`, normalised.
    pub(crate) images: Tensor,
    /// The bundle's name.
    pub(crate) bundle: String,
}

/// A network about to be written.
pub(crate) struct Source {
    pub(crate) shape: NetworkShape,
    pub(crate) folded: Folded,
    pub(crate) network: Network,
    pub(crate) described: Option<PreprocessingFile>,
    pub(crate) warnings: Vec<String>,
}

impl Source {
    /// The network in `folder`, on `device`.
    ///
    /// # Errors
    /// A damaged folder.
    pub(crate) fn read(folder: &Path, device: Device) -> Result<Source> {
        let NetworkFolder { shape, weights, mixed } = NetworkFolder::read(folder)?;
        let file = folder.join(names::PREPROCESSING);
        let described = if file.exists() { Some(PreprocessingFile::read(&file)?) } else { None };
        let (folded, network) = (Folded::new(&shape, &weights), Network::from_weights(&shape, &weights, device)?);
        Ok(Source { shape, folded, network, described, warnings: mixed })
    }

    /// What says how images become its input.
    ///
    /// # Errors
    /// Nothing says so, or it reads no colour images.
    pub(crate) fn described(&self, folder: &Path) -> Result<&PreprocessingFile> {
        if self.shape.input().channels != 3 {
            let reason = format!(
                "it reads {}, which no colour image is; without --data it is checked with noise",
                self.shape.input()
            );
            return Err(Error::FileInFolder { path: folder.join(names::NETWORK), reason });
        }
        let missing = || {
            let reason = "is missing, so nothing says how images become this network's input";
            Error::FileInFolder { path: folder.join(names::PREPROCESSING), reason: reason.into() }
        };
        self.described.as_ref().ok_or_else(missing)
    }

    /// What LibTorch computes of normalised images.
    pub(crate) fn outputs(&self, images: &Tensor, device: Device) -> Vec<f32> {
        let run = |batch: &Tensor| numbers(&self.network.forward(&batch.to_device(device)));
        images.split(BATCH, 0).iter().flat_map(run).collect()
    }
}

/// Writes the network in `folder` as `request` says. `own` are images to calibrate int8 with where the request names no
/// data; the result of the search that found the network may lie in `found`.
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
    let samples = samples(folder, &source, request, own.as_ref())?;
    let expected = source.outputs(&samples.images, device);
    let int8 = match request.int8 {
        false => None,
        true => {
            let described = source.described(folder)?;
            let images = match (request.data, own) {
                (Some(data), _) => training_images(data, described, &source.shape)?,
                (None, Some(own)) => own.images,
                (None, None) => {
                    return Err(Error::ExportForm {
                        problem: "int8 needs images to see how far its feature maps reach, and this network has none of its own",
                        hint: format!("name some with {}", Setting("data")),
                    });
                }
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
    let ran = check(request, &written(&facts)?, &samples, int8.as_ref(), &source, &expected)?;
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

/// Whether the file's name ends like one of another kind, which it may well be.
fn other_form(request: &FileRequest<'_>) -> bool {
    const OTHERS: [&str; 7] = ["onnx", "tflite", "safetensors", "json", "yaml", "parquet", "pt"];
    let ends = |other: &&str| request.out.extension().is_some_and(|end| end.eq_ignore_ascii_case(other));
    OTHERS.iter().filter(|other| **other != request.form.word()).any(ends)
}

/// What the file says of its accuracy, and of who ran it.
fn measured(
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
        (None, Some(own)) => {
            let all = own.images.size()[0];
            let count = if count == 0 { all } else { i64::try_from(count).unwrap_or(all).min(all) };
            Ok(Samples::of_bundle(own.images.narrow(0, 0, count), &own.bundle))
        }
        (None, None) => Ok(Samples::noise(&source.shape, count)),
    }
}

fn int8_report(int8: &Quantised, source: &Source, samples: &Samples, expected: &[f32], damage: bool) -> Int8Report {
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

/// Runs the file: in float32 by tract, in int8 by what Python has; or what is missing to run it with.
fn check(
    request: &FileRequest<'_>,
    bytes: &[u8],
    samples: &Samples,
    int8: Option<&Quantised>,
    source: &Source,
    expected: &[f32],
) -> Result<std::result::Result<FileRun, String>> {
    let refused = |problem: String| Error::NotExported { file: request.out.to_path_buf(), problem };
    let outputs = source.shape.output().elements() as usize;
    let checked = match int8 {
        None => match by_tract(request.form, Whole::Bytes(bytes), &samples.images, source.shape.output()) {
            Ok((got, milliseconds)) => {
                let agreement = Agreement::of(expected, &got, outputs);
                FileRun { runtime: "tract".into(), agreement, milliseconds, differing_in_micro: None }
            }
            // tract does not know all of either format.
            Err(error) => {
                let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
                let file = folder.path().join("checked");
                std::fs::write(&file, bytes).map_err(|source| Error::Write { source })?;
                match run_float_elsewhere(request.form, &file, &samples.images, source.shape.output())? {
                    Ok(ran) => {
                        let agreement = Agreement::of(expected, &ran.outputs, outputs);
                        let Elsewhere { runtime, milliseconds, .. } = ran;
                        FileRun { runtime, agreement, milliseconds, differing_in_micro: None }
                    }
                    Err(Missing::Runtime(missing)) => {
                        let error = error.to_string();
                        let first = error.lines().next().unwrap_or_default();
                        return Ok(Err(format!("{first}…; {missing}")));
                    }
                    Err(Missing::Refused(said)) => return Err(refused(format!("a runtime does not run it, {said}"))),
                }
            }
        },
        Some(int8) => {
            let count = request.images.map_or(ELSEWHERE, |_| i64::MAX).min(samples.images.size()[0]);
            let few = samples.images.narrow(0, 0, count);
            let pixels = bytes_of(&few, &source.described.as_ref().expect("int8 reads pixels").preprocessing());
            let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
            let file = folder.path().join("checked");
            std::fs::write(&file, bytes).map_err(|source| Error::Write { source })?;
            let ran = match run_elsewhere(request.form, &file, &pixels, source.shape.output())? {
                Ok(ran) => ran,
                Err(Missing::Runtime(missing)) => return Ok(Err(missing)),
                Err(Missing::Refused(said)) => return Err(refused(format!("a runtime does not run it, {said}"))),
            };
            let Elsewhere { runtime, outputs: got, milliseconds, differing_in_micro } = ran;
            let float = &expected[..count as usize * outputs];
            let expected = int8.outputs(&pixels);
            if got.len() != expected.len() {
                return Err(refused(format!("{runtime} makes {} numbers of it, not {}", got.len(), expected.len())));
            }
            let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
            let steps = STEPS * f64::from(int8.network.output_scale().scale / largest);
            // Two ways to round a network may be as far apart as either is from what was rounded.
            let rounding = float.iter().zip(&expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
            let agreement = Agreement::within(&expected, &got, outputs, steps.max(f64::from(rounding)));
            FileRun { runtime, agreement, milliseconds, differing_in_micro }
        }
    };
    match checked.agreement.holds() {
        true => Ok(Ok(checked)),
        false => Err(refused(disagreement(&checked.runtime, &checked.agreement))),
    }
}

/// What Python's runtime makes of bytes of pixels, `[N, C, S, S]`; `made` is the network's output.
///
/// # Errors
/// A file that cannot be written; else what was missing.
pub(crate) fn run_elsewhere(
    form: FileForm,
    file: &Path,
    pixels: &Tensor,
    made: NetworkMap,
) -> Result<std::result::Result<Elsewhere, Missing>> {
    let [n, c, h, w] = <[i64; 4]>::try_from(pixels.size()).expect("images").map(|length| length as usize);
    let ran = match form {
        FileForm::Onnx => {
            let bytes: Vec<u8> = numbers(pixels).into_iter().map(|value| value as u8).collect();
            elsewhere::run(form, file, &Images::Bytes(&bytes), [n, c, h, w])?
        }
        FileForm::Tflite => elsewhere::run(form, file, &Images::Bytes(&channels_innermost(pixels)), [n, h, w, c])?,
    };
    Ok(ran.map(|ran| Elsewhere { outputs: channels_outermost(form, ran.outputs, made), ..ran }))
}

/// The same of normalised images, `[N, C, S, S]`.
///
/// # Errors
/// As [`run_elsewhere`].
pub(crate) fn run_float_elsewhere(
    form: FileForm,
    file: &Path,
    images: &Tensor,
    made: NetworkMap,
) -> Result<std::result::Result<Elsewhere, Missing>> {
    let [n, c, h, w] = <[i64; 4]>::try_from(images.size()).expect("images").map(|length| length as usize);
    let (turned, shape) = match form {
        FileForm::Onnx => (images.shallow_clone(), [n, c, h, w]),
        FileForm::Tflite => (images.permute([0, 2, 3, 1]), [n, h, w, c]),
    };
    let ran = elsewhere::run(form, file, &Images::Float(&numbers(&turned)), shape)?;
    Ok(ran.map(|ran| Elsewhere { outputs: channels_outermost(form, ran.outputs, made), ..ran }))
}

/// Outputs as LibTorch has them: a feature map of TensorFlow Lite has its channels last.
fn channels_outermost(form: FileForm, outputs: Vec<f32>, made: NetworkMap) -> Vec<f32> {
    if form == FileForm::Onnx || made.size == 1 {
        return outputs;
    }
    let (area, channels) = (made.area() as usize, made.channels as usize);
    let of_image = |image: &[f32]| -> Vec<f32> {
        (0..channels).flat_map(|channel| (0..area).map(move |at| image[at * channels + channel])).collect()
    };
    outputs.chunks_exact(area * channels).flat_map(of_image).collect()
}

/// A file on its way to tract.
pub(crate) enum Whole<'a> {
    /// All of it.
    Bytes(&'a [u8]),
    /// Where it is, with what it needs beside it.
    At(&'a Path, &'a [u8]),
}

/// What tract makes of a float32 file, and milliseconds an image; `made` is the network's output.
///
/// # Errors
/// It does not run the file.
pub(crate) fn by_tract(
    form: FileForm,
    file: Whole<'_>,
    images: &Tensor,
    made: NetworkMap,
) -> std::result::Result<(Vec<f32>, f64), deploy::runtime::RuntimeError> {
    let size = <[i64; 4]>::try_from(images.size()).expect("images").map(|length| length as usize);
    let shape = [1, size[1], size[2], size[3]];
    let one = match (form, file) {
        (FileForm::Onnx, Whole::Bytes(bytes)) => Runtime::onnx(bytes, shape)?,
        (FileForm::Onnx, Whole::At(path, _)) => Runtime::onnx_file(path, shape)?,
        (FileForm::Tflite, Whole::Bytes(bytes) | Whole::At(_, bytes)) => Runtime::tflite(bytes)?,
    };
    let mut times = Vec::new();
    let mut got = Vec::new();
    for image in images.split(1, 0) {
        let start = Instant::now();
        got.extend(one.run(&numbers(&image))?);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok((channels_outermost(form, got, made), 1e3 * times[times.len() / 2]))
}

/// Why a file is not written.
pub(crate) fn disagreement(runtime: &str, agreement: &Agreement) -> String {
    let Agreement { images, largest_error, other_class, tolerance, .. } = agreement;
    format!(
        "what {runtime} computes of it is {largest_error:.1e} of the largest output away from the network, {:.0e} being \
         allowed, and of another class for {other_class} of {images} images",
        tolerance.max(TOLERANCE)
    )
}

#[cfg(test)]
mod tests {
    use network::op::{Conv, Map, Op};
    use network::weights::Weights;
    use serde_json::Value;
    use supernet::data::{DataSource, Preprocessing};

    use super::*;

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
