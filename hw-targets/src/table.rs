//! Measured operators of one device.
//!
//! A table has one row per operator, keyed by its absolute shape and, where the same shape was measured inside networks
//! of several input sizes, by that size too. Whether a convolution has batch norm is not part of the key: tables do not
//! say (it is folded into the weights on every runtime measured), so an operator with and one without are the same row.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::cost::{Method, Scope, Statistic};
use crate::error::HwError;
use crate::table_op::TableOp;
use network::units::Measured;
use storage::file::Place;

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpKey {
    op: TableOp,
    network_resolution: Option<u32>,
}

impl OpKey {
    /// The key of `op` inside a network of input size `network_resolution` (`None` = any).
    pub fn new(op: &TableOp, network_resolution: Option<u32>) -> Self {
        Self { op: TableOp { batch_norm: true, ..*op }, network_resolution }
    }

    /// The operator; `batch_norm` is always true here.
    pub fn op(&self) -> &TableOp {
        &self.op
    }

    /// Input size of the network it was measured for, if the table tells them apart.
    pub(crate) fn network_resolution(&self) -> Option<u32> {
        self.network_resolution
    }
}

/// One measured number in SI units (seconds or joules).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// The value, above zero.
    pub value: f64,
    /// Standard deviation, if known.
    pub std: Option<f64>,
    /// Number of runs, if known.
    pub count: Option<u64>,
    /// Systematic uncertainty (one sigma) as a fraction of the value, if known; common to the whole table.
    pub rel_unc: Option<f64>,
    /// Which number of the runs it is, if known.
    pub statistic: Option<Statistic>,
}

impl Measurement {
    /// A bare value.
    pub fn of(value: f64) -> Self {
        Self { value, std: None, count: None, rel_unc: None, statistic: None }
    }
}

/// One operator with what was measured of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is found by.
    pub key: OpKey,
    /// In seconds.
    pub latency: Option<Measurement>,
    /// In joules.
    pub energy: Option<Measurement>,
    /// How the energy came about, if the row says.
    pub energy_method: Option<Method>,
    /// What the energy includes, if the row says.
    pub energy_scope: Option<Scope>,
    /// Name of the operator in the table that this one was made from.
    pub source_key: Option<String>,
    /// Where it stands in its file.
    pub place: Place,
}

/// Operators of one device, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTable {
    rows: Vec<Row>,
    index: HashMap<OpKey, usize>,
    notes: Vec<String>,
    warnings: Vec<String>,
    batch: Option<u32>,
}

