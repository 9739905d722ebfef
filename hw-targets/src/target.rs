//! A device: its manifest and, for each quantity it knows, a model that answers.
//!
//! The cost of a network is the sum over its operators plus a constant, so a search may add up dense tables of
//! [`Estimate`]s in a [`CostSum`] and ask [`Target::value_of`] for the whole. Energy that is latency × a power says so,
//! and gives the latency that an energy amounts to. A board may know nothing but its memory, which then limits
//! what fits on it.

use std::path::Path;
use std::sync::Arc;

use crate::answer::{Answer, Answers};
use crate::cost::{CostSum, CostValue, Estimate, Grade, Method, NetworkCost, OpCost, Scope};
use crate::error::HwError;
use crate::manifest::{DefaultBundle, Manifest};
use crate::model::FittedModel;
use crate::table::OpTable;
use crate::table_op::TableOp;
use network::op::{Op, Workload};
use network::units::{Bytes, Joules, Measured, PerMeasured, Quantity, Seconds};

/// A device that can say what an operator costs.
#[derive(Clone, Debug)]
pub struct Target {
    name: String,
    manifest: Manifest,
    table: Option<Arc<OpTable>>,
    bundles: Vec<DefaultBundle>,
    answers: PerMeasured<Option<Answer>>,
    sram: Option<Bytes>,
    flash: Option<Bytes>,
    watts: Option<f64>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// Where the numbers of one quantity come from and how far they may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// How they came about.
    pub method: Method,
    /// What the method stands on.
    pub basis: Method,
    /// What they include.
    pub scope: Scope,
    /// How far to trust them.
    pub grade: Grade,
    /// Error common to all networks, one sigma, as a fraction.
    pub common_rel: f64,
    /// The error as a factor, where that says it better.
    pub factor: Option<f64>,
    /// Measured operators they rest on, fitted to or in a table.
    pub operators: usize,
    /// Networks measured whole that they rest on, fitted to or corrected with.
    pub networks: usize,
    /// Mean absolute relative error of what was fitted to when fitted without it: of a block, or of a network where
    /// networks were fitted to.
    pub left_out: Option<f64>,
}

