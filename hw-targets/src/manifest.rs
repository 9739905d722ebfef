//! The YAML beside a table (`ofa.table/1`) and the YAML of a target (`ofa.target/1`): what was measured, where, by
//! whom.
//!
//! Both share one set of fields; a table's manifest needs none but `schema`, and a target adds its `table` or fitted
//! models. Unknown fields are refused.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::accelerator::AcceleratorEntry;
use crate::cells::read_text;
use crate::cost::{Grade, Method, Scope};
use crate::error::HwError;
pub use crate::fitted_file::{ClassEntry, FittedEntry, RangeEntry, TransferEntry};
pub use crate::network_fit_file::NetworkFitEntry;
pub use crate::per_mac_file::PerMacEntry;
pub use crate::rounding::six_digits;
use network::units::Quantity;
use storage::atomic::write_atomically;

/// Schema of a table's manifest.
pub const TABLE_SCHEMA: &str = "ofa.table/1";
/// Schema of a target.
pub const TARGET_SCHEMA: &str = "ofa.target/1";

/// A bundle that a target uses when none is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultBundle {
    /// The search space.
    pub space: String,
    /// The bundle's name.
    pub bundle: String,
}

/// A measured device, as its file says. Every text field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// `ofa.table/1` or `ofa.target/1`.
    #[serde(alias = "schema_version")]
    pub schema: String,
    /// Name of the target.
    #[serde(alias = "device_id", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The device in words.
    #[serde(alias = "device_name", skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// System on chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soc: Option<String>,
    /// CPU cores, GPU, accelerator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_unit: Option<String>,
    /// Inference runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    /// fp32, fp16, int8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Images per inference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Clock or power mode.
    #[serde(alias = "power_mode", skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Ambient temperature, cooling, throttling.
    #[serde(alias = "thermal", skip_serializing_if = "Option::is_none")]
    pub ambient: Option<String>,
    /// Who measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Where the measurements are published.
    #[serde(alias = "source_url", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Revision of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Digest of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Licence of the measurements.
    #[serde(alias = "license", skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What the energies include.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_scope: Option<String>,
    /// Power of the idle device in watts.
    #[serde(rename = "idle_power_W", skip_serializing_if = "Option::is_none")]
    pub idle_power_w: Option<f64>,
    /// `sum` or `sum+const`: how a network is made of its operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composition: Option<String>,
    /// Added once per network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub const_latency_ms: Option<f64>,
    /// Added once per network.
    #[serde(rename = "const_energy_mJ", skip_serializing_if = "Option::is_none")]
    pub const_energy_mj: Option<f64>,
    /// Memory for activations and buffers, with its unit: `320KiB`. A ceiling on the peak memory of networks.
    #[serde(deserialize_with = "text_of_scalar", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sram: Option<String>,
    /// Memory for weights, with its unit: `1MiB`. A ceiling on the flash of networks.
    #[serde(deserialize_with = "text_of_scalar", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub flash: Option<String>,
    /// Bundles to use when none is named, the preferred one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<DefaultBundle>,
    /// The table, as a path from the manifest's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How latency is answered; absent = by the table, if it has latencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<QuantityEntry>,
    /// How energy is answered; absent = by the table, if it has energies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<QuantityEntry>,
    /// Anything a user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How one quantity is answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantityEntry {
    /// One sentence that is printed with every number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// How the number came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What the method stands on, itself a method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// What it includes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How far to trust it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<String>,
    /// Error common to all networks, one sigma, as a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_rel: Option<f64>,
    /// The error as a factor, where that says it better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Energy = latency × this power in watts.
    #[serde(rename = "power_W", skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Energy counted on an accelerator, whose description must state its `unit_pJ`: one that ships, by its name; one's
    /// own, as a path from the manifest's folder, or in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrMapping>")]
    pub accelerator: Option<AcceleratorEntry>,
    /// A fitted model; beside a table, it answers for operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<FittedEntry>,
    /// A model fitted to whole networks; it stands alone, or answers for operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_fit: Option<NetworkFitEntry>,
    /// One number per multiply-accumulate, fitted to a handful of whole networks; it stands alone, or answers for
    /// operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_mac: Option<PerMacEntry>,
    /// What brings the sums closest to networks measured whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
}

