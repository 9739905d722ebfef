//! `predictor.safetensors`: a predictor as a file that any safetensors reader opens.
//!
//! Metadata key `predictor`: a JSON object with `schema` (`ofa.predictor/1`), `space`, `definition` (the space as YAML;
//! files of earlier versions lack it), `layout`, `resolutions` (trained
//! on, in column order), `choices` (kernel sizes and expand ratios of every block at its deepest), `features` (number of
//! them), `members`, `widths` (of every layer of a member), `additive` and `interactions` (whether there are such parts)
//! and `provenance` (free). Tensors:
//!
//! | tensor | type, shape |
//! |---|---|
//! | `label` | f64 `[2]`: mean and standard deviation of the labels |
//! | `additive.constant`, `additive.shares` | f64 `[1]`, `[features]` |
//! | `interactions.constant`, `interactions.shares`, `interactions.pairs` | f64 `[1]`, `[features]`, `[features, features]` |
//! | `members.M.L.weight`, `members.M.L.bias` | f32 `[outputs, inputs]`, `[outputs]`: layer L of member M, as in PyTorch |

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};
use search::space::SearchSpace;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::arrays::{HostArray, safetensors as safetensors_file};
use storage::digest::{Digest, Digester};
use storage::file::read_bytes;

use crate::encode::{ArchEncoder, Layout};
use crate::ensemble::{AccuracyPredictor, LabelScale, Model};
use crate::error::{PredictorError, Result};
use crate::interactions::Interactions;
use crate::mlp::{Linear, Mlp};
use crate::resnet50::{self, ResNet50Encoder, ResNet50Predictor};
use crate::ridge::AdditiveModel;

/// The schema's name.
pub const SCHEMA: &str = "ofa.predictor/1";

