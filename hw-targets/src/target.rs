//! A device: its manifest and, for each quantity it knows, a model that answers.
//!
//! The cost of a network is the sum over its operators plus a constant, so a search may add up dense tables of
//! [`Estimate`]s in a [`CostSum`] and ask [`Target::value_of`] for the whole. Energy that is latency × a power says so,
//! and gives the latency that an energy amounts to. A board may know nothing but its memory, which then limits
//! what fits on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::accelerator::AcceleratorEntry;
use crate::cost::{CostSum, CostValue, Estimate, Grade, Method, NetworkCost, OpCost, Scope};
use crate::error::HwError;
use crate::manifest::{DefaultBundle, FittedEntry, Manifest, QuantityEntry, word};
use crate::model::features::OpClass;
use crate::model::fitted::Range;
use crate::model::limited::{DEFAULT_EXTRAPOLATION, LimitedModel};
use crate::model::{AcceleratorModel, CostModel, FirstOf, FittedModel, PowerModel, ScaledModel, TableModel};
use crate::table::OpTable;
use crate::units::{Bytes, Joules, Quantity, Seconds};
use crate::workload::{Op, Workload};

/// Common error of a table whose manifest and rows state none: clock, temperature and instrument.
const UNSTATED_COMMON_REL: f64 = 0.05;
/// Common error of an energy derived from a power whose manifest states none.
const UNSTATED_POWER_REL: f64 = 0.3;

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
    /// The same as a factor, where that says it better.
    pub factor: Option<f64>,
    /// Measured operators they rest on, fitted to or in a table.
    pub operators: usize,
    /// Networks measured whole that they rest on, fitted to or corrected with.
    pub networks: usize,
    /// Mean absolute relative error of what was fitted to when fitted without it: of a block, or of a network where
    /// networks were fitted to.
    pub left_out: Option<f64>,
}

/// How one quantity is answered, all words checked.
#[derive(Clone, Debug)]
struct Answer {
    model: Arc<dyn CostModel>,
    method: Method,
    basis: Method,
    scope: Scope,
    grade: Grade,
    factor: Option<f64>,
    constant: f64,
    common_rel: f64,
    /// Standard deviation of a whole network on top of its operators', as a fraction: of a model fitted to networks.
    network_rel: f64,
    explanation: String,
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
        let build = Builder { manifest: &manifest, table: table.as_ref(), path };
        let latency = build.latency()?;
        let energy = build.energy(latency.as_ref())?;
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
    pub fn operators(&self) -> Vec<(Op, u32)> {
        let rows = self.table.iter().flat_map(|table| table.rows());
        rows.map(|row| (*row.key.op(), row.key.network_resolution().unwrap_or(0))).collect()
    }