/// network = scale × (sum and constant) + offset, fitted to networks measured whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Without unit, above zero.
    pub scale: f64,
    /// In milliseconds or millijoules; may be negative.
    pub offset: f64,
    /// Networks it was fitted to.
    pub networks: usize,
    /// Mean absolute relative error when each network is corrected by a fit to all others.
    pub mape: f64,
}

/// What a schema says of an accelerator, whose description is checked when it is read.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "stands for its schema")]
enum NameOrMapping {
    /// A shipped accelerator, or the path of a description.
    Name(String),
    /// A description.
    Mapping(BTreeMap<String, serde_json::Value>),
}

impl Correction {
    /// Fewest networks, and the largest error they may be off by, that validate a target end to end.
    const VALIDATION: (usize, f64) = (20, 0.1);

    /// Whether the networks behind it say that the corrected answers can be trusted: 20 of them, off by at most 10 % in
    /// the mean when each is corrected by a fit to all others. The limits are a judgement.
    pub(crate) fn is_validation(&self) -> bool {
        self.networks >= Self::VALIDATION.0 && self.mape <= Self::VALIDATION.1
    }

    /// Standard deviation of one network, as a fraction: that of a normal distribution with this mean absolute error.
    pub fn rel_error(&self) -> f64 {
        (std::f64::consts::PI / 2.0).sqrt() * self.mape
    }
}

/// Text that YAML may take for a number: `320` is refused later for its missing unit, which says more than its type.
fn text_of_scalar<'de, D: Deserializer<'de>>(file: D) -> Result<Option<String>, D::Error> {
    match serde_yaml::Value::deserialize(file)? {
        serde_yaml::Value::Null => Ok(None),
        serde_yaml::Value::String(text) => Ok(Some(text)),
        serde_yaml::Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("is not a number with its unit, such as 320KiB")),
    }
}

impl QuantityEntry {
    /// Whether a fitted model of any kind answers.
    pub fn has_fit(&self) -> bool {
        self.fitted.is_some() || self.network_fit.is_some() || self.per_mac.is_some()
    }

    pub(crate) fn method(&self, path: &Path, field: &str) -> Result<Option<Method>, HwError> {
        word(path, &format!("{field}.method"), self.method.as_deref(), Method::parse, Method::WORDS)
    }

    pub(crate) fn basis(&self, path: &Path, field: &str) -> Result<Option<Method>, HwError> {
        word(path, &format!("{field}.basis"), self.basis.as_deref(), Method::parse, Method::WORDS)
    }

    pub(crate) fn scope(&self, path: &Path, field: &str) -> Result<Option<Scope>, HwError> {
        word(path, &format!("{field}.scope"), self.scope.as_deref(), Scope::parse, Scope::WORDS)
    }

    pub(crate) fn grade(&self, path: &Path, field: &str) -> Result<Option<Grade>, HwError> {
        word(path, &format!("{field}.grade"), self.grade.as_deref(), Grade::parse, Grade::WORDS)
    }
}

/// Reads a word of a closed set.
pub(crate) fn word<T>(
    path: &Path,
    field: &str,
    text: Option<&str>,
    parse: fn(&str) -> Option<T>,
    known: &str,
) -> Result<Option<T>, HwError> {
    let Some(text) = text else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| HwError::BadField {
        path: path.to_path_buf(),
        field: field.to_string(),
        problem: format!("{text:?} is none of: {}", known.trim_end()),
    })
}

impl Manifest {
    /// How energy or latency is answered, if it says; `None` for any other quantity.
    pub fn entry(&self, quantity: Quantity) -> Option<&QuantityEntry> {
        match quantity {
            Quantity::Latency => self.latency.as_ref(),
            Quantity::Energy => self.energy.as_ref(),
            _ => None,
        }
    }

    /// The entry of a quantity, to be changed; made where there is none.
    ///
    /// # Panics
    /// For any quantity but energy and latency.
    pub(crate) fn entry_mut(&mut self, quantity: Quantity) -> &mut QuantityEntry {
        let entry = match quantity {
            Quantity::Latency => &mut self.latency,
            Quantity::Energy => &mut self.energy,
            other => panic!("{other} has no entry"),
        };
        entry.get_or_insert_default()
    }

