//! What an accelerator has and what its accesses cost (`ofa.accelerator/1`).

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::HwError;
use storage::file::{FileError, read_text};
use storage::names::nearest;

const SCHEMA: &str = "ofa.accelerator/1";

/// Shipped descriptions: name and YAML.
const BUILTIN: [(&str, &str); 2] = [
    ("eyeriss", include_str!("../../accelerators/eyeriss.yaml")),
    ("eyeriss-isca16", include_str!("../../accelerators/eyeriss-isca16.yaml")),
];

/// Arrays above this are no single chip, and the mapping search would take long.
const MOST_PES: u64 = 65_536;
/// Of a register file, in bytes.
const MOST_REGISTERS: u64 = 1 << 16;
/// Of a global buffer, in bytes.
const MOST_BUFFER: u64 = 1 << 28;

/// What an accelerator does with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparsity {
    /// Nothing: every operand is stored, moved and multiplied.
    None,
    /// Every entry carries one bit that says whether it is zero; a zero has no value to store, and a multiplication
    /// with one reads only these bits (Asilomar 2017, Section III). A tensor goes to DRAM without the bits where that
    /// is shorter.
    SignificanceMap,
}

/// Height and width of the array of processing elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeArray {
    /// Rows of PEs: a filter may not be higher.
    pub height: u64,
    /// Columns of PEs: wider sets are folded.
    pub width: u64,
}

/// Energy of one access to a 16-bit word at each level, and of one 16-bit multiply-accumulate, all in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessEnergy {
    /// One 16-bit multiply-accumulate.
    pub(super) mac: f64,
    /// A word from or to a processing element's own registers.
    pub(super) register_file: f64,
    /// A word between processing elements.
    pub(super) array: f64,
    /// A word from or to the global buffer.
    pub(super) global_buffer: f64,
    /// A word from or to DRAM.
    pub(super) dram: f64,
}

/// An accelerator as another file names it: one that ships, one's own by the path of its YAML, or the content of such a
/// file in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "not the name of an accelerator, the path of its description, or a description (ofa.accelerator/1)"
)]
pub enum AcceleratorEntry {
    /// A name or, in a file that is not read yet, a path from that file's folder.
    Named(String),
    /// The description itself.
    Described(serde_yaml::Mapping),
}

impl AcceleratorEntry {
    /// The description without a path: the content of the file that a path names stands in its place, so that the whole can be
    /// kept anywhere. `folder` is that of the file which names it.
    ///
    /// # Errors
    /// [`FileError::NotFound`] for a file that is not there; those of [`Accelerator::parse`].
    pub(crate) fn resolved(self, folder: &Path) -> Result<Self, HwError> {
        let AcceleratorEntry::Named(name) = &self else { return Ok(self) };
        let path = folder.join(name);
        if Accelerator::builtin(name).is_ok() || !(path.is_file() || is_yaml(Path::new(name))) {
            return Ok(self);
        }
        let text = read_text(&path, "YAML")?;
        Accelerator::parse(&path, &text)?;
        let mapping = serde_yaml::from_str(&text).map_err(|error| malformed(&path, &error))?;
        Ok(AcceleratorEntry::Described(mapping))
    }

    /// The accelerator; `path` is that of the file with the entry, for errors about a description.
    ///
    /// # Errors
    /// [`HwError::UnknownAccelerator`] for a name that does not ship; those of [`Accelerator::parse`].
    pub(crate) fn accelerator(&self, path: &Path) -> Result<Accelerator, HwError> {
        match self {
            AcceleratorEntry::Named(name) => Accelerator::builtin(name),
            AcceleratorEntry::Described(mapping) => {
                let value = serde_yaml::Value::Mapping(mapping.clone());
                Accelerator::of(path, serde_yaml::from_value(value).map_err(|error| malformed(path, &error))?)
            }
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

fn malformed(path: &Path, error: &serde_yaml::Error) -> HwError {
    FileError::malformed(path, SCHEMA, error.to_string()).into()
}

/// A row-stationary accelerator. Made by [`Accelerator::parse`], which checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Accelerator {
    name: String,
    device: String,
    pes: u64,
    array: Option<PeArray>,
    register_bits: u64,
    buffer_bits: u64,
    sparsity: Sparsity,
    unit_joules: Option<f64>,
    notes: Vec<String>,
    pub(super) energy: AccessEnergy,
}

/// A row-stationary accelerator as its file describes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcceleratorFile {
    /// `ofa.accelerator/1`.
    schema: String,
    /// What it is called.
    name: String,
    /// The device in words.
    #[serde(default)]
    device: String,
    /// Where the numbers come from; for the reader only.
    #[serde(default, rename = "source")]
    _source: String,
    /// `row-stationary`, the only one that is known.
    dataflow: String,
    /// Processing elements.
    processing_elements: u64,
    /// How they stand, where filters and rows have to fit the array.
    array: Option<PeArray>,
    /// Registers of each processing element.
    register_file_bytes: u64,
    /// The buffer that all of them share.
    global_buffer_bytes: u64,
    /// How zeros are stored and skipped.
    sparsity: String,
    /// What an access to each level takes, in one unit.
    energy: AccessEnergy,
    /// That unit in picojoules; without it energies are counted but not told in joules.
    #[serde(rename = "unit_pJ")]
    unit_pj: Option<f64>,
    /// Anything a user should know.
    #[serde(default)]
    notes: Vec<String>,
}

/// The schema of an accelerator's file.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(AcceleratorFile).to_value()
}

