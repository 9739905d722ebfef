//! The published OFA accuracy predictors, from their named arrays.
//!
//! Two layouts are published (`once-for-all` §4.1, §4.2), told apart by their names:
//!
//! - the tutorial's: `0.weight`, `0.bias`, `2.weight`, … (a ReLU at every odd place), features as in
//!   [`Layout::Tutorial`];
//! - the library's: `layers.0.0.weight`, `layers.0.0.bias`, …, a last `layers.N.weight` without bias, and a scalar
//!   `base_acc` that is added; features as in [`Layout::Library`].
//!
//! Whoever reads the file hands its arrays over, so this module knows no container format.

use search::space::SearchSpace;
use serde_json::{Map, Value};

use crate::encode::{ArchEncoder, Layout, TUTORIAL_RESOLUTIONS};
use crate::ensemble::{AccuracyPredictor, LabelScale, Model};
use crate::error::{PredictorError, Result};
use crate::mlp::{Linear, Mlp};
use crate::resnet50::{ResNet50Encoder, ResNet50Predictor};
use crate::saved::{check_finite, check_shape};

/// An array of a file: its name, its shape and its values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedArray {
    /// As in the file: `0.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Makes a predictor of the arrays of `origin` (the file's name, for messages and provenance).
///
/// `resolutions` are those the predictor was trained on. Without them a tutorial predictor knows the ones whose columns
/// were trained: some weight of the column is larger than 1/√inputs, the bound of PyTorch's initial weights, which
/// weight decay can only have shrunk in a column that no sample used. A library predictor needs them, in the order of
/// its columns.
///
/// # Errors
/// [`PredictorError::MissingTensor`] if the arrays are of neither layout or one lacks; [`PredictorError::WrongShape`],
/// [`PredictorError::NotFinite`]; [`PredictorError::NoResolution`] and [`PredictorError::BadResolution`].
pub fn predictor(
    arrays: &[NamedArray],
    origin: &str,
    space: &SearchSpace,
    resolutions: Option<&[u32]>,
) -> Result<AccuracyPredictor> {
    let arrays = Arrays { arrays, origin };
    if arrays.find("base_acc").is_some() || arrays.find("layers.0.0.weight").is_some() {
        library(&arrays, space, resolutions.ok_or(PredictorError::NoResolution)?)
    } else {
        tutorial(&arrays, space, resolutions)
    }
}

fn tutorial(arrays: &Arrays<'_>, space: &SearchSpace, resolutions: Option<&[u32]>) -> Result<AccuracyPredictor> {
    // An encoder with every column that the space can use, to learn the width first.
    let offered: Vec<u32> =
        TUTORIAL_RESOLUTIONS.into_iter().filter(|resolution| space.resolutions().contains(resolution)).collect();
    let inputs = ArchEncoder::new(Layout::Tutorial, space, &offered)?.width();
    let mut layers = Vec::new();
    let mut width = inputs;
    while arrays.find(&format!("{}.weight", 2 * layers.len())).is_some() || layers.is_empty() {
        let place = 2 * layers.len();
        let weight = arrays.weight(&format!("{place}.weight"), width)?;
        width = weight.len() / width;
        layers.push(Linear { weight, bias: arrays.vector(&format!("{place}.bias"), width)? });
    }
    arrays.one_output(&format!("{}.weight", 2 * layers.len() - 2), &layers)?;
    let resolutions = match resolutions {
        Some(given) => given.to_vec(),
        None => trained(&layers[0], inputs, &offered),
    };
    let encoder = ArchEncoder::new(Layout::Tutorial, space, &resolutions)?;
    Ok(AccuracyPredictor::of_model(encoder, model(arrays, inputs, LabelScale::UNIT, layers)))
}

fn library(arrays: &Arrays<'_>, space: &SearchSpace, resolutions: &[u32]) -> Result<AccuracyPredictor> {
    let encoder = ArchEncoder::new(Layout::Library, space, resolutions)?;
    let model = library_model(arrays, encoder.width())?;
    Ok(AccuracyPredictor::of_model(encoder, model))
}

/// The predictor of the published ResNet50 space, in the library's layout; `resolutions` as in [`predictor`].
///
/// # Errors
/// As [`predictor`].
pub fn resnet50(arrays: &[NamedArray], origin: &str, resolutions: &[u32]) -> Result<ResNet50Predictor> {
    let encoder = ResNet50Encoder::new(resolutions)?;
    let model = library_model(&Arrays { arrays, origin }, encoder.width())?;
    Ok(ResNet50Predictor::new(encoder, model))
}

