//! A device: its manifest and, for each quantity it knows, a model that answers.
//!
//! The cost of a network is the sum over its operators plus a constant, so a search may add up dense tables of
//! [`Estimate`]s in a [`CostSum`] and ask [`Target::value_of`] for the whole. Energy that is latency × a power says so,
//! and gives the latency that an energy amounts to. A board may know nothing but its memory, which then limits
//! what fits on it.

use std::path::Path;
use std::sync::Arc;

use crate::answer::{Answer, Answers, UNSTATED_COMMON_REL};
use crate::cost::{CostSum, CostValue, Estimate, Grade, Method, NetworkCost, OpCost, Scope};
use crate::error::HwError;
use crate::manifest::{DefaultBundle, FittedEntry, Manifest};
use crate::model::FittedModel;
use crate::model::features::OpClass;
use crate::table::OpTable;
use crate::table_op::TableOp;
use network::op::{Op, Workload};
use network::units::{Bytes, Joules, Quantity, Seconds};

/// A device that can say what an operator costs.
#[derive(Clone, Debug)]
pub struct Target {
    name: String,
    manifest: Manifest,
    table: Option<Arc<OpTable>>,
    bundles: Vec<DefaultBundle>,
    latency: Option<Answer>,
    energy: Option<Answer>,
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
        let latency = build.latency()?;
        let energy = build.energy()?;
        let sram = build.memory("sram", manifest.sram.as_deref())?;
        let flash = build.memory("flash", manifest.flash.as_deref())?;
        if latency.is_none() && energy.is_none() && sram.is_none() && flash.is_none() {
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
            vec![same("fbnet-cifar"), same("mcu-cifar")]
        } else {
            manifest.bundles.clone()
        };
        Ok(Self {
            name: name.to_string(),
            manifest,
            table,
            bundles,
            latency,
            energy,
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
        for answer in [&mut self.latency, &mut self.energy].into_iter().flatten() {
            if let Some(lifted) = answer.model.without_limit() {
                answer.model = lifted;
            }
        }
        self
    }

    /// The model of `quantity` fitted to operators that its file states, if it does.
    ///
    /// # Errors
    /// None for a target, whose models were read when it was made.
    pub fn fitted_model(&self, quantity: Quantity) -> Result<Option<FittedModel>, HwError> {
        let entry = match quantity {
            Quantity::Latency => self.manifest.latency.as_ref(),
            Quantity::Energy => self.manifest.energy.as_ref(),
            _ => None,
        };
        let fitted = entry.and_then(|entry| Some((entry.fitted.as_ref()?, entry.common_rel)));
        let model = |(fitted, common_rel): (&FittedEntry, Option<f64>)| {
            fitted.model(Path::new(&self.name), quantity.name(), common_rel.unwrap_or(UNSTATED_COMMON_REL))
        };
        fitted.map(model).transpose()
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
        match quantity {
            Quantity::Latency => self.latency.is_some(),
            Quantity::Energy => self.energy.is_some(),
            _ => true,
        }
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

    /// Refuses a quantity that it cannot answer.
    ///
    /// # Errors
    /// [`HwError::UnknownQuantity`], naming those it knows.
    pub fn require(&self, quantity: Quantity) -> Result<(), HwError> {
        if self.knows(quantity) {
            return Ok(());
        }
        let known: Vec<&str> = self.known().into_iter().map(Quantity::name).collect();
        let known = match known.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => known.concat(),
        };
        Err(HwError::UnknownQuantity { target: self.name.clone(), quantity, known })
    }

    /// Input sizes of networks that its tables are limited to; `None` = any.
    pub fn network_resolutions(&self) -> Option<Vec<u32>> {
        let sizes = |answer: &Option<Answer>| answer.as_ref().and_then(|answer| answer.model.network_resolutions());
        match (sizes(&self.latency), sizes(&self.energy)) {
            (Some(a), Some(b)) => Some(a.into_iter().filter(|size| b.contains(size)).collect()),
            (a, b) => a.or(b),
        }
    }

    /// One sentence on how `quantity` is answered, to be printed with the number; `None` for counts and quantities it
    /// does not know.
    pub fn explanation(&self, quantity: Quantity) -> Option<&str> {
        self.answer(quantity).map(|answer| answer.explanation.as_str())
    }

    /// Method, scope and grade of `quantity`, without a number.
    pub fn provenance(&self, quantity: Quantity) -> Option<(Method, Scope, Grade)> {
        self.answer(quantity).map(|answer| (answer.method, answer.scope, answer.grade))
    }

    /// Where the numbers of `quantity` come from and how far they may be off, without a number.
    pub fn standing(&self, quantity: Quantity) -> Option<Standing> {
        let answer = self.answer(quantity)?;
        let entry = self.manifest.entry(quantity);
        let fitted = entry.and_then(|entry| entry.fitted.as_ref());
        let network_fit = entry.and_then(|entry| entry.network_fit.as_ref());
        let per_mac = entry.and_then(|entry| entry.per_mac.as_ref());
        let correction = entry.and_then(|entry| entry.correction);
        let derived = entry.and_then(|entry| entry.power_w).is_some();
        let tabled = self.table.iter().flat_map(|table| table.rows()).filter(|row| row.measurement(quantity).is_some());
        let fitted_rows = fitted.iter().flat_map(|fit| fit.classes.values()).map(|class| class.rows).sum();
        // A model beside a table is most often fitted to that table.
        let operators = Some(tabled.count()).filter(|rows| *rows > 0).unwrap_or(fitted_rows);
        let networks = network_fit.map(|fit| fit.networks).or(per_mac.map(|fit| fit.left_out.len()));
        // Those that it is corrected on may be those that it was fitted to.
        let networks = networks.unwrap_or(0).max(correction.map_or(0, |correction| correction.networks));
        let block = fitted.and_then(|fit| fit.classes.get(OpClass::Block.name())).and_then(|class| class.loo_mape);
        let left_out = network_fit.map(|fit| fit.loo_mape).or(per_mac.map(|fit| fit.loo_mape)).or(block);
        let own = Standing {
            method: answer.method,
            basis: answer.basis,
            scope: answer.scope,
            grade: answer.grade,
            common_rel: answer.common_rel,
            factor: answer.factor,
            operators,
            networks,
            left_out,
        };
        // What an energy is derived from is what the latency stands on.
        let latency = if derived { self.standing(Quantity::Latency) } else { None };
        Some(latency.map_or(own, |latency| Standing {
            operators: latency.operators,
            networks: networks.max(latency.networks),
            left_out: latency.left_out,
            ..own
        }))
    }

    fn answer(&self, quantity: Quantity) -> Option<&Answer> {
        match quantity {
            Quantity::Latency => self.latency.as_ref(),
            Quantity::Energy => self.energy.as_ref(),
            _ => None,
        }
    }

    /// What `op` costs inside a network of input size `network_resolution`, in every quantity the target knows.
    ///
    /// # Errors
    /// [`HwError::MissingOperator`] if a quantity that it knows is not covered for this operator; never a zero.
    pub fn cost(&self, op: &Op, network_resolution: u32) -> Result<OpCost, HwError> {
        let of = |quantity| self.knows(quantity).then(|| self.cost_in(quantity, op, network_resolution)).transpose();
        Ok(OpCost { latency: of(Quantity::Latency)?, energy: of(Quantity::Energy)? })
    }

    /// What `op` costs in one quantity, in SI units; counts are exact, and memory is that of the operator alone.
    ///
    /// # Errors
    /// [`HwError::UnknownQuantity`] and [`HwError::MissingOperator`].
    pub fn cost_in(&self, quantity: Quantity, op: &Op, network_resolution: u32) -> Result<Estimate, HwError> {
        self.require(quantity)?;
        let exact = |value: f64| Estimate { value, std: 0.0, common_rel: 0.0, fitted: false, outside: false };
        let Some(answer) = self.answer(quantity) else {
            let alone = NetworkCost::exact(&Workload { resolution: network_resolution, ops: vec![op.clone()] });
            return Ok(exact(alone.value(quantity).unwrap_or(0.0)));
        };
        let one = |op: &Op| {
            answer.model.cost(op, network_resolution).map_err(|uncovered| HwError::MissingOperator {
                target: self.name.clone(),
                quantity,
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
        Ok(Estimate {
            value: sum.value,
            std: sum.variance.sqrt(),
            common_rel: if sum.value > 0.0 { sum.common / sum.value } else { 0.0 },
            fitted: sum.fitted > 0,
            outside: sum.outside > 0,
        })
    }

    /// What every network pays on top of its operators, in SI units; 0 for counts.
    pub fn constant(&self, quantity: Quantity) -> f64 {
        self.answer(quantity).map_or(0.0, |answer| answer.constant)
    }

    /// The whole network's cost in `quantity` out of the sum over its operators; the constant is added here.
    ///
    /// # Errors
    /// [`HwError::NoCost`] where that is not above zero, which a correction can bring about.
    ///
    /// # Panics
    /// For counts and quantities that the target does not know, which have no sums of estimates.
    pub fn value_of(&self, quantity: Quantity, sum: &CostSum) -> Result<CostValue, HwError> {
        let answer = self.answer(quantity).unwrap_or_else(|| panic!("{} has no sums of {quantity}", self.name));
        let value = sum.value + answer.constant;
        if !(value.is_finite() && value > 0.0) {
            let (target, value) = (self.name.clone(), quantity.format(value));
            return Err(HwError::NoCost { target, quantity, value });
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
        })
    }

    /// What a network costs in every quantity the target knows.
    ///
    /// # Errors
    /// [`HwError::MissingOperator`], as [`Target::cost`]; [`HwError::NoCost`].
    pub fn cost_of(&self, workload: &Workload) -> Result<NetworkCost, HwError> {
        let mut sums = [CostSum::default(); 2];
        for op in &workload.ops {
            let cost = self.cost(op, workload.resolution)?;
            cost.latency.iter().for_each(|estimate| sums[0].add(estimate));
            cost.energy.iter().for_each(|estimate| sums[1].add(estimate));
        }
        let whole = |quantity, sum| self.knows(quantity).then(|| self.value_of(quantity, sum)).transpose();
        Ok(NetworkCost {
            latency: whole(Quantity::Latency, &sums[0])?,
            energy: whole(Quantity::Energy, &sums[1])?,
            ..NetworkCost::exact(workload)
        })
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
        Some(Seconds(match line(Quantity::Energy) {
            None => (energy.0 - constant) / watts,
            Some((scale, offset)) => {
                let uncorrected = ((energy.0 - offset) / scale - constant) / watts;
                let (scale, offset) = line(Quantity::Latency).unwrap_or((1.0, 0.0));
                scale * uncorrected + offset
            }
        }))
    }
}
