//! The folder of an adaptation: `adaptation.json` (what it was begun with), `steps/NNN/` (a network's folder for the start
//! and each step kept), `history.parquet` and, at the end, `network/` and `report.json`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use network::shape::NetworkShape;
use network::units::Quantity;
use network::weights::Weights;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use search::refine::adapt::Iteration;
use serde_json::{Value, json};
use storage::atomic::write_atomically;
use storage::digest::Digest;
use storage::parquet_file::{self, column};

use crate::error::{Error, Result, Within};
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;

const BEGUN: &str = "adaptation.json";
const STEPS: &str = "steps";
const HISTORY: &str = "history.parquet";

/// A network with its weights.
pub(crate) type Adapted = Arc<(NetworkShape, Weights)>;

/// Where the steps of an adaptation are kept.
pub(crate) struct StepsFolder {
    path: PathBuf,
    quantities: Vec<Quantity>,
}

impl StepsFolder {
    /// The folder at `path` for what `identity` stands for; what was done there before is gone on with where `resume` is
    /// set.
    ///
    /// # Errors
    /// [`Error::RunExists`]; steps of another adaptation; a folder that cannot be made.
    pub(crate) fn open(path: &Path, identity: Digest, resume: bool, quantities: Vec<Quantity>) -> Result<Self> {
        let file = path.join(BEGUN);
        if let Ok(text) = fs::read_to_string(&file) {
            if !resume {
                return Err(Error::RunExists { path: path.to_path_buf() });
            }
            let damaged = |error| Error::FileInFolder { path: file.clone(), reason: format!("is damaged: {error}") };
            let begun: Value = serde_json::from_str(&text).map_err(damaged)?;
            if begun["identity"] != identity.to_string() {
                let reason = "the adaptation was begun with another network, budget, target, images or settings";
                return Err(Error::FileInFolder { path: file, reason: reason.into() });
            }
        } else {
            crate::folders::output::check(path)?;
            fs::create_dir_all(path.join(STEPS)).within(|| format!("run folder {}", path.display()))?;
            let text = format!("{:#}\n", json!({"schema": "ofa.adaptation/1", "identity": identity.to_string()}));
            write_atomically(&file, |file| file.write_all(text.as_bytes()))
                .map_err(|source| Error::Write { source })?;
        }
        Ok(Self { path: path.to_path_buf(), quantities })
    }

    /// The steps kept so far, in order.
    ///
    /// # Errors
    /// A damaged network.
    pub(crate) fn history(&self) -> Result<Vec<Iteration<Adapted>>> {
        let mut history = Vec::new();
        loop {
            let folder = self.step(history.len());
            if !folder.exists() {
                return Ok(history);
            }
            let number = history.len();
            // Whatever comes after it was made of it.
            let step = self.read(&folder).map_err(|error| match number {
                0 => error,
                _ => Error::FileInFolder {
                    path: folder.clone(),
                    reason: format!("{error}; remove this folder and those after it to go on from step {}", number - 1),
                },
            });
            history.push(step?);
        }
    }

    fn read(&self, folder: &Path) -> Result<Iteration<Adapted>> {
        let NetworkFolder { shape, weights, .. } = NetworkFolder::read(folder)?;
        let wrong = || Error::FileInFolder {
            path: folder.join(names::NETWORK),
            reason: "does not say what step of an adaptation it is".into(),
        };
        let text = fs::read_to_string(folder.join(names::NETWORK))?;
        let file: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        let said = &file["origin"]["adapted"];
        let costs = said["cost_bits"].as_array().ok_or_else(wrong)?;
        let costs: Option<Vec<f64>> = costs.iter().map(|bits| Some(f64::from_bits(bits.as_u64()?))).collect();
        Ok(Iteration {
            block: said["width"].as_u64().map(|width| width as usize),
            network: Arc::new((shape, weights)),
            costs: costs.filter(|costs| costs.len() == self.quantities.len()).ok_or_else(wrong)?,
            accuracy: said["accuracy_bits"].as_u64().map(f64::from_bits).ok_or_else(wrong)?,
            met: said["met"].as_bool().ok_or_else(wrong)?,
        })
    }

    /// Keeps step `number`, whole or not at all; `name` is that of the width that changed.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub(crate) fn keep(
        &self,
        number: usize,
        step: &Iteration<Adapted>,
        name: Option<&str>,
        from: &Value,
    ) -> Result<()> {
        let temporary = self.path.join(STEPS).join(format!("{number:03}.tmp"));
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        let costs = self.quantities.iter().zip(&step.costs);
        let costs: serde_json::Map<String, Value> = costs
            .map(|(quantity, cost)| (quantity.json_key().to_owned(), (cost * quantity.json_scale()).into()))
            .collect();
        let origin = json!({"adapted": {
            "step": number,
            "width": step.block,
            "layer": name,
            "costs": costs,
            "accuracy": step.accuracy,
            "met": step.met,
            // Decimal numbers may not come back the same, and a resumed adaptation has to.
            "cost_bits": step.costs.iter().map(|cost| cost.to_bits()).collect::<Vec<u64>>(),
            "accuracy_bits": step.accuracy.to_bits(),
            "from": from,
        }});
        let (shape, weights) = step.network.as_ref().clone();
        NetworkFolder { shape, weights, mixed: Vec::new() }.write(&temporary, &origin)?;
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, self.step(number))?;
        Ok(fs::File::open(self.path.join(STEPS))?.sync_all()?)
    }

    fn step(&self, number: usize) -> PathBuf {
        self.path.join(STEPS).join(format!("{number:03}"))
    }

    /// Writes all steps as a table.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn write_history(&self, history: &[Iteration<Adapted>], names: &[String]) -> Result<()> {
        parquet_file::write(&self.path.join(HISTORY), |file| self.write_rows(file, history, names))
            .map_err(|source| Error::Write { source })
    }

    fn write_rows(
        &self,
        file: &mut std::io::BufWriter<fs::File>,
        history: &[Iteration<Adapted>],
        names: &[String],
    ) -> Result<(), ParquetError> {
        let unit = |quantity: &Quantity| quantity.json_key().replace("_mj", "_mJ").replace('-', "_");
        let columns: String = self.quantities.iter().map(|one| format!("REQUIRED DOUBLE {}; ", unit(one))).collect();
        let schema = format!(
            "message steps {{ REQUIRED INT64 step; REQUIRED BYTE_ARRAY layer (UTF8); REQUIRED DOUBLE top1; \
             REQUIRED BOOLEAN met; {columns}REQUIRED INT64 macs; REQUIRED INT64 params; }}"
        );
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        column::<Int64Type, _>(&mut group, 0..history.len() as i64)?;
        let name = |step: &Iteration<Adapted>| step.block.map_or("", |width| names[width].as_str());
        column::<ByteArrayType, _>(&mut group, history.iter().map(|step| ByteArray::from(name(step))))?;
        column::<DoubleType, _>(&mut group, history.iter().map(|step| step.accuracy))?;
        column::<BoolType, _>(&mut group, history.iter().map(|step| step.met))?;
        for (at, quantity) in self.quantities.iter().enumerate() {
            column::<DoubleType, _>(&mut group, history.iter().map(|step| step.costs[at] * quantity.json_scale()))?;
        }
        column::<Int64Type, _>(&mut group, history.iter().map(|step| step.network.0.macs().0 as i64))?;
        column::<Int64Type, _>(&mut group, history.iter().map(|step| step.network.0.params().0 as i64))?;
        group.close()?;
        writer.close()?;
        Ok(())
    }
}
