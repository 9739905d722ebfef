//! The formats of files that are read and written, and the JSON Schema of each: for editors, and for programs that write
//! such files.
//!
//! Schemas are made from the very types that files are read into; where a reader is written by hand, so is its schema.
//! Readers check more than a schema can say.

use hw_targets::schema as targets;
use network::shape_file;
use search::schema as spaces;
use serde_json::Value;

use crate::error::Result;
use crate::{build, sweep};

/// A format of files.
#[derive(Clone, Copy, Debug)]
pub struct FileFormat {
    /// What the format is called here.
    pub name: &'static str,
    /// What such files are called, or what they end in.
    pub file: &'static str,
    /// What `schema` says in the file; empty where it says nothing.
    pub word: &'static str,
    /// What such a file is.
    pub about: &'static str,
    make: fn() -> Result<Value>,
}

impl FileFormat {
    /// Its JSON Schema (draft 2020-12).
    ///
    /// # Errors
    /// [`crate::error::Error::NoTorch`] for formats of the training, where there is no LibTorch.
    pub fn schema(&self) -> Result<Value> {
        let mut schema = (self.make)()?;
        if !self.word.is_empty() {
            schema["title"] = self.word.into();
            if schema["properties"]["schema"].is_object() && !self.word.contains(' ') {
                schema["properties"]["schema"]["const"] = self.word.into();
            }
        }
        Ok(schema)
    }
}

/// All of them, in the order in which a user meets them.
pub const ALL: [FileFormat; 14] = [
    FileFormat {
        name: "recipe",
        file: "recipe.yaml",
        word: "ofa.recipe/1",
        about: "how a supernet is trained",
        make: recipe,
    },
    FileFormat {
        name: "finetune",
        file: "YAML of `finetune --recipe`",
        word: "ofa.finetune/1",
        about: "how a network is trained on",
        make: finetune,
    },
    FileFormat {
        name: "space",
        file: "space.yaml",
        word: "ofa.space/1",
        about: "what networks are chosen from",
        make: || Ok(spaces::space()),
    },
    FileFormat {
        name: "subnet",
        file: "subnet.json, a line of subnets.jsonl",
        word: "ofa.subnet/1",
        about: "one network of a space",
        make: || Ok(spaces::subnet()),
    },
    FileFormat {
        name: "sweep",
        file: "sweep.yaml",
        word: "ofa.sweep/1",
        about: "many searches as one",
        make: || Ok(sweep::schema::schema()),
    },
    FileFormat {
        name: "build",
        file: "build.yaml",
        word: "ofa.build/1",
        about: "what a build does beside its sweep",
        make: || Ok(build::file::schema()),
    },
    FileFormat {
        name: "target",
        file: "YAML of a target, or beside a table",
        word: "ofa.target/1 or ofa.table/1",
        about: "a device and how its costs are answered",
        make: || Ok(targets::manifest()),
    },
    FileFormat {
        name: "row",
        file: "a row of a table of operators",
        word: "",
        about: "an operator and what was measured of it",
        make: || Ok(targets::table_row()),
    },
    FileFormat {
        name: "accelerator",
        file: "YAML of `target energy --accelerator`",
        word: "ofa.accelerator/1",
        about: "an accelerator on which energy is counted",
        make: || Ok(targets::accelerator()),
    },
    FileFormat {
        name: "network",
        file: "network.json",
        word: shape_file::SCHEMA,
        about: "a network with absolute shapes",
        make: || Ok(shape_file::schema()),
    },
    FileFormat {
        name: "preprocessing",
        file: "preprocessing.json",
        word: "ofa.preprocessing/1",
        about: "how to feed a network",
        make: preprocessing,
    },
    FileFormat { name: "run", file: "run.json", word: "ofa.run/1", about: "what a training was made by", make: run },
    FileFormat {
        name: "energy",
        file: "energy.json",
        word: "ofa.training-energy/1",
        about: "what a training cost",
        make: energy,
    },
    FileFormat {
        name: "built",
        file: "networks.json",
        word: "ofa.built/1",
        about: "the networks of a build",
        make: || Ok(build::networks::schema()),
    },
];

#[cfg(feature = "torch")]
fn recipe() -> Result<Value> {
    Ok(schemars::schema_for!(crate::folders::recipe_file::Recipe).to_value())
}

#[cfg(feature = "torch")]
fn finetune() -> Result<Value> {
    Ok(schemars::schema_for!(crate::folders::finetune_recipe::FineTuneRecipe).to_value())
}

#[cfg(feature = "torch")]
fn preprocessing() -> Result<Value> {
    Ok(schemars::schema_for!(supernet::data::PreprocessingFile).to_value())
}

#[cfg(feature = "torch")]
fn run() -> Result<Value> {
    Ok(crate::folders::run_file::schema())
}