    /// The same with what is odd about its table.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// What was found odd when its table was added or imported, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same answering for operators however far outside of what its models were fitted to, their errors growing with
    /// the distance; without fitted models the same.
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
        let entry = if quantity == Quantity::Latency { &self.manifest.latency } else { &self.manifest.energy };
        let entry = entry.as_ref();
        let fitted = entry.and_then(|entry| entry.fitted.as_ref());
        let network_fit = entry.and_then(|entry| entry.network_fit.as_ref());
        let per_mac = entry.and_then(|entry| entry.per_mac.as_ref());
        let correction = entry.and_then(|entry| entry.correction);
        let derived = entry.and_then(|entry| entry.power_w).is_some();
        let tabled = self.table.iter().flat_map(|table| table.rows()).filter(|row| row.measurement(quantity).is_some());
        let operators =
            tabled.count() + fitted.iter().flat_map(|fit| fit.classes.values()).map(|class| class.rows).sum::<usize>();
        let networks = network_fit.map(|fit| fit.networks).or(per_mac.map(|fit| fit.left_out.len()));
        let networks = networks.unwrap_or(0) + correction.map_or(0, |correction| correction.networks);
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
            let alone = NetworkCost::exact(&Workload { resolution: network_resolution, ops: vec![*op] });
            return Ok(exact(alone.value(quantity).unwrap_or(0.0)));
        };
        answer.model.cost(op, network_resolution).map_err(|uncovered| HwError::MissingOperator {
            target: self.name.clone(),
            quantity,
            op: op.to_string(),
            resolution: network_resolution,
            near: uncovered.near,
        })
    }

    /// What every network pays on top of its operators, in SI units; 0 for counts.
    pub fn constant(&self, quantity: Quantity) -> f64 {
        self.answer(quantity).map_or(0.0, |answer| answer.constant)
    }

    /// The whole network's cost in `quantity` out of the sum over its operators; the constant is added here.
    ///
    /// # Panics
    /// For counts and quantities that the target does not know, which have no sums of estimates.
    pub fn value_of(&self, quantity: Quantity, sum: &CostSum) -> CostValue {
        let answer = self.answer(quantity).unwrap_or_else(|| panic!("{} has no sums of {quantity}", self.name));
        let value = sum.value + answer.constant;
        let common = sum.common + answer.common_rel * answer.constant;
        CostValue {
            value,
            std: sum.variance.sqrt().hypot(answer.network_rel * value),
            common_rel: if value > 0.0 { common / value } else { 0.0 },
            method: answer.method,
            basis: answer.basis,
            scope: answer.scope,
            // A sum of measured operators it is no more, whatever the grade of those.
            grade: if sum.fitted > 0 && answer.grade == Grade::B { Grade::C } else { answer.grade },
            factor: answer.factor,
            fitted: sum.fitted > 0,
            outside: sum.outside,
        }
    }

    /// What a network costs in every quantity the target knows.
    ///
    /// # Errors
    /// [`HwError::MissingOperator`], as [`Target::cost`].
    pub fn cost_of(&self, workload: &Workload) -> Result<NetworkCost, HwError> {
        let mut sums = [CostSum::default(); 2];
        for op in &workload.ops {
            let cost = self.cost(op, workload.resolution)?;
            cost.latency.iter().for_each(|estimate| sums[0].add(estimate));
            cost.energy.iter().for_each(|estimate| sums[1].add(estimate));
        }
        let whole = |quantity, sum| self.knows(quantity).then(|| self.value_of(quantity, sum));
        Ok(NetworkCost {
            latency: whole(Quantity::Latency, &sums[0]),
            energy: whole(Quantity::Energy, &sums[1]),
            ..NetworkCost::exact(workload)
        })
    }

    /// The power that energy is derived with, in watts, if it is derived from latency.
    pub fn derived_power(&self) -> Option<f64> {
        self.watts
    }

    /// The latency that `energy` amounts to, if energy is derived from latency.
    pub fn latency_equivalent(&self, energy: Joules) -> Option<Seconds> {
        self.watts.map(|watts| Seconds(energy.0 / watts))
    }
}

/// Builds the answers of one target out of its manifest and table.
struct Builder<'a> {
    manifest: &'a Manifest,
    table: Option<&'a Arc<OpTable>>,
    path: &'a Path,
}