/// Most members, layers and units of a layer that a file may claim.
const MOST: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
struct Metadata {
    schema: String,
    space: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<String>,
    layout: String,
    resolutions: Vec<u32>,
    choices: Vec<BlockChoices>,
    features: usize,
    members: usize,
    widths: Vec<usize>,
    additive: bool,
    #[serde(default)]
    interactions: bool,
    #[serde(default)]
    provenance: Map<String, Value>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct BlockChoices {
    kernels: Vec<u32>,
    expands: Vec<u32>,
}

impl BlockChoices {
    fn of(encoder: &ArchEncoder) -> Vec<BlockChoices> {
        let choices = encoder.choices().into_iter();
        choices
            .map(|(kernels, expands)| BlockChoices { kernels: kernels.to_vec(), expands: expands.to_vec() })
            .collect()
    }
}

/// Saves `predictor`, made for `space`, to `path`: the old file or the new one, whatever happens in between.
///
/// # Errors
/// [`PredictorError::Write`].
///
/// # Panics
/// If the members differ in their widths, which no fit and no import makes; if `space` is another.
pub fn save(predictor: &AccuracyPredictor, space: &SearchSpace, path: &Path) -> Result<()> {
    let encoder = predictor.encoder();
    assert_eq!(encoder.space(), space.id(), "the predictor's space");
    let features = Features {
        space: encoder.space().to_string(),
        definition: Some(space.to_yaml()),
        layout: encoder.layout().name().to_owned(),
        resolutions: encoder.resolutions().to_vec(),
        choices: BlockChoices::of(encoder),
    };
    write(predictor.model(), features, path)
}

/// What `predictor` predicts with: equal digests give equal predictions.
pub fn digest(predictor: &AccuracyPredictor) -> Digest {
    let encoder = predictor.encoder();
    let mut digester = Digester::new("predictor").text(&encoder.space().to_string()).text(encoder.layout().name());
    for resolution in encoder.resolutions() {
        digester = digester.number(u64::from(*resolution));
    }
    for (name, array) in arrays_of(predictor.model()) {
        digester = digester.text(&name).bytes(array.data());
    }
    digester.finish()
}

/// What the features of a file are.
struct Features {
    space: String,
    definition: Option<String>,
    layout: String,
    resolutions: Vec<u32>,
    choices: Vec<BlockChoices>,
}

/// Saves a predictor of the published ResNet50 space.
///
/// # Errors
/// [`PredictorError::Write`].
///
/// # Panics
/// As [`save`].
pub fn save_resnet50(predictor: &ResNet50Predictor, path: &Path) -> Result<()> {
    let features = Features {
        space: resnet50::SPACE.to_owned(),
        definition: None,
        layout: resnet50::LAYOUT.to_owned(),
        resolutions: predictor.encoder().resolutions().to_vec(),
        choices: Vec::new(),
    };
    write(predictor.model(), features, path)
}

fn write(model: &Model, of: Features, path: &Path) -> Result<()> {
    let widths = model.members.first().map(Mlp::widths).unwrap_or_default();
    assert!(model.members.iter().all(|member| member.widths() == widths), "members of different widths");
    let features = model.features;
    let metadata = Metadata {
        schema: SCHEMA.to_owned(),
        space: of.space,
        definition: of.definition,
        layout: of.layout,
        resolutions: of.resolutions,
        choices: of.choices,
        features,
        members: model.members.len(),
        widths,
        additive: model.additive.is_some(),
        interactions: model.interactions.is_some(),
        provenance: model.provenance.clone(),
    };
    let arrays = arrays_of(model);
    let metadata = serde_json::to_string(&metadata).expect("numbers and words");
    let metadata = BTreeMap::from([("predictor".to_owned(), metadata)]);
    let entries = arrays.iter().map(|(name, array)| (name.as_str(), array.dtype(), array.shape().to_vec(), array));
    let written = safetensors_file::write(path, entries.collect(), &metadata, |array| array.data());
    written.map_err(|source| PredictorError::Write { source })
}

/// The tensors of a file, by name.
fn arrays_of(model: &Model) -> BTreeMap<String, HostArray> {
    let features = model.features;
    let mut arrays: BTreeMap<String, HostArray> = BTreeMap::new();
    let mut push_f64 = |name: &str, shape: &[usize], values: &[f64]| {
        arrays.insert(name.to_owned(), HostArray::from_f64(shape, values));
    };
    push_f64("label", &[2], &[model.label.mean, model.label.std]);
    if let Some(model) = &model.additive {
        push_f64("additive.constant", &[1], &[model.constant]);
        push_f64("additive.shares", &[features], &model.shares);
    }
    if let Some(Interactions { correction, pairs }) = &model.interactions {
        push_f64("interactions.constant", &[1], &[correction.constant]);
        push_f64("interactions.shares", &[features], &correction.shares);
        push_f64("interactions.pairs", &[features, features], pairs);
    }
    for (m, member) in model.members.iter().enumerate() {
        let mut inputs = member.inputs();
        for (l, Linear { weight, bias }) in member.layers().into_iter().enumerate() {
            let outputs = bias.len();
            arrays.insert(format!("members.{m}.{l}.weight"), HostArray::from_f32(&[outputs, inputs], &weight));
            arrays.insert(format!("members.{m}.{l}.bias"), HostArray::from_f32(&[outputs], &bias));
            inputs = outputs;
        }
    }
    arrays
}

/// The name of the space that the predictor at `path` is for, and the space itself where the file holds it.
///
/// # Errors
/// [`PredictorError::Read`], [`PredictorError::Unreadable`], [`PredictorError::Field`].
pub fn space_of(path: &Path) -> Result<(String, Option<SearchSpace>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let space = file.definition(&metadata)?;
    Ok((metadata.space, space))
}

/// Loads a predictor for architectures of `space`.
///
/// # Errors
/// [`PredictorError::Read`] if the file cannot be read; otherwise an error of kind `Content` for anything wrong in it:
/// truncated, another schema, another space or one with other choices, a tensor missing, of a wrong shape, with a NaN.
pub fn load(path: &Path, space: &SearchSpace) -> Result<AccuracyPredictor> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let field = |field: &str, problem: String| file.field(field, problem);
    if metadata.space != space.id().to_string() {
        return Err(PredictorError::OtherSpace {
            what: format!("{}: the predictor", path.display()),
            got: metadata.space,
            expected: space.id().to_string(),
        });
    }
    if let Some(what) = file.definition(&metadata)?.and_then(|made_for| made_for.difference(space)) {
        let problem = format!("is of another space that is called `{}`, too: this one has {what}", space.id());
        return Err(field("definition", problem));
    }
    let layout = Layout::from_name(&metadata.layout)
        .ok_or_else(|| field("layout", format!("`{}` is none of this version's layouts", metadata.layout)))?;
    let encoder = ArchEncoder::new(layout, space, &metadata.resolutions)
        .map_err(|error| field("resolutions", error.to_string()))?;
    if metadata.choices != BlockChoices::of(&encoder) || metadata.features != encoder.width() {
        let problem = format!("it was made for a space `{}` with other choices than this one", space.id());
        return Err(field("choices", problem));
    }
    let model = file.model(metadata)?;
    Ok(AccuracyPredictor::of_model(encoder, model))
}