impl Target {
    /// A target called `name` out of its manifest and table; `path` (the manifest or the table) is for messages.
    ///
    /// # Errors
    /// [`HwError::BadField`] for words and models that make no sense, or if it states neither latency nor energy nor
    /// the size of a memory.
    pub fn new(name: &str, manifest: Manifest, table: Option<OpTable>, path: &Path) -> Result<Self, HwError> {
        let notes = table.as_ref().map(|table| table.notes().to_vec()).unwrap_or_default();
        let table = table.map(Arc::new);
        let build = Answers { manifest: &manifest, table: table.as_ref(), path };
        let mut answers = PerMeasured { latency: build.latency()?, energy: build.energy()? };
        let sram = build.memory("sram", manifest.sram.as_deref())?;
        let flash = build.memory("flash", manifest.flash.as_deref())?;
        if answers.latency.is_none() && answers.energy.is_none() && sram.is_none() && flash.is_none() {
            return Err(HwError::BadField {
                path: path.to_path_buf(),
                field: "table".to_string(),
                problem:
                    "neither a table nor a fitted model answers for latency or energy, and no sram or flash is stated"
                        .to_string(),
            });
        }
        let watts = manifest.energy.as_ref().and_then(|entry| entry.power_w);
        let bundles = if manifest.bundles.is_empty() {
            let same = |name: &str| DefaultBundle { space: name.to_string(), bundle: name.to_string() };
            // What is known by its memory alone is a board.
            let is_board = answers.latency.is_none() && answers.energy.is_none();
            let [phones, boards] = ["fbnet-cifar", "mcu-cifar"].map(same);
            if is_board { vec![boards, phones] } else { vec![phones, boards] }
        } else {
            manifest.bundles.clone()
        };
        if let Some(batch) = manifest.batch.filter(|batch| *batch != 1) {
            for quantity in Measured::ALL {
                answers[quantity].iter_mut().for_each(|answer| answer.say_batch(batch));
            }
        }
        Ok(Self {
            name: name.to_string(),
            manifest,
            table,
            bundles,
            answers,
            sram,
            flash,
            watts,
            notes,
            warnings: Vec::new(),
        })
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything its file says about the device and the measurements.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What was left out when its table was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Its table of measured operators, if it has one.
    pub fn table(&self) -> Option<&OpTable> {
        self.table.as_deref()
    }

    /// The operators of its table, each with the input size of a network that it holds for (0 = any).
    pub fn operators(&self) -> Vec<(TableOp, u32)> {
        let rows = self.table.iter().flat_map(|table| table.rows());
        rows.map(|row| (*row.key.op(), row.key.network_resolution().unwrap_or(0))).collect()
    }

    /// This target with what is odd about its table.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// What was found odd when its table was added or imported, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// This target answering for operators however far outside of what its models were fitted to, their errors growing with
    /// the distance; without fitted models nothing changes.
    pub fn extrapolating(mut self) -> Self {
        for answer in [&mut self.answers.latency, &mut self.answers.energy].into_iter().flatten() {
            if let Some(lifted) = answer.model.without_limit() {
                answer.model = lifted;
            }
        }
        self
    }

    /// This target answering for widths between those of its tables, too, by interpolation between neighbours; such
    /// estimates are said to be fitted. Without tables nothing changes.
    pub fn between_widths(mut self) -> Self {
        for answer in [&mut self.answers.latency, &mut self.answers.energy].into_iter().flatten() {
            if let Some(model) = answer.model.between_widths() {
                answer.model = model;
            }
        }
        self
    }

    /// The model of `quantity` fitted to operators that its file states, if it does.
    pub fn fitted_model(&self, quantity: Measured) -> Option<&FittedModel> {
        self.answer(quantity)?.fitted.as_deref()
    }

    /// Bundles to use when none is named, the preferred one first; never empty.
    pub fn default_bundles(&self) -> &[DefaultBundle] {
        &self.bundles
    }

    /// The bundle to use for a space when none is named.
    pub fn default_bundle_for(&self, space: &str) -> Option<&str> {
        self.bundles.iter().find(|entry| entry.space == space).map(|entry| entry.bundle.as_str())
    }

    /// Quantities it can answer; those that follow from the network alone always.
    pub fn known(&self) -> Vec<Quantity> {
        Quantity::ALL.into_iter().filter(|quantity| self.knows(*quantity)).collect()
    }

    /// Whether it can answer `quantity`.
    pub fn knows(&self, quantity: Quantity) -> bool {
        quantity.measured().is_none_or(|quantity| self.answers[quantity].is_some())
    }

    /// How much of `quantity` the device has for a network, in bytes: its flash, and its SRAM for peak memory. `None`
    /// where it is not stated, and for what is no memory.
    pub fn capacity(&self, quantity: Quantity) -> Option<Bytes> {
        match quantity {
            Quantity::Flash => self.flash,
            Quantity::PeakMemory => self.sram,
            _ => None,
        }
    }

    fn answer_of(&self, quantity: Measured) -> Result<&Answer, HwError> {
        self.answer(quantity).ok_or_else(|| self.unknown(quantity.into()))
    }

    /// Refuses a quantity that it cannot answer.
    ///
    /// # Errors
    /// [`HwError::UnknownQuantity`], naming those it knows.
    pub fn require(&self, quantity: Quantity) -> Result<(), HwError> {
        if self.knows(quantity) { Ok(()) } else { Err(self.unknown(quantity)) }
    }

    fn unknown(&self, quantity: Quantity) -> HwError {
        let known: Vec<&str> = self.known().into_iter().map(Quantity::name).collect();
        let known = match known.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => known.concat(),
        };
        HwError::UnknownQuantity { target: self.name.clone(), quantity, known }
    }

    /// Input sizes of networks that its tables are limited to; `None` = any.
    pub fn network_resolutions(&self) -> Option<Vec<u32>> {
        let sizes = |answer: &Option<Answer>| answer.as_ref().and_then(|answer| answer.model.network_resolutions());
        match (sizes(&self.answers.latency), sizes(&self.answers.energy)) {
            (Some(a), Some(b)) => Some(a.into_iter().filter(|size| b.contains(size)).collect()),
            (a, b) => a.or(b),
        }
    }

    /// Images per inference: latencies and energies are those of so many.
    pub fn batch(&self) -> u32 {
        self.manifest.batch.unwrap_or(1)
    }

    /// One sentence on how `quantity` is answered, to be printed with the number; `None` for counts and quantities it
    /// does not know.
    pub fn explanation(&self, quantity: Measured) -> Option<&str> {
        self.answer(quantity).map(|answer| answer.explanation.as_str())
    }

    /// Method, scope and grade of `quantity`, without a number.
    pub fn provenance(&self, quantity: Measured) -> Option<(Method, Scope, Grade)> {
        self.answer(quantity).map(|answer| (answer.method, answer.scope, answer.grade))
    }

    /// Where the numbers of `quantity` come from and how far they may be off, without a number.
    pub fn standing(&self, quantity: Measured) -> Option<Standing> {
        let answer = self.answer(quantity)?;
        Some(Standing {
            method: answer.method,
            basis: answer.basis,
            scope: answer.scope,
            grade: answer.grade,
            common_rel: answer.common_rel,
            factor: answer.factor,
            operators: answer.evidence.operators,
            networks: answer.evidence.networks,
            left_out: answer.evidence.left_out,
        })
    }

    fn answer(&self, quantity: Measured) -> Option<&Answer> {
        self.answers[quantity].as_ref()
    }

    /// What `op` costs inside a network of input size `network_resolution`, in every quantity the target knows.
    ///
    /// # Errors
    /// [`HwError::MissingOperator`] if a quantity that it knows is not covered for this operator; never a zero.
    pub fn cost(&self, op: &Op, network_resolution: u32) -> Result<OpCost, HwError> {
        OpCost::try_from_fn(|quantity| {
            let is_known = self.answer(quantity).is_some();
            is_known.then(|| self.cost_in(quantity, op, network_resolution)).transpose()
        })
    }

