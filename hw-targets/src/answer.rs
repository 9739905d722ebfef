//! How one quantity of a target is answered: the model that its manifest describes, or its table, with every word checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::accelerator::AcceleratorEntry;
use crate::cost::{Grade, Method, Scope};
use crate::error::HwError;
use crate::manifest::{LAYERS, Manifest, QuantityEntry, Source, word};
use crate::model::features::OpClass;
use crate::model::fitted::Range;
use crate::model::limited::{DEFAULT_EXTRAPOLATION, LimitedModel};
use crate::model::{AcceleratorModel, CostModel, FirstOf, FittedModel, PowerModel, ScaledModel, TableModel};
use crate::table::OpTable;
use network::units::{Bytes, Measured};

/// Common error of a table whose manifest and rows state none: clock, temperature and instrument.
pub(crate) const UNSTATED_COMMON_REL: f64 = 0.05;
/// Common error of an energy derived from a power whose manifest states none.
const UNSTATED_POWER_REL: f64 = 0.3;

/// How one quantity is answered, all words checked.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) model: Arc<dyn CostModel>,
    /// The model fitted to operators that answers, if one does.
    pub(crate) fitted: Option<Arc<FittedModel>>,
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
    /// What was measured for it.
    pub(crate) evidence: Evidence,
}

impl Answer {
    /// Its explanation says what it is the cost of, unless it does already.
    pub(crate) fn say_batch(&mut self, batch: u32) {
        if !self.explanation.contains("per batch of") {
            self.explanation.push_str(&format!(", per batch of {batch} images"));
        }
    }
}

/// What was measured for an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Operators, in a table or fitted to.
    pub(crate) operators: usize,
    /// Networks measured whole, fitted to or corrected with.
    pub(crate) networks: usize,
    /// Mean absolute relative error of what was fitted to when fitted without it.
    pub(crate) left_out: Option<f64>,
}

