//! What a file computes by a runtime that shares no line with this project (tract), so that what was written is what
//! others will read.

use std::path::Path;

use tract_onnx::prelude::*;

/// A file that the runtime read and made ready.
pub struct Runtime {
    plan: TypedRunnableModel<TypedModel>,
    /// Of what it reads at a time.
    shape: Vec<usize>,
    /// Whether channels are the last dimension, so that images have to be turned.
    is_channels_last: bool,
}

/// Why the runtime does not run a file.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// What it does not know, in its own words.
    #[error("tract cannot run it: {0}")]
    Unknown(String),
    /// Images of another size than the file's.
    #[error("it reads images of {wanted} numbers, not of {got}")]
    Size {
        /// Numbers of an image that the file reads.
        wanted: usize,
        /// Numbers that it was given.
        got: usize,
    },
}

impl From<TractError> for RuntimeError {
    fn from(error: TractError) -> Self {
        // `{:#}` says the causes, too.
        RuntimeError::Unknown(format!("{error:#}"))
    }
}

impl Runtime {
    /// Reads the bytes of an ONNX file in float32 (of scales by channel it knows the first only) that takes images of `shape`: images at a time, channels, height, width.
    ///
    /// # Errors
    /// A file that is not ONNX, or that the runtime does not know all of.
    pub fn onnx(mut file: &[u8], shape: [usize; 4]) -> Result<Self, RuntimeError> {
        Self::of_onnx(tract_onnx::onnx().model_for_read(&mut file)?, shape)
    }

    /// The same of a file whose weights may lie in another one beside it.
    ///
    /// # Errors
    /// As [`Runtime::onnx`].
    pub fn onnx_file(path: &Path, shape: [usize; 4]) -> Result<Self, RuntimeError> {
        Self::of_onnx(tract_onnx::onnx().model_for_path(path)?, shape)
    }

    fn of_onnx(model: InferenceModel, shape: [usize; 4]) -> Result<Self, RuntimeError> {
        let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
        let plan = model.with_input_fact(0, fact)?.into_optimized()?.into_runnable()?;
        Ok(Self { plan, shape: shape.to_vec(), is_channels_last: false })
    }

    /// Reads the bytes of a TensorFlow Lite file in float32, which takes one image at a time.
    ///
    /// # Errors
    /// A file that is not TensorFlow Lite, or that the runtime does not know all of.
    pub fn tflite(mut file: &[u8]) -> Result<Self, RuntimeError> {
        let model = tract_tflite::tflite().model_for_read(&mut file)?;
        let shape = model.input_fact(0)?.shape.as_concrete().map(<[usize]>::to_vec);
        let shape = shape.filter(|shape| shape.len() == 4);
        let shape = shape.ok_or_else(|| RuntimeError::Unknown("its input is no image of one size".into()))?;
        Ok(Self { plan: model.into_optimized()?.into_runnable()?, shape, is_channels_last: true })
    }

    /// All outputs of `images`, `[images, channels, height, width]`.
    ///
    /// # Errors
    /// What the runtime says; numbers that are no whole number of its runs.
    pub fn run(&self, images: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let of_run: usize = self.shape.iter().product();
        if !images.len().is_multiple_of(of_run) {
            return Err(RuntimeError::Size { wanted: of_run, got: images.len() });
        }
        let mut made = Vec::new();
        for images in images.chunks_exact(of_run) {
            let turned;
            let images = if self.is_channels_last {
                turned = channels_last(images, self.shape[3]);
                &turned
            } else {
                images
            };
            let input = Tensor::from_shape(&self.shape, images)?;
            let outputs = self.plan.run(tvec!(input.into()))?;
            made.extend_from_slice(outputs[0].as_slice::<f32>()?);
        }
        Ok(made)
    }
}

/// One image, its channels innermost.
fn channels_last(image: &[f32], channels: usize) -> Vec<f32> {
    let area = image.len() / channels.max(1);
    (0..area).flat_map(|at| (0..channels).map(move |channel| image[channel * area + at])).collect()
}

#[cfg(test)]
mod tests {
    use network::execute;
    use network::folded::Folded;
    use network::op::Map;
    use network::published;
    use network::weights::Weights;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::onnx::network_model;
    use crate::tflite::{Label, float_model};

    #[test]
    fn a_file_computes_what_the_network_does() {
        let shapes = vec![("resnet8", published::resnet8(7)), ("mobilenet-v2", published::mobilenet_v2(35, 32, 5))];
        for (name, shape) in shapes {
            let weights = Weights::random(&shape, 1);
            let folded = Folded::new(&shape, &weights);
            let onnx = network_model(name, &folded, &[]);
            let tflite = float_model(&folded, &Label { name, ..Label::default() }).unwrap();
            let Map { size, channels } = shape.input();
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let image = || -> Vec<f32> { (0..shape.input().elements()).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let images: Vec<Vec<f32>> = std::iter::repeat_with(image).take(2).collect();
            let onnx = Runtime::onnx(&onnx, [2, channels as usize, size as usize, size as usize]).unwrap();
            let runtimes = [("onnx", onnx), ("tflite", Runtime::tflite(&tflite).unwrap())];
            let expected: Vec<f32> = images.iter().flat_map(|image| execute::run(&shape, &weights, image)).collect();
            let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
            for (format, runtime) in runtimes {
                let got = runtime.run(&images.concat()).unwrap();
                assert_eq!(got.len(), expected.len());
                let apart = got.iter().zip(&expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
                assert!(apart <= 1e-5, "{name}, {format}: {apart:e}");
            }
        }
    }

    #[test]
    fn what_is_no_model_is_an_error() {
        assert!(Runtime::onnx(b"not a model", [1, 3, 8, 8]).is_err());
        assert!(Runtime::tflite(b"\x1c\0\0\0TFL3 and nothing more").is_err());
    }
}
