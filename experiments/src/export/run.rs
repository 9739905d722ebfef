//! A file run by runtimes of others, and held against the network that it was made of.

use std::path::Path;
use std::time::Instant;

use deploy::agreement::{Agreement, TOLERANCE};
use deploy::runtime::Runtime;
use network::op::Map;
use tch::Tensor;

use super::elsewhere::{self, Elsewhere, Images, Kernels, Missing};
use super::int8::Quantised;
use super::samples::{Samples, bytes_of, channels_innermost, numbers};
use super::source::Source;
use crate::error::{Error, Result};
use crate::torch::{FileForm, FileRun};

/// Steps of the output that two runtimes may be apart in int8: each rounds in its own way, layer by layer.
const STEPS: f64 = 16.0;

/// What a file is held against.
pub(crate) struct Check<'a> {
    /// The file's kind.
    pub(crate) form: FileForm,
    /// Where it is to be.
    pub(crate) out: &'a Path,
    /// The network.
    pub(crate) source: &'a Source,
    /// Images.
    pub(crate) samples: &'a Samples,
    /// What LibTorch makes of them.
    pub(crate) expected: &'a [f32],
}

impl Check<'_> {
    /// Runs a float32 file by tract, or by what Python has where tract does not know all of it; or what is missing to run it
    /// with.
    ///
    /// # Errors
    /// It computes something else; a file that cannot be written.
    pub(crate) fn float(&self, file: Whole<'_>) -> Result<std::result::Result<FileRun, String>> {
        let Check { form, source, samples, .. } = *self;
        let made = source.shape.output();
        let agreement = |got: &[f32]| Agreement::of(self.expected, got, made.elements() as usize);
        let error = match by_tract(form, file, &samples.images, made) {
            Ok((got, milliseconds)) => {
                let agreement = agreement(&got);
                return self.judged(FileRun {
                    runtime: "tract".into(),
                    agreement,
                    milliseconds,
                    differing_in_micro: None,
                });
            }
            Err(error) => error,
        };
        let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
        let path = match file {
            Whole::At(path, _) => path.to_path_buf(),
            Whole::Bytes(bytes) => {
                let path = folder.path().join("checked");
                std::fs::write(&path, bytes).map_err(|source| Error::Write { source })?;
                path
            }
        };
        match run_float_elsewhere(form, &path, &samples.images, made, Kernels::Fast)? {
            Ok(ran) => {
                let agreement = agreement(&ran.outputs);
                let Elsewhere { runtime, milliseconds, .. } = ran;
                self.judged(FileRun { runtime, agreement, milliseconds, differing_in_micro: None })
            }
            Err(Missing::Runtime(missing)) => {
                let error = error.to_string();
                Ok(Err(format!("{}…; {missing}", error.lines().next().unwrap_or_default())))
            }
            Err(Missing::Refused(said)) => Err(self.refused(format!("a runtime does not run it, {said}"))),
        }
    }

    /// Runs the int8 file at `path` on the first `count` images by what Python has, and compares it with the integer network
    /// that it was made of; or what is missing to run it with.
    ///
    /// # Errors
    /// As [`Check::float`].
    pub(crate) fn int8(
        &self,
        path: &Path,
        int8: &Quantised,
        count: i64,
    ) -> Result<std::result::Result<FileRun, String>> {
        let Check { form, source, samples, .. } = *self;
        let outputs = source.shape.output().elements() as usize;
        let count = count.min(samples.count());
        let few = samples.images.narrow(0, 0, count);
        let pixels = bytes_of(&few, &source.described.as_ref().expect("int8 reads pixels").preprocessing());
        let ran = match run_elsewhere(form, path, &pixels, source.shape.output(), Kernels::Reference)? {
            Ok(ran) => ran,
            Err(Missing::Runtime(missing)) => return Ok(Err(missing)),
            Err(Missing::Refused(said)) => return Err(self.refused(format!("a runtime does not run it, {said}"))),
        };
        let Elsewhere { runtime, outputs: got, milliseconds, differing_in_micro } = ran;
        let float = &self.expected[..count as usize * outputs];
        let expected = int8.outputs(&pixels);
        if got.len() != expected.len() {
            return Err(self.refused(format!("{runtime} makes {} numbers of it, not {}", got.len(), expected.len())));
        }
        let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let steps = STEPS * f64::from(int8.network.output_scale().scale / largest);
        // Two ways to round a network may be as far apart as either is from what was rounded.
        let rounding = float.iter().zip(&expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
        let agreement = Agreement::within(&expected, &got, outputs, steps.max(f64::from(rounding)));
        self.judged(FileRun { runtime, agreement, milliseconds, differing_in_micro })
    }

    fn judged(&self, ran: FileRun) -> Result<std::result::Result<FileRun, String>> {
        let FileRun { runtime, agreement, .. } = &ran;
        tracing::info!(
            runtime,
            images = agreement.images,
            largest_error = agreement.largest_error,
            "checked the file beside its network"
        );
        match agreement.holds() {
            true => Ok(Ok(ran)),
            false => Err(self.refused(disagreement(&ran.runtime, &ran.agreement))),
        }
    }

    fn refused(&self, problem: String) -> Error {
        Error::NotExported { file: self.out.to_path_buf(), problem }
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
    made: Map,
    kernels: Kernels,
) -> Result<std::result::Result<Elsewhere, Missing>> {
    let [n, c, h, w] = <[i64; 4]>::try_from(pixels.size()).expect("images").map(|length| length as usize);
    let ran = match form {
        FileForm::Onnx => {
            let bytes: Vec<u8> = numbers(pixels).into_iter().map(|value| value as u8).collect();
            elsewhere::run(form, file, &Images::Bytes(&bytes), [n, c, h, w], kernels)?
        }
        FileForm::Tflite => {
            elsewhere::run(form, file, &Images::Bytes(&channels_innermost(pixels)), [n, h, w, c], kernels)?
        }
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
    made: Map,
    kernels: Kernels,
) -> Result<std::result::Result<Elsewhere, Missing>> {
    let [n, c, h, w] = <[i64; 4]>::try_from(images.size()).expect("images").map(|length| length as usize);
    let (turned, shape) = match form {
        FileForm::Onnx => (images.shallow_clone(), [n, c, h, w]),
        FileForm::Tflite => (images.permute([0, 2, 3, 1]), [n, h, w, c]),
    };
    let ran = elsewhere::run(form, file, &Images::Float(&numbers(&turned)), shape, kernels)?;
    Ok(ran.map(|ran| Elsewhere { outputs: channels_outermost(form, ran.outputs, made), ..ran }))
}

/// Outputs as LibTorch has them: a feature map of TensorFlow Lite has its channels last.
fn channels_outermost(form: FileForm, outputs: Vec<f32>, made: Map) -> Vec<f32> {
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
#[derive(Clone, Copy)]
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
    made: Map,
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
fn disagreement(runtime: &str, agreement: &Agreement) -> String {
    let Agreement { images, largest_error, other_class, tolerance, .. } = agreement;
    format!(
        "what {runtime} computes of it is {largest_error:.1e} of the largest output away from the network, {:.0e} being \
         allowed, and of another class for {other_class} of {images} images",
        tolerance.max(TOLERANCE)
    )
}