    /// What `op` costs in one quantity, in SI units.
    ///
    /// # Errors
    /// [`HwError::UnknownQuantity`] and [`HwError::MissingOperator`].
    pub fn cost_in(&self, quantity: Measured, op: &Op, network_resolution: u32) -> Result<Estimate, HwError> {
        let answer = self.answer_of(quantity)?;
        let one = |op: &Op| {
            answer.model.cost(op, network_resolution).map_err(|uncovered| HwError::MissingOperator {
                target: self.name.clone(),
                quantity: quantity.into(),
                op: op.to_string(),
                resolution: network_resolution,
                near: uncovered.near,
            })
        };
        let Some(pieces) = op.pieces() else { return one(op) };
        let mut sum = CostSum::default();
        for piece in &pieces {
            sum.add(&one(piece)?);
        }
        Ok(sum.estimate())
    }

    /// What every network pays on top of its operators, in SI units; 0 for what the target does not know.
    pub fn constant(&self, quantity: Measured) -> f64 {
        self.answer(quantity).map_or(0.0, |answer| answer.constant)
    }

    /// The whole network's cost in `quantity` out of the sum over its operators; the constant is added here.
    ///
    /// # Errors
    /// [`HwError::NoCost`] where that is not above zero, which a correction can bring about;
    /// [`HwError::UnknownQuantity`].
    pub fn value_of(&self, quantity: Measured, sum: &CostSum) -> Result<CostValue, HwError> {
        let answer = self.answer_of(quantity)?;
        let value = sum.value + answer.constant;
        if !(value.is_finite() && value > 0.0) {
            let (target, value) = (self.name.clone(), quantity.format(value));
            return Err(HwError::NoCost { target, quantity: quantity.into(), value });
        }
        let common = sum.common + answer.common_rel * answer.constant;
        // As with shapes outside their range: twice the error more for each doubling.
        let beyond = answer.sums.map_or(0.0, |[least, most]| (least / sum.value).max(sum.value / most).log2().max(0.0));
        let network_rel = answer.network_rel * (1.0 + 2.0 * beyond);
        Ok(CostValue {
            value,
            std: sum.variance.sqrt().hypot(network_rel * value),
            common_rel: common / value,
            method: answer.method,
            basis: answer.basis,
            scope: answer.scope,
            // With fitted operators among a table's it is no sum of measured ones, and nobody vouches for what lies outside
            // of a fit.
            grade: match answer.grade {
                Grade::A | Grade::B if answer.is_tabled && sum.fitted > 0 || sum.outside > 0 => Grade::C,
                grade => grade,
            },
            factor: answer.factor,
            fitted: sum.fitted > 0,
            outside: if beyond > 0.0 { sum.fitted } else { sum.outside },
            batch: self.batch(),
        })
    }

    /// What a network costs in every quantity the target knows.
    ///
    /// # Errors
    /// [`HwError::MissingOperator`], as [`Target::cost`]; [`HwError::NoCost`].
    pub fn cost_of(&self, workload: &Workload) -> Result<NetworkCost, HwError> {
        let mut sums = PerMeasured::<CostSum>::default();
        for op in &workload.ops {
            let cost = self.cost(op, workload.resolution)?;
            for quantity in Measured::ALL {
                cost[quantity].iter().for_each(|estimate| sums[quantity].add(estimate));
            }
        }
        let whole = |quantity| {
            let is_known = self.answer(quantity).is_some();
            is_known.then(|| self.value_of(quantity, &sums[quantity])).transpose()
        };
        let PerMeasured { energy, latency } = PerMeasured::try_from_fn(whole)?;
        Ok(NetworkCost { energy, latency, ..NetworkCost::exact(workload) })
    }

    /// The power that energy is derived with, in watts, if it is derived from latency.
    pub fn derived_power(&self) -> Option<f64> {
        self.watts
    }

    /// The latency that `energy` amounts to, if energy is derived from latency: both as they are answered, with their
    /// constants and corrections.
    pub fn latency_equivalent(&self, energy: Joules) -> Option<Seconds> {
        let watts = self.watts?;
        let line = |quantity| {
            let correction = self.manifest.entry(quantity).and_then(|entry| entry.correction);
            correction.map(|correction| (correction.scale, correction.offset * 1e-3))
        };
        let constant = self.manifest.const_energy_mj.unwrap_or(0.0) * 1e-3;
        Some(Seconds(match line(Measured::Energy) {
            None => (energy.0 - constant) / watts,
            Some((scale, offset)) => {
                let uncorrected = ((energy.0 - offset) / scale - constant) / watts;
                let (scale, offset) = line(Measured::Latency).unwrap_or((1.0, 0.0));
                scale * uncorrected + offset
            }
        }))
    }
}
