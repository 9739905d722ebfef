//! How a manifest says that energy or latency is answered.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FittedEntry, NetworkFitEntry, PerMacEntry};
use crate::accelerator::AcceleratorEntry;
use crate::cost::{Grade, Method, Scope};
use crate::error::HwError;
use network::units::Measured;

/// How one quantity is answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantityEntry {
    /// One sentence that is printed with every number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// Who measured it, where the target's `measured_by` does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_by: Option<String>,
    /// How the number came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What the method stands on, itself a method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// What it includes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How far to trust it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<String>,
    /// Error common to all networks, one sigma, as a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_rel: Option<f64>,
    /// The error as a factor, where that says it better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Energy = latency × this power in watts.
    #[serde(rename = "power_W", skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Energy counted on an accelerator, whose description must state its `unit_pJ`: one that ships, by its name; one's
    /// own, as a path from the manifest's folder, or in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrMapping>")]
    pub accelerator: Option<AcceleratorEntry>,
    /// A fitted model; beside a table, it answers for operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<FittedEntry>,
    /// A model fitted to whole networks; it stands alone, or answers for operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_fit: Option<NetworkFitEntry>,
    /// One number per multiply-accumulate, fitted to a handful of whole networks; it stands alone, or answers for
    /// operators that the table lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_mac: Option<PerMacEntry>,
    /// What brings the sums closest to networks measured whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
}