fn library_model(arrays: &Arrays<'_>, inputs: usize) -> Result<Model> {
    let mut layers = Vec::new();
    let mut width = inputs;
    while arrays.find(&format!("layers.{}.0.weight", layers.len())).is_some() || layers.is_empty() {
        let place = layers.len();
        let weight = arrays.weight(&format!("layers.{place}.0.weight"), width)?;
        width = weight.len() / width;
        layers.push(Linear { weight, bias: arrays.vector(&format!("layers.{place}.0.bias"), width)? });
    }
    let last = format!("layers.{}.weight", layers.len());
    layers.push(Linear { weight: arrays.weight(&last, width)?, bias: vec![0.0; arrays.get(&last)?.shape[0]] });
    arrays.one_output(&last, &layers)?;
    let base = f64::from(arrays.vector("base_acc", 1)?[0]);
    Ok(model(arrays, inputs, LabelScale { mean: base, std: 1.0 }, layers))
}

fn model(arrays: &Arrays<'_>, inputs: usize, label: LabelScale, layers: Vec<Linear>) -> Model {
    let provenance = Map::from_iter([("imported_from".to_owned(), Value::from(arrays.origin))]);
    Model { provenance, ..Model::new(inputs, label, None, vec![Mlp::new(inputs, layers)]) }
}

/// Those of `offered` whose column in the first layer was trained.
fn trained(first: &Linear, inputs: usize, offered: &[u32]) -> Vec<u32> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let first_column = inputs - TUTORIAL_RESOLUTIONS.len();
    let is_trained = |resolution: &u32| {
        let place = TUTORIAL_RESOLUTIONS.iter().position(|column| column == resolution);
        let column = place.map(|place| first_column + place);
        column.is_some_and(|column| first.weight[column..].iter().step_by(inputs).any(|weight| weight.abs() > bound))
    };
    offered.iter().copied().filter(is_trained).collect()
}

struct Arrays<'a> {
    arrays: &'a [NamedArray],
    origin: &'a str,
}

