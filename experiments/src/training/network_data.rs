//! A network's folder with images, divided: to train it on, or to judge what is made of it.

use std::collections::BTreeMap;
use std::path::Path;

use network::shape::NetworkShape;
use network::weights::{Array, Weights};
use serde_json::Value;
use storage::arrays::HostArray;
use supernet::data::{DataSource, Division, ImageSet, Loaded, Preprocessing, PreprocessingFile, TrainedOn};
use supernet::tensors::{from_tensor, to_tensor};
use supernet::train::FineTuner;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::folders::image_settings::options;
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::torch::{MeasuredPart, Progress};
use crate::training::test_part::{TestPart, test_part};

/// A network and the images it is used with.
pub(crate) struct NetworkData {
    /// Its layers.
    pub shape: NetworkShape,
    /// Their weights.
    pub weights: Weights,
    /// How images become its input.
    pub preprocessing: Preprocessing,
    /// In the order of its outputs.
    pub class_names: Vec<String>,
    /// What it is trained with.
    pub train: ImageSet,
    /// What decides.
    pub held_out: ImageSet,
    /// What only reports look at.
    pub test: TestPart,
    /// For whoever measures it later.
    pub trained_on: TrainedOn,
}

impl NetworkData {
    /// The network in `folder` with the images of `data`, divided as they were where the network knows them, else by
    /// `held_out` and `seed`. `progress` hears what there is to say about either.
    ///
    /// # Errors
    /// A damaged folder, no word on how images become its input, images that cannot be read or do not fit.
    pub(crate) fn load(
        folder: &Path,
        data: &DataSource,
        held_out: Option<usize>,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let NetworkFolder { shape, weights, mixed } = NetworkFolder::read(folder)?;
        mixed.iter().for_each(|warning| progress.note(warning));
        let file = folder.join(names::PREPROCESSING);
        if !file.exists() {
            let reason = "is missing, so nothing says how images become this network's input";
            return Err(Error::FileInFolder { path: file, reason: reason.into() });
        }
        let described = PreprocessingFile::read(&file)?;
        let preprocessing = described.preprocessing();
        let known = options(&preprocessing, &described.class_names, shape.output().channels as usize);
        let Loaded { images: all, notes } = data.train(&known)?;
        notes.iter().for_each(|note| progress.note(note));
        let class_names = all.class_names().to_vec();
        let before = described.trained_on.as_ref();
        let is_known = before.map_or(Ok(false), |before| before.are(&all))?;
        let division = match before.filter(|_| is_known) {
            Some(before) => {
                Division { held_out: before.held_out.or(held_out), seed: before.seed, splits_test: before.splits_test }
            }
            None => Division { held_out, seed, splits_test: !data.has_test_part()? },
        };
        let trained_on = TrainedOn::new(&all, division.splits_test, division.seed)?;
        let divided = division.divide(all)?;
        let trained_on = TrainedOn { held_out: Some(divided.held_out.len()), ..trained_on };
        let test = match divided.test {
            Some(images) => TestPart { images, part: MeasuredPart::Test, notes: Vec::new() },
            None => test_part(data, &known, Some(&trained_on))?,
        };
        test.notes.iter().for_each(|note| progress.note(note));
        let (train, held_out) = (divided.train, divided.held_out);
        Ok(Self { shape, weights, preprocessing, class_names, train, held_out, test, trained_on })
    }
}

/// What the folder says of where its network comes from, but for digests of its files.
pub(crate) fn origin_of(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join(names::NETWORK)).ok();
    let mut origin = text
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .and_then(|mut file| Some(file.get_mut("origin")?.take()))
        .unwrap_or(Value::Null);
    if let Some(origin) = origin.as_object_mut() {
        origin.remove("files");
    }
    origin
}

/// As LibTorch has them.
pub(crate) fn tensors_of(weights: &Weights) -> BTreeMap<String, Tensor> {
    let tensor = |array: &Array| to_tensor(&HostArray::from_f32(&array.shape, &array.values));
    weights.arrays().iter().map(|(name, array)| (name.clone(), tensor(array))).collect()
}

/// What `tuner` made of the weights of `shape`.
///
/// # Errors
/// A weight that is not finite.
pub(crate) fn weights_of(shape: &NetworkShape, tuner: &FineTuner<'_>) -> Result<Weights> {
    let array = |(name, tensor): (String, Tensor)| {
        let host = from_tensor(&tensor);
        let values = host.to_f32().expect("float32 weights");
        (name, Array { shape: host.shape().to_vec(), values })
    };
    let arrays = tuner.network().tensors().into_iter().map(array).collect();
    Weights::new(shape, arrays)
        .map_err(|error| Error::FileInFolder { path: names::WEIGHTS.into(), reason: error.to_string() })
}
