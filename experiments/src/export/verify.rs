//! Whether a file computes what a network does, by a runtime of others.

use std::path::Path;

use deploy::agreement::Agreement;
use deploy::runtime::RuntimeError;
use storage::file::read_bytes;
use supernet::data::DataSource;
use tch::Device;

use super::elsewhere::{self, Elsewhere, Images};
use super::file::{Source, by_tract, run_elsewhere};
use super::int8::top1;
use super::samples::{Samples, bytes_of, numbers};
use crate::error::{Error, Result};
use crate::torch::{FileForm, VerifiedFile};

/// Images where nobody says how many.
const IMAGES: usize = 1000;
/// The first bytes of a TensorFlow Lite file behind its first offset.
const TFLITE: &[u8] = b"TFL3";

/// Compares `file` with the network in `folder` on the first `images` test images of `data`, all of them for 0, or on noise.
///
/// # Errors
/// A damaged folder, images that do not fit, no runtime that runs the file.
pub(crate) fn verify(
    file: &Path,
    folder: &Path,
    data: Option<&DataSource>,
    images: Option<usize>,
    device: Device,
) -> Result<VerifiedFile> {
    let bytes = read_bytes(file)?;
    let form = if bytes.get(4..8) == Some(TFLITE) { FileForm::Tflite } else { FileForm::Onnx };
    let source = Source::read(folder, device)?;
    let count = images.unwrap_or(IMAGES);
    let samples = match data {
        Some(data) => Samples::of_test(data, source.described(folder)?, &source.shape, count)?,
        None => Samples::noise(&source.shape, count),
    };
    let expected = source.outputs(&samples.images, device);
    let outputs = source.shape.output().elements() as usize;
    let refused = |problem: String| Error::NotVerified { file: file.to_path_buf(), problem };
    let (ran, is_int8) = match by_tract(form, &bytes, &samples.images) {
        Ok((outputs, milliseconds)) => (Elsewhere { runtime: "tract".into(), outputs, milliseconds }, false),
        Err(error @ RuntimeError::Size { .. }) => return Err(refused(error.to_string())),
        // tract knows no int8 as files have it, and not all of TensorFlow Lite.
        Err(error) => {
            let [n, c, h, w] =
                <[i64; 4]>::try_from(samples.images.size()).expect("images").map(|length| length as usize);
            let (turned, shape) = match form {
                FileForm::Onnx => (samples.images.shallow_clone(), [n, c, h, w]),
                FileForm::Tflite => (samples.images.permute([0, 2, 3, 1]), [n, h, w, c]),
            };
            let as_bytes =
                source.described.as_ref().map(|described| bytes_of(&samples.images, &described.preprocessing()));
            let reads_bytes = match &as_bytes {
                Some(pixels) => run_elsewhere(form, file, pixels),
                None => Ok(None),
            };
            match reads_bytes {
                Ok(Some(ran)) => (ran, true),
                _ => {
                    let float = numbers(&turned);
                    let ran = elsewhere::run(form, file, &Images::Float(&float), shape)?;
                    let ran = ran.ok_or_else(|| {
                        refused(format!("{error}, and python3 has neither onnxruntime nor LiteRT to run it with"))
                    })?;
                    (ran, false)
                }
            }
        }
    };
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