#[cfg(feature = "torch")]
fn energy() -> Result<Value> {
    Ok(crate::training::energy::schema())
}

#[cfg(not(feature = "torch"))]
use self::missing::{energy, finetune, preprocessing, recipe, run};

/// Formats of the training, where nobody can train.
#[cfg(not(feature = "torch"))]
mod missing {
    use super::{Result, Value};
    use crate::error::Error;

    pub(super) fn missing() -> Result<Value> {
        Err(Error::NoTorch { what: "a schema of the training's files" })
    }

    pub(super) use {
        missing as energy, missing as finetune, missing as preprocessing, missing as recipe, missing as run,
    };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use search::space::SearchSpace;
    use serde_json::json;

    use super::*;

    fn validator(name: &str) -> Option<jsonschema::Validator> {
        let schema = ALL.iter().find(|format| format.name == name).unwrap().schema().ok()?;
        Some(jsonschema::validator_for(&schema).unwrap())
    }

    #[track_caller]
    fn accepts(validator: &jsonschema::Validator, what: &str, value: &Value) {
        let problems: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(problems.is_empty(), "{what}: {problems:?}");
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn files(folder: &str) -> Vec<(String, Value)> {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let yaml = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
        yaml.map(|path| (path.display().to_string(), serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()))
            .collect()
    }

    /// Formats, and the folders of files that ship with them.
    #[test]
    fn files_that_ship_are_accepted_and_odd_fields_refused() {
        for (name, folder, least) in [
            ("recipe", "experiments/recipes", 5),
            ("space", "search/spaces", 6),
            ("target", "hw-targets/targets", 23),
            ("accelerator", "hw-targets/accelerators", 2),
        ] {
            let Some(validator) = validator(name) else { continue };
            let files = files(folder);
            assert!(files.len() >= least, "{folder}");
            for (path, mut value) in files {
                accepts(&validator, &path, &value);
                value["no_such_field"] = json!(1);
                assert!(!validator.is_valid(&value), "{path}");
            }
        }
        for bundle in ["mcu-cifar", "fbnet-cifar"] {
            let folder = root().join("experiments/zoo").join(bundle);
            for (name, file) in [
                ("recipe", "recipe.yaml"),
                ("space", "space.yaml"),
                ("preprocessing", "preprocessing.json"),
                ("energy", "energy.json"),
            ] {
                let (Some(validator), Ok(text)) = (validator(name), fs::read_to_string(folder.join(file))) else {
                    continue;
                };
                accepts(&validator, file, &serde_yaml::from_str(&text).unwrap());
            }
        }
    }

    #[test]
    fn what_is_written_is_accepted() {
        let subnet = validator("subnet").unwrap();
        for name in SearchSpace::builtin_names() {
            let space = SearchSpace::builtin(name).unwrap();
            let largest = space.largest(*space.resolutions().last().unwrap()).unwrap();
            accepts(&subnet, name, &space.to_subnet_json(&largest));
            accepts(&subnet, name, &space.to_genome_json(&largest));
            let written: Value = serde_yaml::from_str(&space.to_yaml()).unwrap();
            accepts(&validator("space").unwrap(), name, &written);
        }
        assert!(!subnet.is_valid(&json!({"schema": "ofa.subnet/1", "space": "s", "resolution": 32})));
        let network = build::networks::tests::network("net-01", 1.0, 0.5);
        accepts(&validator("built").unwrap(), "networks.json", &build::networks::json("it", &[network]));
    }

    /// Files as documents show them.
    #[test]
    fn files_in_documents_are_accepted() {
        let mut count = 0;
        for entry in fs::read_dir(root().join("docs")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                let value: Value = serde_yaml::from_str(block).unwrap();
                let Some(format) = ALL.iter().find(|format| value["schema"] == format.word) else { continue };
                let Some(validator) = validator(format.name) else { continue };
                accepts(&validator, block, &value);
                count += 1;
            }
        }
        assert!(count >= 2, "{count}");
        let sweep = validator("sweep").unwrap();
        let odd = json!({"schema": "ofa.sweep/1", "targets": "pixel3", "budgets": [{"watts": "3"}]});
        assert!(!sweep.is_valid(&odd) && !sweep.is_valid(&json!({"schema": "ofa.sweep/1"})));
        let build = validator("build").unwrap();
        accepts(&build, "build.yaml", &json!({"schema": "ofa.build/1", "collect": {"pairs": 400}}));
        assert!(!build.is_valid(&json!({"schema": "ofa.build/1", "collect": {"pears": 400}})));
    }

    #[test]
    fn fields_are_described_for_users() {
        for format in ALL {
            let Ok(schema) = format.schema() else { continue };
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{}", format.name);
            let text = schema.to_string();
            assert!(!["crate::", "[`", "]: "].iter().any(|odd| text.contains(odd)), "{}: {text}", format.name);
        }
    }
}
