//! Whether a file computes what a network does, by a runtime of others.

use std::path::Path;

use deploy::agreement::Agreement;
use deploy::runtime::RuntimeError;
use storage::file::read_bytes;
use tch::Device;

use super::elsewhere::{Elsewhere, Kernels, Missing};
use super::int8::top1;
use super::run::{Whole, by_tract, run_elsewhere, run_float_elsewhere};
use super::samples::{Samples, bytes_of};
use super::source::Source;
use crate::error::{Error, Result};
use crate::torch::{FileForm, Runtimes, VerifiedFile, VerifyRequest};

/// Images where nobody says how many.
const IMAGES: usize = 1000;
/// The first bytes of a TensorFlow Lite file behind its first offset.
const TFLITE: &[u8] = b"TFL3";

/// Compares the request's file with its network.
///
/// # Errors
/// A damaged folder, images that do not fit, no runtime that runs the file.
pub(crate) fn verify(request: &VerifyRequest<'_>, device: Device) -> Result<VerifiedFile> {
    let VerifyRequest { file, against: folder, data, images, by } = *request;
    let bytes = read_bytes(file).map_err(|source| Error::Read { path: file.to_path_buf(), source })?;
    let form = if bytes.get(4..8) == Some(TFLITE) { FileForm::Tflite } else { FileForm::Onnx };
    let source = Source::read(folder, device)?;
    let count = images.unwrap_or(IMAGES);
    let samples = match data {
        Some(data) => Samples::of_test(data, source.described(folder)?, &source.shape, count)?,
        None => Samples::noise(&source.shape, count),
    };
    let refused = |problem: String| Error::NotVerified { file: file.to_path_buf(), problem };
    let (ran, is_int8) = match by {
        Runtimes::Python => by_python(form, file, &source, &samples, "")?,
        _ => match by_tract(form, Whole::At(file, &bytes), &samples.images, source.shape.output()) {
            Ok((outputs, milliseconds)) => {
                (Elsewhere { runtime: "tract".into(), outputs, milliseconds, differing_in_micro: None }, false)
            }
            // tract knows no int8 as files have it, and not all of TensorFlow Lite.
            Err(RuntimeError::Unknown(_)) if by == Runtimes::Any => {
                by_python(form, file, &source, &samples, "tract does not run it (it is in int8, or damaged), and ")?
            }
            Err(error) => return Err(refused(error.to_string())),
        },
    };
    let expected = source.outputs(&samples.images, device);
    let outputs = source.shape.output().elements() as usize;
    if ran.outputs.len() != expected.len() {
        return Err(refused(format!(
            "it makes {} numbers of {} images, the network {}",
            ran.outputs.len(),
            expected.len() / outputs.max(1),
            expected.len()
        )));
    }
    let noise: f64 = ran.outputs.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let signal: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
    let labels = samples.labels.as_deref();
    Ok(VerifiedFile {
        agreement: Agreement::of(&expected, &ran.outputs, outputs),
        top1: labels.map(|labels| [top1(&expected, labels), top1(&ran.outputs, labels)]),
        signal_to_noise_db: 10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10(),
        runtime: ran.runtime,
        is_int8,
        milliseconds: ran.milliseconds,
        checked_with: samples.words,
        size: source.shape.input().size,
        warnings: source.warnings,
        notes: samples.notes,
    })
}

/// Runs a file by what Python has: on bytes of pixels if it reads such, which makes it one in int8, else on normalised
/// numbers. `before` says what else was tried.
fn by_python(
    form: FileForm,
    file: &Path,
    source: &Source,
    samples: &Samples,
    before: &str,
) -> Result<(Elsewhere, bool)> {
    let pixels = source.described.as_ref().map(|described| bytes_of(&samples.images, &described.preprocessing()));
    if let Some(pixels) = pixels
        && let Ok(ran) = run_elsewhere(form, file, &pixels, source.shape.output(), Kernels::Fast)?
    {
        return Ok((ran, true));
    }
    match run_float_elsewhere(form, file, &samples.images, source.shape.output(), Kernels::Fast)? {
        Ok(ran) => Ok((ran, false)),
        Err(Missing::Runtime(missing)) => {
            Err(Error::NoRuntime { what: "such a file", problem: format!("{before}{missing}") })
        }
        Err(Missing::Refused(said)) => {
            let problem = format!("a runtime does not run it on such images, {said}");
            Err(Error::NotVerified { file: file.to_path_buf(), problem })
        }
    }
}