/// Loads a predictor of the published ResNet50 space.
///
/// # Errors
/// As [`load`].
pub fn load_resnet50(path: &Path) -> Result<ResNet50Predictor> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.space != resnet50::SPACE || metadata.layout != resnet50::LAYOUT {
        return Err(PredictorError::OtherSpace {
            what: format!("{}: the predictor", path.display()),
            got: metadata.space,
            expected: resnet50::SPACE.to_owned(),
        });
    }
    let encoder =
        ResNet50Encoder::new(&metadata.resolutions).map_err(|error| file.field("resolutions", error.to_string()))?;
    if metadata.features != encoder.width() {
        return Err(file.field("features", format!("{} are not {}", metadata.features, encoder.width())));
    }
    Ok(ResNet50Predictor::new(encoder, file.model(metadata)?))
}

/// A file's bytes with its name.
struct File<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn open(path: &'a Path) -> Result<File<'a>> {
        let bytes = read_bytes(path).map_err(|source| PredictorError::Read { path: path.to_owned(), source })?;
        Ok(File { path, bytes })
    }

    fn metadata(&self) -> Result<Metadata> {
        let (_, header) =
            SafeTensors::read_metadata(&self.bytes).map_err(|error| self.unreadable(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|keys| keys.get("predictor"));
        let text = text.ok_or_else(|| self.field("predictor", "is missing from the metadata".to_owned()))?;
        let value: Value = serde_json::from_str(text).map_err(|error| self.field("predictor", error.to_string()))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            other => {
                let problem =
                    format!("{} is not `{SCHEMA}`", other.map_or("nothing".to_owned(), |it| format!("`{it}`")));
                return Err(self.field("schema", problem));
            }
        }
        serde_json::from_value(value).map_err(|error| self.field("predictor", error.to_string()))
    }

    /// The space that the predictor was made for, where the file holds it.
    fn definition(&self, metadata: &Metadata) -> Result<Option<SearchSpace>> {
        let parse = |text| SearchSpace::from_yaml(text).map_err(|error| self.field("definition", error.to_string()));
        metadata.definition.as_deref().map(parse).transpose()
    }

    /// The parts that the metadata promise.
    fn model(&self, metadata: Metadata) -> Result<Model> {
        let features = metadata.features;
        let sizes = [metadata.members, metadata.widths.len()];
        if sizes.into_iter().chain(metadata.widths.iter().copied()).any(|size| size > MOST) {
            return Err(self.field("widths", "the network would be too large".to_owned()));
        }
        if metadata.members > 0 && metadata.widths.last() != Some(&1) {
            return Err(self.field("widths", format!("{:?} does not end in one output", metadata.widths)));
        }
        if metadata.members == 0 && !metadata.additive {
            return Err(self.field("members", "the predictor has no part".to_owned()));
        }
        let tensors = self.tensors()?;
        let label = tensors.f64("label", &[2])?;
        let model = |part: &str| {
            let constant = tensors.f64(&format!("{part}.constant"), &[1])?[0];
            Ok(AdditiveModel { constant, shares: tensors.f64(&format!("{part}.shares"), &[features])? })
        };
        let additive = metadata.additive.then(|| model("additive")).transpose()?;
        let interactions = metadata.interactions.then(|| {
            let pairs = tensors.f64("interactions.pairs", &[features, features])?;
            Ok(Interactions { correction: model("interactions")?, pairs })
        });
        let interactions = interactions.transpose()?;
        let member = |m: usize| {
            let mut inputs = features;
            let layer = |(l, &outputs): (usize, &usize)| {
                let weight = tensors.f32(&format!("members.{m}.{l}.weight"), &[outputs, inputs])?;
                let bias = tensors.f32(&format!("members.{m}.{l}.bias"), &[outputs])?;
                inputs = outputs;
                Ok(Linear { weight, bias })
            };
            Ok(Mlp::new(features, metadata.widths.iter().enumerate().map(layer).collect::<Result<_>>()?))
        };
        let members = (0..metadata.members).map(member).collect::<Result<_>>()?;
        let label = LabelScale { mean: label[0], std: label[1] };
        let model = Model::new(features, label, additive, members);
        Ok(Model { interactions, provenance: metadata.provenance, ..model })
    }

    fn tensors(&self) -> Result<Tensors<'_>> {
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(|error| self.unreadable(error.to_string()))?;
        Ok(Tensors { origin: self.path.display().to_string(), tensors })
    }

    fn unreadable(&self, problem: String) -> PredictorError {
        PredictorError::Unreadable { path: self.path.to_owned(), expected: "predictor", problem }
    }

    fn field(&self, field: &str, problem: String) -> PredictorError {
        PredictorError::Field { path: self.path.to_owned(), field: field.to_owned(), problem }
    }
}