impl Arrays<'_> {
    fn find(&self, name: &str) -> Option<&NamedArray> {
        self.arrays.iter().find(|array| array.name == name)
    }

    fn get(&self, name: &str) -> Result<&NamedArray> {
        self.find(name)
            .ok_or_else(|| PredictorError::MissingTensor { origin: self.origin.to_owned(), tensor: name.to_owned() })
    }

    /// A matrix with `inputs` columns and at least one row.
    fn weight(&self, name: &str, inputs: usize) -> Result<Vec<f32>> {
        let array = self.get(name)?;
        let outputs = array.shape.first().copied().unwrap_or(1).max(1);
        self.checked(array, &[outputs, inputs])
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        self.checked(self.get(name)?, &[length])
    }

    fn checked(&self, array: &NamedArray, shape: &[usize]) -> Result<Vec<f32>> {
        check_shape(self.origin, &array.name, &array.shape, shape)?;
        check_shape(self.origin, &array.name, &[array.values.len()], &[shape.iter().product()])?;
        check_finite(self.origin, &array.name, &array.values)?;
        Ok(array.values.clone())
    }

    fn one_output(&self, last: &str, layers: &[Linear]) -> Result<()> {
        let [.., before, layer] = layers else {
            return Err(PredictorError::MissingTensor {
                origin: self.origin.to_owned(),
                tensor: "2.weight".to_owned(),
            });
        };
        check_shape(self.origin, last, &[layer.bias.len(), before.bias.len()], &[1, before.bias.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{random_mlp, sample_known, space};

    fn array(name: &str, shape: &[usize], values: &[f32]) -> NamedArray {
        NamedArray { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
    }

    /// A tutorial file for the MobileNetV3 spaces whose columns of 112, 128 and 144 were never trained.
    fn tutorial_arrays() -> (Mlp, Vec<NamedArray>) {
        let mut layers = random_mlp(128, &[20, 10, 1], 3).layers();
        for row in layers[0].weight.chunks_exact_mut(128) {
            row[123..].iter_mut().for_each(|weight| *weight *= 3.0);
        }
        let mut inputs = 128;
        let mut arrays = Vec::new();
        for (place, layer) in layers.iter().enumerate() {
            arrays.push(array(&format!("{}.weight", 2 * place), &[layer.bias.len(), inputs], &layer.weight));
            arrays.push(array(&format!("{}.bias", 2 * place), &[layer.bias.len()], &layer.bias));
            inputs = layer.bias.len();
        }
        (Mlp::new(128, layers), arrays)
    }

    #[test]
    fn a_tutorial_predictor_knows_the_resolutions_it_was_trained_on() {
        let (mlp, arrays) = tutorial_arrays();
        // This space also offers 128 and 144.
        let space = space("mbv3-w1.0");
        let predictor = predictor(&arrays, "acc_predictor.pth", &space, None).unwrap();
        assert_eq!(predictor.resolutions(), [160, 176, 192, 208, 224]);
        assert_eq!(predictor.members(), std::slice::from_ref(&mlp));
        let archs = sample_known(&space, predictor.encoder(), 20, 1);
        let outputs = mlp.forward(&predictor.encoder().encode(&archs).unwrap());
        let expected: Vec<f64> = outputs.into_iter().map(f64::from).collect();
        assert_eq!(predictor.top1(&archs).unwrap(), expected);
        let unknown = predictor.top1([&space.largest(128).unwrap()]).unwrap_err();
        assert!(matches!(unknown, PredictorError::UnknownResolution { got: 128, .. }));
        let given = super::predictor(&arrays, "acc_predictor.pth", &space, Some(&[192])).unwrap();
        assert_eq!(given.resolutions(), [192]);
    }

    #[test]
    fn a_library_predictor_adds_its_base() {
        let space = space("proxyless-w1.3");
        let known = [128, 160, 192, 224];
        let layers = random_mlp(130, &[20, 10, 1], 3).layers();
        let arrays = [
            array("layers.0.0.weight", &[20, 130], &layers[0].weight),
            array("layers.0.0.bias", &[20], &layers[0].bias),
            array("layers.1.0.weight", &[10, 20], &layers[1].weight),
            array("layers.1.0.bias", &[10], &layers[1].bias),
            array("layers.2.weight", &[1, 10], &layers[2].weight),
            array("base_acc", &[1], &[0.75]),
        ];
        let predictor = super::predictor(&arrays, "file", &space, Some(&known)).unwrap();
        let archs = sample_known(&space, predictor.encoder(), 20, 1);
        let mut without = layers;
        without[2].bias = vec![0.0];
        let outputs = Mlp::new(130, without).forward(&predictor.encoder().encode(&archs).unwrap());
        for (top1, output) in predictor.top1(&archs).unwrap().into_iter().zip(outputs) {
            assert!((top1 - 0.75 - f64::from(output)).abs() < 1e-12);
        }
        assert!(matches!(super::predictor(&arrays, "file", &space, None), Err(PredictorError::NoResolution)));
        let shorter = super::predictor(&arrays, "file", &space, Some(&known[1..])).unwrap_err();
        assert!(matches!(shorter, PredictorError::WrongShape { .. }), "{shorter}");
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let space = space("mbv3-w1.2");
        let refused = |change: &dyn Fn(&mut Vec<NamedArray>)| {
            let (_, mut arrays) = tutorial_arrays();
            change(&mut arrays);
            predictor(&arrays, "file.pth", &space, None).unwrap_err().to_string()
        };
        assert_eq!(refused(&|arrays| arrays.clear()), "file.pth: tensor `0.weight` is missing");
        assert_eq!(refused(&|arrays| drop(arrays.remove(3))), "file.pth: tensor `2.bias` is missing");
        let shape = refused(&|arrays| arrays[2].shape = vec![20, 10]);
        assert_eq!(shape, "file.pth: tensor `2.weight` has shape [20, 10], expected [20, 20]");
        let last = refused(&|arrays| arrays.truncate(4));
        assert_eq!(last, "file.pth: tensor `2.weight` has shape [10, 20], expected [1, 20]");
        let short = refused(&|arrays| arrays[5].values.clear());
        assert!(short.contains("`4.bias`"), "{short}");
        let nan = refused(&|arrays| arrays[0].values[7] = f32::NAN);
        assert_eq!(nan, "file.pth: tensor `0.weight` holds NaN at position 7");
    }
}
