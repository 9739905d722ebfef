//! The folder of a refinement: `adaptation.json` (what it was begun with), `steps/NNN/` (for the start and each step kept,
//! its network and `step.json`), `history.parquet` and, at the end, `network/` and `report.json`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use network::units::Quantity;
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
use storage::hold::Hold;
use storage::parquet_file::{self, column};

use crate::error::{Error, Result, Within};
use crate::folders::supernet_file::write_text;
use crate::folders::{names, output};

const STEPS: &str = "steps";
const STEP: &str = "step.json";

/// How the network of a step is kept.
pub(crate) trait StepForm {
    /// The network, with whatever belongs to it.
    type Network;

    /// Writes it into an empty folder.
    ///
    /// # Errors
    /// Files that cannot be written.
    fn write(&self, network: &Self::Network, folder: &Path) -> Result<()>;

    /// Reads it back.
    ///
    /// # Errors
    /// A damaged network.
    fn read(&self, folder: &Path) -> Result<Self::Network>;

    /// Its multiply-accumulates and parameters.
    fn counts(&self, network: &Self::Network) -> (u64, u64);
}

/// Where the steps of a refinement are kept.
pub(crate) struct StepsFolder<F> {
    path: PathBuf,
    quantities: Vec<Quantity>,
    form: F,
    _held: Hold,
}

impl<F: StepForm> StepsFolder<F> {
    /// The folder at `path` for what `identity` stands for; what was done there before is gone on with where `resume` is
    /// set.
    ///
    /// # Errors
    /// [`Error::RunExists`]; [`Error::Busy`]; steps of another refinement; a folder that cannot be made.
    pub(crate) fn open(
        path: &Path,
        identity: Digest,
        resume: bool,
        quantities: Vec<Quantity>,
        form: F,
    ) -> Result<Self> {
        let file = path.join(names::ADAPTATION);
        if !file.exists() {
            output::check(path)?;
            fs::create_dir_all(path.join(STEPS)).within(|| format!("run folder {}", path.display()))?;
        }
        let held = output::held(path)?;
        if let Ok(text) = fs::read_to_string(&file) {
            if !resume {
                return Err(Error::RunExists { path: path.to_path_buf() });
            }
            let damaged = |error| Error::FileInFolder { path: file.clone(), reason: format!("is damaged: {error}") };
            let begun: Value = serde_json::from_str(&text).map_err(damaged)?;
            if begun["identity"] != identity.to_string() {
                let reason = "the refinement was begun with another network, budget, target, images or settings";
                return Err(Error::FileInFolder { path: file, reason: reason.into() });
            }
        } else {
            let text = format!("{:#}\n", json!({"schema": "ofa.adaptation/1", "identity": identity.to_string()}));
            write_atomically(&file, |file| file.write_all(text.as_bytes()))
                .map_err(|source| Error::Write { source })?;
        }
        Ok(Self { path: path.to_path_buf(), quantities, form, _held: held })
    }

    /// The steps kept so far, in order.
    ///
    /// # Errors
    /// A damaged network.
    pub(crate) fn history(&self) -> Result<Vec<Iteration<F::Network>>> {
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

    fn read(&self, folder: &Path) -> Result<Iteration<F::Network>> {
        let network = self.form.read(folder)?;
        let wrong = || Error::FileInFolder {
            path: folder.join(STEP),
            reason: "does not say what step of a refinement it is".into(),
        };
        let text = fs::read_to_string(folder.join(STEP)).map_err(|_| wrong())?;
        let said: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        let costs = said["cost_bits"].as_array().ok_or_else(wrong)?;
        let costs: Option<Vec<f64>> = costs.iter().map(|bits| Some(f64::from_bits(bits.as_u64()?))).collect();
        Ok(Iteration {
            block: said["block"].as_u64().map(|block| block as usize),
            network,
            costs: costs.filter(|costs| costs.len() == self.quantities.len()).ok_or_else(wrong)?,
            accuracy: said["accuracy_bits"].as_u64().map(f64::from_bits).ok_or_else(wrong)?,
            met: said["met"].as_bool().ok_or_else(wrong)?,
        })
    }

    /// Keeps step `number`, whole or not at all; `change` says what it changed.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub(crate) fn keep(&self, number: usize, step: &Iteration<F::Network>, change: &str) -> Result<()> {
        let temporary = self.path.join(STEPS).join(format!("{number:03}.tmp"));
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        let costs = self.quantities.iter().zip(&step.costs);
        let costs: serde_json::Map<String, Value> = costs
            .map(|(quantity, cost)| (quantity.json_key().to_owned(), (cost * quantity.json_scale()).into()))
            .collect();
        let said = json!({
            "schema": "ofa.refinement-step/1",
            "step": number,
            "block": step.block,
            "change": change,
            "costs": costs,
            "accuracy": step.accuracy,
            "met": step.met,
            // Decimal numbers may not come back the same, and a resumed refinement has to.
            "cost_bits": step.costs.iter().map(|cost| cost.to_bits()).collect::<Vec<u64>>(),
            "accuracy_bits": step.accuracy.to_bits(),
        });
        self.form.write(&step.network, &temporary)?;
        write_text(&temporary.join(STEP), &format!("{said:#}\n"))?;
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, self.step(number))?;
        Ok(fs::File::open(self.path.join(STEPS))?.sync_all()?)
    }

    fn step(&self, number: usize) -> PathBuf {
        self.path.join(STEPS).join(format!("{number:03}"))
    }

    /// Writes all steps as a table; `change` says what each changed.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn write_history(
        &self,
        history: &[Iteration<F::Network>],
        change: impl Fn(&Iteration<F::Network>) -> String,
    ) -> Result<()> {
        parquet_file::write(&self.path.join(names::HISTORY), |file| self.write_rows(file, history, change))
            .map_err(|source| Error::Write { source })
    }

    fn write_rows(
        &self,
        file: &mut std::io::BufWriter<fs::File>,
        history: &[Iteration<F::Network>],
        change: impl Fn(&Iteration<F::Network>) -> String,
    ) -> Result<(), ParquetError> {
        let unit = |quantity: &Quantity| quantity.json_key().replace("_mj", "_mJ").replace('-', "_");
        let columns: String = self.quantities.iter().map(|one| format!("REQUIRED DOUBLE {}; ", unit(one))).collect();
        let schema = format!(
            "message steps {{ REQUIRED INT64 step; REQUIRED BYTE_ARRAY change (UTF8); REQUIRED DOUBLE top1; \
             REQUIRED BOOLEAN met; {columns}REQUIRED INT64 macs; REQUIRED INT64 params; }}"
        );
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        column::<Int64Type, _>(&mut group, 0..history.len() as i64)?;
        column::<ByteArrayType, _>(&mut group, history.iter().map(|step| ByteArray::from(change(step).as_str())))?;
        column::<DoubleType, _>(&mut group, history.iter().map(|step| step.accuracy))?;
        column::<BoolType, _>(&mut group, history.iter().map(|step| step.met))?;
        for (at, quantity) in self.quantities.iter().enumerate() {
            column::<DoubleType, _>(&mut group, history.iter().map(|step| step.costs[at] * quantity.json_scale()))?;
        }
        let counts: Vec<(u64, u64)> = history.iter().map(|step| self.form.counts(&step.network)).collect();
        column::<Int64Type, _>(&mut group, counts.iter().map(|(macs, _)| *macs as i64))?;
        column::<Int64Type, _>(&mut group, counts.iter().map(|(_, params)| *params as i64))?;
        group.close()?;
        writer.close()?;
        Ok(())
    }
}