impl Evidence {
    fn of(source: Source, rows: usize) -> Self {
        let of_networks = |networks, error| Self { operators: rows, networks, left_out: Some(error) };
        match source {
            Source::Fitted(fit) => {
                let fitted_rows = fit.classes.values().map(|class| class.rows).sum();
                let left_out = fit.classes.get(OpClass::Block.name()).and_then(|class| class.loo_mape);
                // A model beside a table is most often fitted to that table.
                Self { operators: if rows > 0 { rows } else { fitted_rows }, networks: 0, left_out }
            }
            Source::Networks(fit) => of_networks(fit.networks, fit.loo_mape),
            Source::PerMac(fit) => of_networks(fit.left_out.len(), fit.loo_mape),
            Source::Table | Source::Power(_) | Source::Accelerator(_) => Self { operators: rows, ..Self::default() },
        }
    }
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
        Ok(self.uncorrected_latency()?.map(|answer| self.corrected(Measured::Latency, answer)))
    }

    fn uncorrected_latency(&self) -> Result<Option<Answer>, HwError> {
        let entry = self.manifest.latency.clone().unwrap_or_default();
        let answer = match entry.source(self.path, Measured::Latency)? {
            Source::Power(_) => return Err(self.bad("latency.power_W", "only an energy is derived from a power")),
            Source::Accelerator(_) => {
                return Err(self.bad("latency.accelerator", "only an energy is counted on an accelerator"));
            }
            source => self.measured_or_fitted(Measured::Latency, &entry, source, Method::Measured, Scope::Inference)?,
        };
        self.answered(Measured::Latency, self.manifest.latency.is_some(), answer)
    }

    /// What answers for energy; `None` if nothing does.
    pub(crate) fn energy(&self) -> Result<Option<Answer>, HwError> {
        let entry = self.manifest.energy.clone().unwrap_or_default();
        let scope = self.manifest.energy_scope.as_deref();
        let scope = word(self.path, "energy_scope", scope, Scope::parse, Scope::WORDS)?;
        let scope = scope.or_else(|| self.table?.energy_scope()).unwrap_or(Scope::Unstated);
        let answer = match entry.source(self.path, Measured::Energy)? {
            Source::Accelerator(named) => Some(self.counted(named, &entry)?),
            Source::Power(watts) => Some(self.derived(watts, &entry, scope)?),
            source => {
                let method = self.table.and_then(|table| table.energy_method()).unwrap_or(Method::Unstated);
                let answer = self.measured_or_fitted(Measured::Energy, &entry, source, method, scope)?;
                self.answered(Measured::Energy, self.manifest.energy.is_some(), answer)?
            }
        };
        Ok(answer.map(|answer| self.corrected(Measured::Energy, answer)))
    }

    /// Energy as latency × a power; no table may answer for it. One that is corrected itself is derived from the latency
    /// before that one's own correction, or both would be in it.
    fn derived(&self, watts: f64, entry: &QuantityEntry, scope: Scope) -> Result<Answer, HwError> {
        const ENERGY: Measured = Measured::Energy;
        if self.table.is_some_and(|table| table.has(ENERGY)) {
            return Err(self.bad("energy.power_W", "stands beside measured or fitted energies: keep one of them"));
        }
        let latency = if entry.correction.is_some() { self.uncorrected_latency()? } else { self.latency()? };
        let latency = latency.ok_or_else(|| self.bad("energy.power_W", "needs a latency to multiply"))?;
        let common_rel = entry.common_rel.unwrap_or(UNSTATED_POWER_REL).max(latency.common_rel);
        let made = format!("energy = latency × {watts} W");
        // What the latency stands on, with its own correction.
        let evidence = self.with_networks(Measured::Latency, latency.evidence);
        Ok(Answer {
            model: Arc::new(PowerModel::new(latency.model, watts, common_rel)),
            fitted: None,
            method: entry.method(self.path, ENERGY)?.unwrap_or(Method::DerivedPower),
            basis: entry.basis(self.path, ENERGY)?.unwrap_or(latency.method),
            scope: entry.scope(self.path, ENERGY)?.unwrap_or(scope),
            grade: entry.grade(self.path, ENERGY)?.unwrap_or(Grade::C),
            factor: entry.factor,
            constant: latency.constant * watts + self.constant(ENERGY),
            common_rel,
            network_rel: latency.network_rel,
            explanation: entry.explanation.clone().unwrap_or(made),
            is_tabled: latency.is_tabled,
            sums: latency.sums.map(|sums| sums.map(|sum| sum * watts)),
            evidence,
        })
    }

    /// Energy counted on an accelerator; no table may answer for it.
    fn counted(&self, named: &AcceleratorEntry, entry: &QuantityEntry) -> Result<Answer, HwError> {
        const ENERGY: Measured = Measured::Energy;
        let field = "energy.accelerator";
        if self.table.is_some_and(|table| table.has(ENERGY)) {
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
        let method = entry.method(self.path, ENERGY)?.unwrap_or(Method::Simulated);
        Ok(Answer {
            model: Arc::new(AcceleratorModel::new(accelerator, unit, common_rel)),
            fitted: None,
            method,
            basis: entry.basis(self.path, ENERGY)?.unwrap_or(method),
            scope: entry.scope(self.path, ENERGY)?.unwrap_or(Scope::ChipAndDram),
            grade: entry.grade(self.path, ENERGY)?.unwrap_or(Grade::D),
            factor: entry.factor,
            constant: self.constant(ENERGY),
            common_rel,
            network_rel: 0.0,
            explanation: entry.explanation.clone().unwrap_or(made),
            is_tabled: false,
            sums: None,
            evidence: Evidence::default(),
        })
    }

    /// What every network pays on top of its operators, in SI units.
    fn constant(&self, quantity: Measured) -> f64 {
        let stated = match quantity {
            Measured::Latency => self.manifest.const_latency_ms,
            Measured::Energy => self.manifest.const_energy_mj,
        };
        stated.unwrap_or(0.0) * 1e-3
    }

    /// The answer of a table, of a fitted model, or of the table first and the model for what it lacks.
    fn measured_or_fitted(
        &self,
        quantity: Measured,
        entry: &QuantityEntry,
        source: Source,
        table_method: Method,
        scope: Scope,
    ) -> Result<Option<Answer>, HwError> {
        let common_rel = entry.common_rel.unwrap_or(UNSTATED_COMMON_REL);
        let constant = self.constant(quantity);
        let stated = entry.method(self.path, quantity)?;
        let rows = self.table.iter().flat_map(|table| table.rows());
        let rows = rows.filter(|row| row.measurement(quantity).is_some()).count();
        let table = self.table.filter(|_| rows > 0);
        let is_of_layers = self.manifest.composition.as_deref() == Some(LAYERS);
        let table = table.map(|table| match is_of_layers {
            true => TableModel::of_layers(table.clone(), quantity, common_rel),
            false => TableModel::new(table.clone(), quantity, common_rel),
        });
        let table: Option<Arc<dyn CostModel>> = table.map(|table| Arc::new(table) as _);
        let fit = self.fit(quantity, source, constant, common_rel)?;
        let is_tabled = table.is_some();
        let (model, method, made) = match (table, fit.model) {
            (Some(first), Some(second)) => {
                let model: Arc<dyn CostModel> = Arc::new(FirstOf { first, second });
                (model, stated.unwrap_or(table_method), "measured operators, and a fitted model for the others")
            }
            (Some(table), None) if is_of_layers => {
                (table, stated.unwrap_or(table_method), "convolutions and linear layers of a table, bare")
            }
            (Some(table), None) => (table, stated.unwrap_or(table_method), "operators of a table"),
            (None, Some(fitted)) => (fitted, stated.unwrap_or(Method::Fitted), "fitted operators"),
            (None, None) => return Ok(None),
        };
        let grade = entry.grade(self.path, quantity)?.unwrap_or(match method {
            Method::Measured | Method::MeasuredRail | Method::MeasuredWall | Method::MeasuredBattery => Grade::B,
            Method::DerivedPower | Method::Fitted | Method::Unstated => Grade::C,
            Method::Simulated => Grade::D,
        });
        let made = format!("{quantity} = sum over {made} ({method})");
        Ok(Some(Answer {
            model,
            fitted: fit.of_operators,
            method,
            basis: entry.basis(self.path, quantity)?.unwrap_or(method),
            scope: entry.scope(self.path, quantity)?.unwrap_or(scope),
            grade,
            factor: entry.factor,
            constant,
            common_rel,
            // Beside a table the model answers for a part of a network only, whose share of the error is its operators'.
            network_rel: fit.network_rel.filter(|_| !is_tabled).unwrap_or(0.0),
            explanation: entry.explanation.clone().unwrap_or(made),
            is_tabled,
            sums: fit.sums.filter(|_| !is_tabled),
            evidence: Evidence::of(source, rows),
        }))
    }

    /// The fitted model that `source` describes, if it describes one.
    fn fit(&self, of: Measured, source: Source, constant: f64, common_rel: f64) -> Result<FitParts, HwError> {
        let name = of.name();
        Ok(match source {
            Source::Fitted(entry) => {
                let model = Arc::new(entry.model(self.path, name, common_rel)?);
                let ranges = model.classes.iter().map(|(class, fit)| (*class, fit.range.clone())).collect();
                let limited = self.limited(model.clone(), ranges, entry.extrapolation, &format!("{name}.fitted"))?;
                FitParts { model: Some(limited), of_operators: Some(model), ..FitParts::default() }
            }
            Source::Networks(entry) => {
                let model = entry.model(self.path, name, constant, common_rel)?;
                let ranges = model.ranges.clone();
                let field = format!("{name}.network_fit");
                let limited = self.limited(Arc::new(model), ranges, entry.extrapolation, &field)?;
                FitParts { model: Some(limited), network_rel: Some(entry.rel_error), ..FitParts::default() }
            }
            Source::PerMac(entry) => FitParts {
                model: Some(Arc::new(entry.model(self.path, name, constant, common_rel)?)),
                network_rel: Some(entry.rel_error),
                sums: Some(entry.macs.map(|macs| macs as f64 * entry.per_mac)),
                of_operators: None,
            },
            Source::Table | Source::Power(_) | Source::Accelerator(_) => FitParts::default(),
        })
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

    fn answered(&self, quantity: Measured, asked: bool, answer: Option<Answer>) -> Result<Option<Answer>, HwError> {
        match answer {
            None if asked => Err(self.bad(quantity.name(), "neither a table column nor a model stands behind it")),
            answer => Ok(answer),
        }
    }

    /// With the networks that `quantity` is corrected on, which may be those that it was fitted to.
    fn with_networks(&self, quantity: Measured, evidence: Evidence) -> Evidence {
        let correction = self.manifest.entry(quantity).and_then(|entry| entry.correction);
        let networks = correction.map_or(0, |correction| correction.networks).max(evidence.networks);
        Evidence { networks, ..evidence }
    }

    /// The answer with the correction that its entry states, if it does. Networks that vouch for it make it grade A, unless
    /// nothing but networks stands behind it, which may be the same ones.
    fn corrected(&self, quantity: Measured, answer: Answer) -> Answer {
        let Some(entry) = self.manifest.entry(quantity) else { return answer };
        let Some(correction) = entry.correction else { return answer };
        let (scale, networks, mape) = (correction.scale, correction.networks, 100.0 * correction.mape);
        let of_networks = entry.network_fit.is_some() || entry.per_mac.is_some();
        let is_validated = correction.is_validation() && (answer.is_tabled || !of_networks);
        Answer {
            model: Arc::new(ScaledModel { model: answer.model, scale }),
            constant: answer.constant * scale + correction.offset / 1e3,
            // On top of the operators' own, and in place of what a fit to networks said before.
            network_rel: correction.rel_error(),
            grade: if is_validated { Grade::A } else { answer.grade },
            sums: answer.sums.map(|sums| sums.map(|sum| sum * scale)),
            evidence: self.with_networks(quantity, answer.evidence),
            explanation: format!(
                "{}, corrected on {networks} networks measured whole (× {scale:.4}, {:+.4} {}; error {mape:.2} %)",
                answer.explanation,
                correction.offset,
                match quantity {
                    Measured::Latency => "ms",
                    Measured::Energy => "mJ",
                },
            ),
            ..answer
        }
    }
}

/// A fitted model with what an answer has to know about it.
#[derive(Default)]
struct FitParts {
    model: Option<Arc<dyn CostModel>>,
    /// The same without its limit, where it is one of operators.
    of_operators: Option<Arc<FittedModel>>,
    /// Standard deviation of a whole network, as a fraction, where it is one of networks.
    network_rel: Option<f64>,
    /// Sums over operators of the networks that it was fitted to: the least and the largest.
    sums: Option<[f64; 2]>,
}