impl Accelerator {
    /// Names of the shipped descriptions.
    pub fn builtin_names() -> Vec<&'static str> {
        BUILTIN.iter().map(|(name, _)| *name).collect()
    }

    /// A shipped description.
    ///
    /// # Errors
    /// [`HwError::UnknownAccelerator`] with the nearest names.
    pub fn builtin(name: &str) -> Result<Self, HwError> {
        match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::parse(&PathBuf::from(format!("accelerators/{name}.yaml")), text),
            None => Err(HwError::UnknownAccelerator {
                name: name.to_string(),
                nearest: nearest(name, Self::builtin_names()),
                known: Self::builtin_names(),
            }),
        }
    }

    /// A shipped description by its name, or one's own by the path of its YAML.
    ///
    /// # Errors
    /// [`HwError::UnknownAccelerator`], [`FileError::NotFound`], those of reading the file and of
    /// [`Accelerator::parse`].
    pub fn find(name: &str) -> Result<Self, HwError> {
        let path = Path::new(name);
        match Self::builtin(name) {
            Err(_) if path.is_file() => Self::parse(path, &read_text(path, "YAML")?),
            Err(_) if is_yaml(path) => Err(FileError::not_found(path).into()),
            found => found,
        }
    }

    /// Reads YAML; `path` only names it in errors. Unknown fields are refused.
    ///
    /// # Errors
    /// [`FileError::Malformed`] for what is not such a file, [`HwError::BadField`] for a value that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self, HwError> {
        Self::of(path, serde_yaml::from_str(text).map_err(|error| malformed(path, &error))?)
    }

    fn of(path: &Path, file: AcceleratorFile) -> Result<Self, HwError> {
        let bad = |field: &str, problem: String| HwError::BadField { path: path.into(), field: field.into(), problem };
        if file.schema != SCHEMA {
            return Err(bad("schema", format!("{:?} is not {SCHEMA}, which this program reads", file.schema)));
        }
        if file.name.trim().is_empty() {
            return Err(bad("name", "is empty; give the accelerator a name".into()));
        }
        if file.dataflow != "row-stationary" {
            let problem = format!("{:?} is not modelled; write row-stationary", file.dataflow);
            return Err(bad("dataflow", problem));
        }
        for (field, value, most) in [
            ("processing_elements", file.processing_elements, MOST_PES),
            ("register_file_bytes", file.register_file_bytes, MOST_REGISTERS),
            ("global_buffer_bytes", file.global_buffer_bytes, MOST_BUFFER),
        ] {
            if !(1..=most).contains(&value) {
                return Err(bad(field, format!("is {value}; write a number from 1 to {most}")));
            }
        }
        if let Some(PeArray { height, width }) = file.array
            && height.checked_mul(width) != Some(file.processing_elements)
        {
            let pes = file.processing_elements;
            let problem = format!("{height} x {width} is not the number of processing_elements, {pes}; correct one");
            return Err(bad("array", problem));
        }
        let energy = file.energy;
        for (field, value) in [
            ("energy.mac", energy.mac),
            ("energy.register_file", energy.register_file),
            ("energy.array", energy.array),
            ("energy.global_buffer", energy.global_buffer),
            ("energy.dram", energy.dram),
        ] {
            if !(0.0..=1e12).contains(&value) {
                return Err(bad(field, format!("is {value}; write a number from 0 to 1e12")));
            }
        }
        if let Some(unit) = file.unit_pj
            && !(unit > 0.0 && unit <= 1e12)
        {
            return Err(bad("unit_pJ", format!("is {unit}; write the picojoules of one unit, above 0")));
        }
        let sparsity = match file.sparsity.as_str() {
            "none" => Sparsity::None,
            "significance-map" => Sparsity::SignificanceMap,
            other => return Err(bad("sparsity", format!("{other:?} is neither none nor significance-map"))),
        };
        Ok(Self {
            name: file.name,
            device: file.device,
            pes: file.processing_elements,
            array: file.array,
            register_bits: 8 * file.register_file_bytes,
            buffer_bits: 8 * file.global_buffer_bytes,
            sparsity,
            unit_joules: file.unit_pj.map(|unit| unit * 1e-12),
            notes: file.notes,
            energy,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It in words; may be empty.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Anything a user should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What it does with zeros.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// Joules of one unit of energy, where the description says it (`unit_pJ`).
    pub fn unit_joules(&self) -> Option<f64> {
        self.unit_joules
    }

    /// Capacity of one PE's register file in bits.
    pub(super) fn register_bits(&self) -> u64 {
        self.register_bits
    }

    /// Capacity of the global buffer in bits.
    pub(super) fn buffer_bits(&self) -> u64 {
        self.buffer_bits
    }

    /// How many sets of `filter_height` × `rows` PEs the array holds at once.
    ///
    /// With a known array, a set wider than it is cut into segments that lie above each other (JSSC 2017, Section III).
    pub(super) fn sets(&self, filter_height: u64, rows: u64) -> u64 {
        match self.array {
            None => self.pes / filter_height.saturating_mul(rows),
            Some(PeArray { height, width }) if rows <= width => (height / filter_height) * (width / rows),
            Some(PeArray { height, width }) => height / filter_height / rows.div_ceil(width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::failure::Failure;

    fn check(from: &str, to: &str, words: &[&str]) {
        let text = BUILTIN[0].1;
        assert!(text.contains(from), "{from}");
        let error = Accelerator::parse(Path::new("mine.yaml"), &text.replace(from, to)).unwrap_err().to_string();
        for word in ["mine.yaml"].iter().chain(words) {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }

    #[test]
    fn every_builtin_is_a_valid_description_of_that_name() {
        for name in Accelerator::builtin_names() {
            assert_eq!(Accelerator::find(name).unwrap().name(), name);
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        check("accelerator/1", "accelerator/9", &["schema", "accelerator/9", SCHEMA]);
        check("row-stationary\np", "weight-stationary\np", &["dataflow", "row-stationary"]);
        check("processing_elements: 168", "processing_elements: 0", &["processing_elements", "65536"]);
        check("processing_elements: 168", "processing_elements: 169", &["array", "12 x 14", "169"]);
        check("processing_elements: 168", "processing_elements: -1", &["processing_elements"]);
        check("height: 12", "height: 18446744073709551615", &["array"]);
        check("dram: 200", "dram: .nan", &["energy.dram", "NaN"]);
        check("dram: 200", "dram: -1", &["energy.dram", "-1"]);
        check("dram: 200", "dramm: 200", &["dramm", "dram"]);
        check("significance-map", "run-length", &["sparsity", "run-length", "significance-map"]);
        check("register_file_bytes", "register_bytes", &["register_bytes", "register_file_bytes"]);
        check("unit_pJ: 4.4", "unit_pJ: 0", &["unit_pJ", "above 0"]);
        check("schema:", "schema: [", &["ofa.accelerator/1"]);
    }

    #[test]
    fn unknown_names_are_met_with_known_ones() {
        let error = Accelerator::find("eyeris").unwrap_err();
        assert!(error.hint().unwrap().contains("eyeriss"), "{error}");
        assert!(matches!(Accelerator::find("absent.yaml"), Err(HwError::File(FileError::NotFound { .. }))));
    }

    #[test]
    fn sets_of_the_chip_are_placed_as_published() {
        let chip = Accelerator::builtin("eyeriss").unwrap();
        // JSSC 2017, Table III: r·t sets of AlexNet's filters.
        assert_eq!([chip.sets(11, 7), chip.sets(5, 27), chip.sets(3, 13)], [2, 1, 4]);
        assert_eq!(chip.sets(13, 1), 0);
    }
}