    /// Reads YAML text; `path` is for the message.
    ///
    /// # Errors
    /// [`HwError::Malformed`] for the YAML or an unknown field, [`HwError::BadField`] for another schema or a value
    /// that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        let manifest: Self = serde_yaml::from_str(text).map_err(|error| HwError::Malformed {
            path: path.to_path_buf(),
            format: "YAML",
            problem: error.to_string(),
        })?;
        let bad = |field: &str, problem: String| {
            Err(HwError::BadField { path: path.to_path_buf(), field: field.to_string(), problem })
        };
        if ![TABLE_SCHEMA, TARGET_SCHEMA].contains(&manifest.schema.as_str()) {
            return bad("schema", format!("{:?} is neither {TABLE_SCHEMA} nor {TARGET_SCHEMA}", manifest.schema));
        }
        let entries = [("latency", &manifest.latency), ("energy", &manifest.energy)];
        for (field, value) in entries.iter().flat_map(|(name, entry)| {
            let entry = entry.as_ref();
            [
                (format!("{name}.common_rel"), entry.and_then(|entry| entry.common_rel)),
                (format!("{name}.factor"), entry.and_then(|entry| entry.factor)),
                (format!("{name}.power_W"), entry.and_then(|entry| entry.power_w)),
            ]
        }) {
            if value.is_some_and(|value| !(value.is_finite() && value > 0.0)) {
                return bad(&field, "must be above zero".to_string());
            }
        }
        for (name, entry) in entries {
            let Some(correction) = entry.as_ref().and_then(|entry| entry.correction) else { continue };
            if !(correction.scale.is_finite() && correction.scale > 0.0) {
                return bad(&format!("{name}.correction.scale"), "must be above zero".to_string());
            }
            if correction.networks == 0 {
                return bad(&format!("{name}.correction.networks"), "must be at least one".to_string());
            }
            if !(correction.mape.is_finite() && correction.mape >= 0.0) {
                return bad(&format!("{name}.correction.mape"), "must be at or above zero".to_string());
            }
            if !correction.offset.is_finite() {
                return bad(&format!("{name}.correction.offset"), "is not finite".to_string());
            }
        }
        let constants = [
            ("const_latency_ms", manifest.const_latency_ms),
            ("const_energy_mJ", manifest.const_energy_mj),
            ("idle_power_W", manifest.idle_power_w),
        ];
        for (field, value) in constants {
            if value.is_some_and(|value| !(value.is_finite() && value >= 0.0)) {
                return bad(field, "must be at or above zero".to_string());
            }
        }
        let has_constant = manifest.const_latency_ms.or(manifest.const_energy_mj).is_some();
        match manifest.composition.as_deref() {
            None | Some("sum+const") => {}
            Some("sum") if !has_constant => {}
            Some("sum") => return bad("composition", "is sum, and yet there is a constant: write sum+const".into()),
            Some(other) => return bad("composition", format!("{other:?} is neither sum nor sum+const")),
        }
        Ok(manifest)
    }

    /// Reads a YAML file. An accelerator that it gives by a path is read with it and stands in place of the path.
    ///
    /// # Errors
    /// As [`Manifest::parse`], those of reading the file, and those of the accelerator's file;
    /// [`HwError::BadField`] if that one is not there.
    pub fn read(path: &Path) -> Result<Self, HwError> {
        let mut manifest = Self::parse(path, &read_text(path, "YAML")?)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(energy) = &mut manifest.energy {
            let resolved = energy.accelerator.take().map(|entry| entry.resolved(folder)).transpose();
            energy.accelerator = resolved.map_err(|error| match error {
                HwError::NotFound { path: absent } => HwError::BadField {
                    path: path.to_path_buf(),
                    field: "energy.accelerator".to_string(),
                    problem: format!(
                        "there is no file {}; its path is taken from this file's folder",
                        absent.display()
                    ),
                },
                other => other,
            })?;
        }
        Ok(manifest)
    }

    /// The file's text.
    pub fn to_yaml(&self) -> String {
        // The struct has only strings, numbers and lists of them, which always serialise.
        serde_yaml::to_string(self).unwrap_or_default()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`HwError::Io`] if the operating system refuses.
    pub fn write(&self, path: &Path) -> Result<(), HwError> {
        write_atomically(path, |file| file.write_all(self.to_yaml().as_bytes()))
            .map_err(|source| HwError::Io { path: path.to_path_buf(), source })
    }
}