/// What answers for a quantity beside, or in place of, the rows of a table.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Nothing: a table alone.
    Table,
    /// A model fitted to operators.
    Fitted(&'a FittedEntry),
    /// A model fitted to whole networks.
    Networks(&'a NetworkFitEntry),
    /// One number per multiply-accumulate.
    PerMac(&'a PerMacEntry),
    /// Latency × this power, in watts.
    Power(f64),
    /// Counted on an accelerator.
    Accelerator(&'a AcceleratorEntry),
}

/// network = scale × (sum and constant) + offset, fitted to networks measured whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Without unit, above zero.
    pub scale: f64,
    /// In milliseconds or millijoules; may be negative.
    pub offset: f64,
    /// Networks it was fitted to.
    pub networks: usize,
    /// Mean absolute relative error when each network is corrected by a fit to all others.
    pub mape: f64,
}

/// What a schema says of an accelerator, whose description is checked when it is read.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "stands for its schema")]
enum NameOrMapping {
    /// A shipped accelerator, or the path of a description.
    Name(String),
    /// A description.
    Mapping(BTreeMap<String, serde_json::Value>),
}

impl Correction {
    /// Fewest networks, and the largest error they may be off by, that validate a target end to end.
    const VALIDATION: (usize, f64) = (20, 0.1);
    /// How far a correction may scale what it validates, either way.
    const MAX_SCALE: f64 = 3.0;

    /// Whether the networks behind it say that the corrected answers can be trusted: 20 of them, off by at most 10 % in
    /// the mean when each is corrected by a fit to all others, and the answers within a factor of three before that.
    /// The limits are a judgement.
    pub(crate) fn is_validation(&self) -> bool {
        let is_near = self.scale.max(1.0 / self.scale) <= Self::MAX_SCALE;
        self.networks >= Self::VALIDATION.0 && self.mape <= Self::VALIDATION.1 && is_near
    }

    /// Standard deviation of one network, as a fraction: that of a normal distribution with this mean absolute error.
    pub fn rel_error(&self) -> f64 {
        (std::f64::consts::PI / 2.0).sqrt() * self.mape
    }
}

impl QuantityEntry {
    /// What answers beside a table, or in place of one.
    ///
    /// # Errors
    /// [`HwError::BadField`] where several do.
    pub fn source(&self, path: &Path, of: Measured) -> Result<Source<'_>, HwError> {
        let mut stated = self.stated();
        let (first, second) = (stated.next(), stated.next());
        let beside = match (first, second) {
            (None, _) => return Ok(Source::Table),
            (Some(only), None) => return Ok(only),
            (Some(Source::Accelerator(_)), _) => {
                ("accelerator", "stands beside measured, fitted or derived energies: keep one of them")
            }
            (Some(Source::Power(_)), _) => ("power_W", "stands beside measured or fitted energies: keep one of them"),
            (_, Some(Source::Networks(_))) => ("network_fit", "stands beside fitted: keep one"),
            _ => ("per_mac", "stands beside another fitted model: keep one"),
        };
        let (field, problem) = beside;
        Err(HwError::BadField {
            path: path.to_path_buf(),
            field: format!("{of}.{field}"),
            problem: problem.to_string(),
        })
    }

    fn stated(&self) -> impl Iterator<Item = Source<'_>> {
        let all = [
            self.accelerator.as_ref().map(Source::Accelerator),
            self.power_w.map(Source::Power),
            self.fitted.as_ref().map(Source::Fitted),
            self.network_fit.as_ref().map(Source::Networks),
            self.per_mac.as_ref().map(Source::PerMac),
        ];
        all.into_iter().flatten()
    }

    /// Lets `model` answer, in place of any other fitted model.
    pub(crate) fn set_fitted(&mut self, model: FittedEntry) {
        (self.fitted, self.network_fit, self.per_mac) = (Some(model), None, None);
    }

    /// Refuses numbers that make no sense.
    pub(super) fn check(&self, path: &Path, of: Measured) -> Result<(), HwError> {
        let bad = |field: &str, problem: &str| {
            let (path, field) = (path.to_path_buf(), format!("{of}.{field}"));
            Err(HwError::BadField { path, field, problem: problem.to_string() })
        };
        let is_above_zero = |value: f64| value.is_finite() && value > 0.0;
        for (field, value) in [("common_rel", self.common_rel), ("factor", self.factor), ("power_W", self.power_w)] {
            if value.is_some_and(|value| !is_above_zero(value)) {
                return bad(field, "must be above zero");
            }
        }
        let Some(correction) = self.correction else { return Ok(()) };
        if !is_above_zero(correction.scale) {
            return bad("correction.scale", "must be above zero");
        }
        if correction.networks == 0 {
            return bad("correction.networks", "must be at least one");
        }
        if !(correction.mape.is_finite() && correction.mape >= 0.0) {
            return bad("correction.mape", "must be at or above zero");
        }
        if !correction.offset.is_finite() {
            return bad("correction.offset", "is not finite");
        }
        Ok(())
    }

    pub(crate) fn method(&self, path: &Path, of: Measured) -> Result<Option<Method>, HwError> {
        word(path, &format!("{of}.method"), self.method.as_deref(), Method::parse, Method::WORDS)
    }

    pub(crate) fn basis(&self, path: &Path, of: Measured) -> Result<Option<Method>, HwError> {
        word(path, &format!("{of}.basis"), self.basis.as_deref(), Method::parse, Method::WORDS)
    }

    pub(crate) fn scope(&self, path: &Path, of: Measured) -> Result<Option<Scope>, HwError> {
        word(path, &format!("{of}.scope"), self.scope.as_deref(), Scope::parse, Scope::WORDS)
    }

    pub(crate) fn grade(&self, path: &Path, of: Measured) -> Result<Option<Grade>, HwError> {
        word(path, &format!("{of}.grade"), self.grade.as_deref(), Grade::parse, Grade::WORDS)
    }
}

/// Reads a word of a closed set.
pub(crate) fn word<T>(
    path: &Path,
    field: &str,
    text: Option<&str>,
    parse: fn(&str) -> Option<T>,
    known: &str,
) -> Result<Option<T>, HwError> {
    let Some(text) = text else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| HwError::BadField {
        path: path.to_path_buf(),
        field: field.to_string(),
        problem: format!("{text:?} is none of: {}", known.trim_end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_vouch_only_for_answers_that_were_near_before() {
        let correction = |scale| Correction { scale, offset: 0.0, networks: 30, mape: 0.02 };
        assert!(correction(0.9).is_validation() && correction(2.9).is_validation());
        assert!(!correction(1.1e-3).is_validation() && !correction(3.1).is_validation());
        assert!(!Correction { networks: 4, ..correction(1.0) }.is_validation());
    }
}
