//! The YAML beside a table (`ofa.table/1`) and the YAML of a target (`ofa.target/1`): what was measured, where, by
//! whom.
//!
//! Both share one set of fields; a table's manifest needs none but `schema`, and a target adds its `table` or fitted
//! models. Unknown fields are refused.

mod fitted;
mod network_fit;
mod per_mac;
mod quantity;

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::HwError;
pub use crate::rounding::six_digits;
pub use fitted::{ClassEntry, FittedEntry, RangeEntry, TransferEntry};
use network::units::Measured;
pub use network_fit::NetworkFitEntry;
pub use per_mac::PerMacEntry;
pub(crate) use quantity::word;
pub use quantity::{Correction, QuantityEntry, Source};
use storage::atomic::write_atomically;
use storage::file::{FileError, read_text};

/// Schema of a table's manifest.
pub const TABLE_SCHEMA: &str = "ofa.table/1";
/// Schema of a target.
pub const TARGET_SCHEMA: &str = "ofa.target/1";

/// The composition of a table whose rows are bare layers.
pub(crate) const LAYERS: &str = "layers";

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
    /// `sum` or `sum+const`: how a network is made of its operators; `layers` for a table of bare convolutions and linear
    /// layers, of which a network is the sum, whatever stands between them.
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

/// Text that YAML may take for a number: `320` is refused later for its missing unit, which says more than its type.
fn text_of_scalar<'de, D: Deserializer<'de>>(file: D) -> Result<Option<String>, D::Error> {
    match serde_yaml::Value::deserialize(file)? {
        serde_yaml::Value::Null => Ok(None),
        serde_yaml::Value::String(text) => Ok(Some(text)),
        serde_yaml::Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("is not a number with its unit, such as 320KiB")),
    }
}

impl Manifest {
    /// How energy or latency is answered, if it says.
    pub fn entry(&self, quantity: Measured) -> Option<&QuantityEntry> {
        match quantity {
            Measured::Latency => self.latency.as_ref(),
            Measured::Energy => self.energy.as_ref(),
        }
    }

    /// The entry of a quantity, to be changed; made where there is none.
    pub(crate) fn entry_mut(&mut self, quantity: Measured) -> &mut QuantityEntry {
        let entry = match quantity {
            Measured::Latency => &mut self.latency,
            Measured::Energy => &mut self.energy,
        };
        entry.get_or_insert_default()
    }

    /// Who measured `quantity`, if it says.
    pub fn measured_by(&self, quantity: Measured) -> Option<&str> {
        self.entry(quantity).and_then(|entry| entry.measured_by.as_deref()).or(self.measured_by.as_deref())
    }

    /// Reads YAML text; `path` is for the message.
    ///
    /// # Errors
    /// [`FileError::Malformed`] for the YAML or an unknown field, [`HwError::BadField`] for another schema or a value
    /// that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        let manifest: Self =
            serde_yaml::from_str(text).map_err(|error| FileError::malformed(path, "YAML", error.to_string()))?;
        let bad = |field: &str, problem: String| {
            Err(HwError::BadField { path: path.to_path_buf(), field: field.to_string(), problem })
        };
        if ![TABLE_SCHEMA, TARGET_SCHEMA].contains(&manifest.schema.as_str()) {
            return bad("schema", format!("{:?} is neither {TABLE_SCHEMA} nor {TARGET_SCHEMA}", manifest.schema));
        }
        for quantity in Measured::ALL {
            manifest.entry(quantity).map_or(Ok(()), |entry| entry.check(path, quantity))?;
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
            Some(LAYERS) if !has_constant => {}
            Some(LAYERS) => return bad("composition", "is layers, which a constant cannot be added to".into()),
            Some(other) => return bad("composition", format!("{other:?} is none of sum, sum+const and layers")),
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
                HwError::File(FileError::NotFound { path: absent }) => HwError::BadField {
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
    /// [`FileError::Io`] if the operating system refuses.
    pub fn write(&self, path: &Path) -> Result<(), HwError> {
        write_atomically(path, |file| file.write_all(self.to_yaml().as_bytes()))
            .map_err(|source| FileError::io(path, source).into())
    }
}