struct Tensors<'a> {
    origin: String,
    tensors: SafeTensors<'a>,
}

impl Tensors<'_> {
    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8]> {
        let missing = || PredictorError::MissingTensor { origin: self.origin.clone(), tensor: name.to_owned() };
        let view = self.tensors.tensor(name).map_err(|_| missing())?;
        if view.dtype() != dtype {
            return Err(PredictorError::WrongType {
                origin: self.origin.clone(),
                tensor: name.to_owned(),
                got: format!("{:?}", view.dtype()),
            });
        }
        check_shape(&self.origin, name, view.shape(), shape)?;
        Ok(view.data())
    }

    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (values, _) = self.bytes(name, Dtype::F32, shape)?.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        check_finite(&self.origin, name, &values)?;
        Ok(values)
    }

    fn f64(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let (values, _) = self.bytes(name, Dtype::F64, shape)?.as_chunks::<8>();
        let values: Vec<f64> = values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        check_finite(&self.origin, name, &values)?;
        Ok(values)
    }
}

/// Refuses a shape that is not the expected one.
pub(crate) fn check_shape(origin: &str, tensor: &str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(PredictorError::WrongShape {
        origin: origin.to_owned(),
        tensor: tensor.to_owned(),
        got: got.to_vec(),
        expected: expected.to_vec(),
    })
}

/// Refuses NaN and infinity.
pub(crate) fn check_finite<T: Copy + Into<f64>>(origin: &str, tensor: &str, values: &[T]) -> Result<()> {
    match values.iter().position(|&value| !value.into().is_finite()) {
        None => Ok(()),
        Some(position) => Err(PredictorError::NotFinite {
            origin: origin.to_owned(),
            tensor: tensor.to_owned(),
            position,
            value: values[position].into(),
        }),
    }
}

#[cfg(test)]
#[path = "saved_tests.rs"]
mod tests;
