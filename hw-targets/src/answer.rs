//! How one quantity of a target is answered: the model that its manifest describes, or its table, with every word checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::accelerator::AcceleratorEntry;
use crate::cost::{Grade, Method, Scope};
use crate::error::HwError;
use crate::manifest::{Manifest, QuantityEntry, word};
use crate::model::features::OpClass;
use crate::model::fitted::Range;
use crate::model::limited::{DEFAULT_EXTRAPOLATION, LimitedModel};
use crate::model::{AcceleratorModel, CostModel, FirstOf, PowerModel, ScaledModel, TableModel};
use crate::table::OpTable;
use network::units::{Bytes, Quantity};

/// Common error of a table whose manifest and rows state none: clock, temperature and instrument.
pub(crate) const UNSTATED_COMMON_REL: f64 = 0.05;
/// Common error of an energy derived from a power whose manifest states none.
const UNSTATED_POWER_REL: f64 = 0.3;

/// How one quantity is answered, all words checked.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) model: Arc<dyn CostModel>,
    pub(crate) method: Method,
    pub(crate) basis: Method,
    pub(crate) scope: Scope,
    pub(crate) grade: Grade,
    pub(crate) factor: Option<f64>,
    pub(crate) constant: f64,
    pub(crate) common_rel: f64,
    /// Standard deviation of a whole network on top of its operators', as a fraction: of a model fitted to networks.
    pub(crate) network_rel: f64,
    pub(crate) explanation: String,
    /// Whether a table of measured operators is asked first.
    pub(crate) is_tabled: bool,
    /// Sums over operators, in SI units, of the networks that it was fitted to: the least and the largest.
    pub(crate) sums: Option<[f64; 2]>,
}

/// Makes the answers of one target out of its manifest and table.
pub(crate) struct Answers<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) table: Option<&'a Arc<OpTable>>,
    /// The manifest or the table, for messages.
    pub(crate) path: &'a Path,
}

impl Answers<'_> {
    fn bad(&self, field: &str, problem: &str) -> HwError {
        HwError::BadField { path: self.path.to_path_buf(), field: field.to_string(), problem: problem.to_string() }
    }

    /// A memory of the device. Without a unit, 320 could be bytes as well as kilobytes.
    pub(crate) fn memory(&self, field: &str, text: Option<&str>) -> Result<Option<Bytes>, HwError> {
        let Some(text) = text else { return Ok(None) };
        match text.parse::<Bytes>() {
            Ok(Bytes(0)) => Err(self.bad(field, "is zero: leave it out if it is not known")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(self.bad(field, &error.to_string())),
        }
    }

    /// What answers for latency; `None` if nothing does.
    pub(crate) fn latency(&self) -> Result<Option<Answer>, HwError> {
        Ok(self.uncorrected_latency()?.map(|answer| self.corrected(Quantity::Latency, answer)))
    }

    fn uncorrected_latency(&self) -> Result<Option<Answer>, HwError> {
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

    /// What answers for energy; `None` if nothing does. An energy derived from latency and corrected itself is derived
    /// from the latency before that one's own correction, or both would be in it.
    pub(crate) fn energy(&self) -> Result<Option<Answer>, HwError> {
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
            let answer = self.answered(Quantity::Energy, self.manifest.energy.is_some(), answer)?;
            return Ok(answer.map(|answer| self.corrected(Quantity::Energy, answer)));
        };
        if entry.has_fit() || self.table.is_some_and(|table| table.has(Quantity::Energy)) {
            return Err(self.bad("energy.power_W", "stands beside measured or fitted energies: keep one of them"));
        }
        let latency = if entry.correction.is_some() { self.uncorrected_latency()? } else { self.latency()? };
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
            is_tabled: latency.is_tabled,
            sums: latency.sums.map(|sums| sums.map(|sum| sum * watts)),
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
            is_tabled: false,
            sums: None,
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
        let per_mac = entry.per_mac.as_ref().filter(|_| table.is_none());
        let sums = per_mac.map(|fit| fit.macs.map(|macs| macs as f64 * fit.per_mac));
        let is_tabled = table.is_some();
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
            is_tabled,
            sums,
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
            return Err(self.bad(
                &format!("{field}.extrapolation"),
                &format!("is {limit}, and must be finite and at or above zero"),
            ));
        }
        Ok(Arc::new(LimitedModel { model, ranges, limit }))
    }

    fn answered(&self, quantity: Quantity, asked: bool, answer: Option<Answer>) -> Result<Option<Answer>, HwError> {
        match answer {
            None if asked => Err(self.bad(quantity.name(), "neither a table column nor a model stands behind it")),
            answer => Ok(answer),
        }
    }

    /// The answer with the correction that its entry states, if it does. Networks that vouch for it make it grade A, unless
    /// nothing but networks stands behind it, which may be the same ones.
    fn corrected(&self, quantity: Quantity, answer: Answer) -> Answer {
        let Some(correction) = self.manifest.entry(quantity).and_then(|entry| entry.correction) else { return answer };
        let (scale, networks, mape) = (correction.scale, correction.networks, 100.0 * correction.mape);
        let entry = self.manifest.entry(quantity);
        let of_networks = entry.is_some_and(|entry| entry.network_fit.is_some() || entry.per_mac.is_some());
        let is_validated = correction.is_validation() && (answer.is_tabled || !of_networks);
        Answer {
            model: Arc::new(ScaledModel { model: answer.model, scale }),
            constant: answer.constant * scale + correction.offset / 1e3,
            // On top of the operators' own, and in place of what a fit to networks said before.
            network_rel: correction.rel_error(),
            grade: if is_validated { Grade::A } else { answer.grade },
            sums: answer.sums.map(|sums| sums.map(|sum| sum * scale)),
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