impl Builder<'_> {
    fn bad(&self, field: &str, problem: &str) -> HwError {
        HwError::BadField { path: self.path.to_path_buf(), field: field.to_string(), problem: problem.to_string() }
    }

    /// A memory of the device. Without a unit, 320 could be bytes as well as kilobytes.
    fn memory(&self, field: &str, text: Option<&str>) -> Result<Option<Bytes>, HwError> {
        let Some(text) = text else { return Ok(None) };
        match text.parse::<Bytes>() {
            Ok(Bytes(0)) => Err(self.bad(field, "is zero: leave it out if it is not known")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(self.bad(field, &error.to_string())),
        }
    }

    fn latency(&self) -> Result<Option<Answer>, HwError> {
        let entry = self.manifest.latency.clone().unwrap_or_default();
        if entry.power_w.is_some() {
            return Err(self.bad("latency.power_W", "only an energy is derived from a power"));
        }
        if entry.accelerator.is_some() {
            return Err(self.bad("latency.accelerator", "only an energy is counted on an accelerator"));
        }
        let answer = self.measured_or_fitted(Quantity::Latency, &entry, Method::Measured, Scope::Inference)?;
        self.answered(Quantity::Latency, self.manifest.latency.is_some(), answer)
    }

    fn energy(&self, latency: Option<&Answer>) -> Result<Option<Answer>, HwError> {
        let entry = self.manifest.energy.clone().unwrap_or_default();
        let constant = self.manifest.const_energy_mj.unwrap_or(0.0) * 1e-3;
        let scope = self.manifest.energy_scope.as_deref();
        let scope = word(self.path, "energy_scope", scope, Scope::parse, Scope::WORDS)?;
        let scope = scope.or_else(|| self.table?.energy_scope()).unwrap_or(Scope::Unstated);
        if let Some(accelerator) = &entry.accelerator {
            let answer = Answer { constant, ..self.counted(accelerator, &entry)? };
            return Ok(Some(self.corrected(Quantity::Energy, answer)));
        }
        let Some(watts) = entry.power_w else {
            let method = self.table.and_then(|table| table.energy_method()).unwrap_or(Method::Unstated);
            let answer = self.measured_or_fitted(Quantity::Energy, &entry, method, scope)?;
            return self.answered(Quantity::Energy, self.manifest.energy.is_some(), answer);
        };
        if entry.has_fit() || self.table.is_some_and(|table| table.has(Quantity::Energy)) {
            return Err(self.bad("energy.power_W", "stands beside measured or fitted energies: keep one of them"));
        }
        let latency = latency.ok_or_else(|| self.bad("energy.power_W", "needs a latency to multiply"))?;
        let common_rel = entry.common_rel.unwrap_or(UNSTATED_POWER_REL).max(latency.common_rel);
        let made = format!("energy = latency × {watts} W");
        let answer = Answer {
            model: Arc::new(PowerModel::new(latency.model.clone(), watts, common_rel)),
            method: entry.method(self.path, "energy")?.unwrap_or(Method::DerivedPower),
            basis: entry.basis(self.path, "energy")?.unwrap_or(latency.method),
            scope: entry.scope(self.path, "energy")?.unwrap_or(scope),
            grade: entry.grade(self.path, "energy")?.unwrap_or(Grade::C),
            factor: entry.factor,
            constant: latency.constant * watts + constant,
            common_rel,
            network_rel: latency.network_rel,
            explanation: entry.explanation.unwrap_or(made),
        };
        Ok(Some(self.corrected(Quantity::Energy, answer)))
    }

    /// Energy counted on an accelerator; nothing else may answer for it.
    fn counted(&self, named: &AcceleratorEntry, entry: &QuantityEntry) -> Result<Answer, HwError> {
        let field = "energy.accelerator";
        let others = entry.has_fit() || entry.power_w.is_some();
        if others || self.table.is_some_and(|table| table.has(Quantity::Energy)) {
            return Err(self.bad(field, "stands beside measured, fitted or derived energies: keep one of them"));
        }
        let accelerator = named.accelerator(self.path).map_err(|error| match error {
            HwError::UnknownAccelerator { name, known, .. } => {
                let known = known.join(", ");
                self.bad(field, &format!("{name:?} is none of: {known}; the path of one's own ends in .yaml"))
            }
            other => other,
        })?;
        let unit = accelerator.unit_joules();
        let unit = unit.ok_or_else(|| self.bad(field, "has no unit_pJ, so that it counts no joules"))?;
        let common_rel = entry.common_rel.unwrap_or(UNSTATED_POWER_REL);
        let name = accelerator.name();
        let made = format!("energy counted on {name}, {:.3} pJ a 16-bit multiply-accumulate", unit * 1e12);
        let method = entry.method(self.path, "energy")?.unwrap_or(Method::Simulated);
        Ok(Answer {
            model: Arc::new(AcceleratorModel::new(accelerator, unit, common_rel)),
            method,
            basis: entry.basis(self.path, "energy")?.unwrap_or(method),
            scope: entry.scope(self.path, "energy")?.unwrap_or(Scope::ChipAndDram),
            grade: entry.grade(self.path, "energy")?.unwrap_or(Grade::D),
            factor: entry.factor,
            constant: 0.0,
            common_rel,
            network_rel: 0.0,
            explanation: entry.explanation.clone().unwrap_or(made),
        })
    }

    /// The answer of a table, of a fitted model, or of the table first and the model for what it lacks.
    fn measured_or_fitted(
        &self,
        quantity: Quantity,
        entry: &QuantityEntry,
        table_method: Method,
        scope: Scope,
    ) -> Result<Option<Answer>, HwError> {
        let field = quantity.name();
        let common_rel = entry.common_rel.unwrap_or(UNSTATED_COMMON_REL);
        let stated = entry.method(self.path, field)?;
        let table: Option<Arc<dyn CostModel>> = match self.table {
            Some(table) if table.has(quantity) => Some(Arc::new(TableModel::new(table.clone(), quantity, common_rel))),
            _ => None,
        };
        let constant = match quantity {
            Quantity::Latency => self.manifest.const_latency_ms,
            _ => self.manifest.const_energy_mj,
        };
        let constant = constant.unwrap_or(0.0) * 1e-3;
        let fitted: Option<Arc<dyn CostModel>> = match (&entry.fitted, &entry.network_fit) {
            (Some(_), Some(_)) => {
                return Err(self.bad(&format!("{field}.network_fit"), "stands beside fitted: keep one"));
            }
            (Some(fitted), None) => {
                let model = fitted.model(self.path, field, common_rel)?;
                let ranges = model.classes.iter().map(|(class, fit)| (*class, fit.range.clone())).collect();
                Some(self.limited(Arc::new(model), ranges, fitted.extrapolation, &format!("{field}.fitted"))?)
            }
            (None, Some(fit)) => {
                let model = fit.model(self.path, field, constant, common_rel)?;
                let ranges = model.ranges.clone();
                Some(self.limited(Arc::new(model), ranges, fit.extrapolation, &format!("{field}.network_fit"))?)
            }
            (None, None) => None,
        };
        let fitted: Option<Arc<dyn CostModel>> = match (fitted, &entry.per_mac) {
            (Some(_), Some(_)) => {
                return Err(self.bad(&format!("{field}.per_mac"), "stands beside another fitted model: keep one"));
            }
            (None, Some(fit)) => Some(Arc::new(fit.model(self.path, field, constant, common_rel)?)),
            (fitted, None) => fitted,
        };
        // Beside a table the model answers for a part of a network only, whose share of the error is its operators'.
        let per_mac = entry.per_mac.as_ref().map(|fit| fit.rel_error);
        let of_networks = entry.network_fit.as_ref().map(|fit| fit.rel_error).or(per_mac);
        let network_rel = of_networks.filter(|_| table.is_none()).unwrap_or(0.0);
        let (model, method, made) = match (table, fitted) {
            (Some(first), Some(second)) => {
                let model: Arc<dyn CostModel> = Arc::new(FirstOf { first, second });
                (model, stated.unwrap_or(table_method), "measured operators, and a fitted model for the others")
            }
            (Some(table), None) => (table, stated.unwrap_or(table_method), "operators of a table"),
            (None, Some(fitted)) => (fitted, stated.unwrap_or(Method::Fitted), "fitted operators"),
            (None, None) => return Ok(None),
        };
        let grade = entry.grade(self.path, field)?.unwrap_or(match method {
            Method::Measured | Method::MeasuredRail | Method::MeasuredWall | Method::MeasuredBattery => Grade::B,
            Method::DerivedPower | Method::Fitted | Method::Unstated => Grade::C,
            Method::Simulated => Grade::D,
        });
        Ok(Some(Answer {
            model,
            method,
            basis: entry.basis(self.path, field)?.unwrap_or(method),
            scope: entry.scope(self.path, field)?.unwrap_or(scope),
            grade,
            factor: entry.factor,
            constant,
            common_rel,
            network_rel,
            explanation: entry.explanation.clone().unwrap_or_else(|| format!("{field} = sum over {made} ({method})")),
        }))
    }

    /// A fitted model with the limit that its entry states, or the default.
    fn limited(
        &self,
        model: Arc<dyn CostModel>,
        ranges: BTreeMap<OpClass, Range>,
        stated: Option<f64>,
        field: &str,
    ) -> Result<Arc<dyn CostModel>, HwError> {
        let limit = stated.unwrap_or(DEFAULT_EXTRAPOLATION);
        if !(limit.is_finite() && limit >= 0.0) {
            return Err(
                self.bad(&format!("{field}.extrapolation"), &format!("is {limit}, and must be at or above zero"))
            );
        }
        Ok(Arc::new(LimitedModel { model, ranges, limit }))
    }

    fn answered(&self, quantity: Quantity, asked: bool, answer: Option<Answer>) -> Result<Option<Answer>, HwError> {
        match answer {
            None if asked => Err(self.bad(quantity.name(), "neither a table column nor a model stands behind it")),
            answer => Ok(answer.map(|answer| self.corrected(quantity, answer))),
        }
    }

    /// The answer with the correction that its entry states, if it does.
    fn corrected(&self, quantity: Quantity, answer: Answer) -> Answer {
        let entry = if quantity == Quantity::Latency { &self.manifest.latency } else { &self.manifest.energy };
        let Some(correction) = entry.as_ref().and_then(|entry| entry.correction) else { return answer };
        let (scale, networks, mape) = (correction.scale, correction.networks, 100.0 * correction.mape);
        Answer {
            model: Arc::new(ScaledModel { model: answer.model, scale }),
            constant: answer.constant * scale + correction.offset / 1e3,
            // On top of the operators' own, and in place of what a fit to networks said before.
            network_rel: correction.rel_error(),
            explanation: format!(
                "{}, corrected on {networks} networks measured whole (× {scale:.4}, {:+.4} {}; error {mape:.2} %)",
                answer.explanation,
                correction.offset,
                if quantity == Quantity::Latency { "ms" } else { "mJ" },
            ),
            ..answer
        }
    }
}
