//! `build.yaml`: what a build does between training and search, and after them.
//!
//! ```yaml
//! schema: ofa.build/1
//! collect: { pairs: 400, seed: 0 }
//! fit: { model: ensemble }             # ensemble, additive, mlp, auto
//! calibrate: { steps: 600 }            # 0: no images for calibration without data
//! finetune: { epochs: 0, set: [] }     # each network trained on by itself; 0: as the supernet has it
//! export: { formats: [onnx, tflite] }
//! ```

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::BuildError;
use crate::error::Result;
use crate::folders::spaces::read_text;
use crate::stages::settings::{Collect, Finetune, Format, Model};

/// The name of the format.
pub const SCHEMA: &str = "ofa.build/1";
/// Pairs and updates beyond which a number is a slip.
const MOST: usize = 1_000_000;

/// The file, word for word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildFile {
    /// `ofa.build/1`.
    pub schema: String,
    /// What the predictor is fitted to.
    pub collect: Collect,
    /// How it is fitted.
    #[serde(default)]
    pub fit: Fit,
    /// The images that come with the bundle.
    #[serde(default)]
    pub calibrate: Calibrate,
    /// How each network is trained on.
    #[serde(default)]
    pub finetune: Finetune,
    /// The files of each network.
    #[serde(default)]
    pub export: Export,
}

/// How the predictor is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Its model.
    #[serde(default)]
    pub model: Model,
}

/// The images that come with the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibrate {
    /// Updates; 0 for no images.
    pub steps: usize,
}

impl Default for Calibrate {
    fn default() -> Self {
        Self { steps: 600 }
    }
}

/// The files of each network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Their kinds.
    pub formats: Vec<Format>,
}

/// The schema of the file.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(BuildFile).to_value()
}

impl BuildFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read; [`BuildError::File`] with line and column.
    pub fn read(path: &Path) -> Result<BuildFile> {
        Self::parse(&read_text(path)?).map_err(|problem| BuildError::File { path: path.to_path_buf(), problem }.into())
    }

    fn parse(text: &str) -> std::result::Result<BuildFile, String> {
        let file: BuildFile = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if file.schema != SCHEMA {
            return Err(format!("its schema is `{}`, but must be `{SCHEMA}`", file.schema));
        }
        let counts = [("collect.pairs", file.collect.pairs, 20), ("calibrate.steps", file.calibrate.steps, 0)];
        match counts.into_iter().find(|(_, count, least)| !(*least..=MOST).contains(count)) {
            Some((field, count, least)) => Err(format!("`{field}` is {count}, but must be {least} to {MOST}")),
            None => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual_and_what_is_wrong_is_named() {
        let file = BuildFile::parse("schema: ofa.build/1\ncollect: { pairs: 100 }\n").unwrap();
        assert_eq!((file.collect.seed, file.fit.model, file.calibrate.steps), (0, Model::Ensemble, 600));
        for (text, word) in [
            ("schema: ofa.build/2\ncollect: { pairs: 100 }\n", "`ofa.build/2`"),
            ("schema: ofa.build/1\ncollect: { pairs: 3 }\n", "`collect.pairs` is 3"),
            ("schema: ofa.build/1\ncollect: { pears: 100 }\n", "line 2"),
            ("schema: ofa.build/1\ncollect: { pairs: 100 }\nfit: { model: oracle }\n", "oracle"),
            ("schema: ofa.build/1\n", "collect"),
        ] {
            let problem = BuildFile::parse(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