impl OpTable {
    /// A table of `rows` in order; `path` is only for the message.
    ///
    /// # Errors
    /// [`HwError::Duplicate`] if two rows have the same key, [`HwError::EmptyTable`] without rows.
    pub fn from_rows(path: &Path, rows: Vec<Row>) -> Result<Self, HwError> {
        let mut index = HashMap::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            if let Some(first) = index.insert(row.key, at) {
                return Err(HwError::Duplicate {
                    path: path.to_path_buf(),
                    place: row.place,
                    first: rows[first].place,
                    op: match row.key.network_resolution {
                        Some(resolution) => format!("{} (network of {resolution} px)", row.key.op),
                        None => row.key.op.to_string(),
                    },
                });
            }
        }
        if rows.is_empty() {
            return Err(HwError::EmptyTable { path: PathBuf::from(path) });
        }
        Ok(Self { rows, index, notes: Vec::new(), warnings: Vec::new(), batch: None })
    }

    /// This table with remarks about what the reader left out.
    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    /// This table with what the columns beyond its format say.
    pub(crate) fn with_conditions(mut self, warnings: Vec<String>, batch: Option<u32>) -> Self {
        (self.warnings, self.batch) = (warnings, batch);
        self
    }

    /// What the reader found odd about the file, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Images per inference, where the file says.
    pub fn batch(&self) -> Option<u32> {
        self.batch
    }

    /// Rows in the order of the file.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What the reader could not use and left out, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The row of `op` in a network of input size `network_resolution`: the one measured for that size, else the one
    /// for any size.
    pub fn get(&self, op: &TableOp, network_resolution: u32) -> Option<&Row> {
        let at = |resolution| self.index.get(&OpKey::new(op, resolution));
        at(Some(network_resolution)).or_else(|| at(None)).map(|&row| &self.rows[row])
    }

    /// Whether any row has a value of `quantity`.
    pub fn has(&self, quantity: Measured) -> bool {
        self.rows.iter().any(|row| row.measurement(quantity).is_some())
    }

    /// Input sizes of networks that the table tells apart; `None` if it holds for any size.
    pub fn network_resolutions(&self) -> Option<Vec<u32>> {
        let sizes: BTreeSet<u32> = self.rows.iter().filter_map(|row| row.key.network_resolution).collect();
        (!sizes.is_empty()).then(|| sizes.into_iter().collect())
    }

    /// This table with `method` for all its energies.
    pub(crate) fn with_energy_method(mut self, method: Method) -> Self {
        for row in self.rows.iter_mut().filter(|row| row.energy.is_some()) {
            row.energy_method = Some(method);
        }
        self
    }

    /// The method that all energies share, if they do.
    pub fn energy_method(&self) -> Option<Method> {
        self.common(|row| row.energy_method)
    }

    /// The scope that all energies share, if they do.
    pub fn energy_scope(&self) -> Option<Scope> {
        self.common(|row| row.energy_scope)
    }

    fn common<T: PartialEq>(&self, field: impl Fn(&Row) -> Option<T>) -> Option<T> {
        let mut fields = self.rows.iter().filter(|row| row.energy.is_some()).map(field);
        let first = fields.next()??;
        fields.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// What is near `op` in this table, in words, for the error about a missing operator.
    pub(crate) fn near(&self, op: &TableOp, network_resolution: u32) -> String {
        if let Some(row) = self.rows.iter().find(|row| row.key.op == OpKey::new(op, None).op) {
            let sizes = self.network_resolutions().unwrap_or_default();
            let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
            return format!(
                "the table has it for a network of {} px; it covers networks of {} px",
                row.key.network_resolution.unwrap_or(network_resolution),
                sizes.join(", ")
            );
        }
        let distance = |other: &TableOp| {
            let far = |a: u32, b: u32| (f64::from(a.max(1)) / f64::from(b.max(1))).ln().abs();
            f64::from(u8::from(other.kind != op.kind)) * 100.0
                + far(op.in_size, other.in_size)
                + far(op.in_channels, other.in_channels)
                + far(op.out_channels, other.out_channels)
                + far(op.mid_channels, other.mid_channels)
                + far(op.kernel, other.kernel)
                + far(op.stride, other.stride)
                + f64::from(u8::from(other.activation != op.activation)) * 0.1
                + f64::from(u8::from(other.residual != op.residual)) * 0.1
                + f64::from(u8::from((other.se_channels > 0) != (op.se_channels > 0))) * 0.1
        };
        let nearest = self.rows.iter().min_by(|a, b| distance(&a.key.op).total_cmp(&distance(&b.key.op)));
        match nearest {
            Some(row) => format!("the nearest operator of its table is {}", row.key.op),
            None => "its table is empty".to_string(),
        }
    }
}

/// Operators and values in SI units of one quantity of a table. FBNet's skips are left out: elastic spaces have none,
/// and a copy of a map obeys other laws than the operators that the classes of a fit are made of.
pub fn measured(table: &OpTable, quantity: Measured, keep: impl Fn(&TableOp) -> bool) -> Vec<(TableOp, f64)> {
    let is_skip = |row: &&Row| row.source_key.as_deref().is_some_and(|key| key.starts_with("Skip_"));
    let rows = table.rows().iter().filter(|row| keep(row.key.op()) && !is_skip(row));
    rows.filter_map(|row| Some((*row.key.op(), row.measurement(quantity)?.value))).collect()
}

impl Row {
    /// The measured number of `quantity`, in SI units.
    pub fn measurement(&self, quantity: Measured) -> Option<&Measurement> {
        match quantity {
            Measured::Latency => self.latency.as_ref(),
            Measured::Energy => self.energy.as_ref(),
        }
    }
}
