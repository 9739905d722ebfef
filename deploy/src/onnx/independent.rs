//! What a model computes by a runtime that shares no line with this project (tract), so that what was written is what
//! others will read.

use tract_onnx::prelude::*;

/// A model that the runtime read and made ready.
pub struct Runtime {
    plan: TypedRunnableModel<TypedModel>,
    shape: [usize; 4],
}

/// Why the runtime does not run a file.
#[derive(Debug, thiserror::Error)]
#[error("tract cannot run it: {0}")]
pub struct RuntimeError(String);

impl Runtime {
    /// Reads the bytes of an ONNX file that takes images of `shape`: images at a time, channels, height, width.
    ///
    /// # Errors
    /// A file that is not ONNX, or that the runtime does not know all of.
    pub fn read(file: &[u8], shape: [usize; 4]) -> Result<Self, RuntimeError> {
        let read = || -> TractResult<TypedRunnableModel<TypedModel>> {
            let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
            tract_onnx::onnx().model_for_read(&mut &*file)?.with_input_fact(0, fact)?.into_optimized()?.into_runnable()
        };
        // `{:#}` says the causes, too.
        let plan = read().map_err(|error| RuntimeError(format!("{error:#}")))?;
        Ok(Self { plan, shape })
    }

    /// All outputs of `images`, which are as many as were said.
    ///
    /// # Errors
    /// What the runtime says.
    ///
    /// # Panics
    /// If there are not as many numbers as the images have.
    pub fn run(&self, images: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let said = |error: TractError| RuntimeError(format!("{error:#}"));
        let input = Tensor::from_shape(&self.shape, images).expect("as many numbers as images have");
        let outputs = self.plan.run(tvec!(input.into())).map_err(said)?;
        let output = outputs[0].as_slice::<f32>().map_err(said)?;
        Ok(output.to_vec())
    }
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

    use super::super::network_model;
    use super::*;

    #[test]
    fn a_file_computes_what_the_network_does() {
        let shapes = vec![("resnet8", published::resnet8(7)), ("mobilenet-v2", published::mobilenet_v2(35, 32, 5))];
        for (name, shape) in shapes {
            let weights = Weights::random(&shape, 1);
            let file = network_model(name, &Folded::new(&shape, &weights), &[]);
            let Map { size, channels } = shape.input();
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let image = || -> Vec<f32> { (0..shape.input().elements()).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let images: Vec<Vec<f32>> = std::iter::repeat_with(image).take(2).collect();
            let runtime = Runtime::read(&file, [2, channels as usize, size as usize, size as usize]).unwrap();
            let got = runtime.run(&images.concat()).unwrap();
            let expected: Vec<f32> = images.iter().flat_map(|image| execute::run(&shape, &weights, image)).collect();
            let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
            assert_eq!(got.len(), expected.len());
            let apart = got.iter().zip(&expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
            assert!(apart <= 1e-5, "{name}: {apart:e}");
        }
    }

    #[test]
    fn what_is_no_model_is_an_error() {
        assert!(Runtime::read(b"not a model", [1, 3, 8, 8]).is_err());
    }
}
