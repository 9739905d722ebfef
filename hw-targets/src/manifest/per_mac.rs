//! A cost per multiply-accumulate as a target's file holds it (`per_mac` of a quantity).

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::HwError;
use crate::model::PerMac;
use crate::rounding::six_digits;

/// A model of one number per multiply-accumulate, on file; the constant of a network is the target's `const_latency_ms`
/// or `const_energy_mJ`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerMacEntry {
    /// Seconds or joules per multiply-accumulate; above zero.
    pub per_mac: f64,
    /// Smallest and largest number of multiply-accumulates among the measured networks.
    pub macs: [u64; 2],
    /// Mean absolute relative error of a network when fitted without it.
    pub loo_mape: f64,
    /// Standard deviation of a network inside the range, as a fraction.
    pub rel_error: f64,
    /// Signed relative error of each network when fitted without it, by the network's name.
    pub left_out: BTreeMap<String, f64>,
}

impl PerMacEntry {
    /// For a file, with six significant digits.
    pub fn of(model: &PerMac) -> Self {
        Self {
            per_mac: six_digits(model.per_mac),
            macs: model.macs,
            loo_mape: six_digits(model.loo_mape()),
            rel_error: six_digits(model.rel_error),
            left_out: model.left_out.iter().map(|(name, error)| (name.clone(), six_digits(*error))).collect(),
        }
    }

    /// The model it describes, its constant in SI units beside it; `field` and `path` are for the message.
    pub(crate) fn model(&self, path: &Path, field: &str, constant: f64, common_rel: f64) -> Result<PerMac, HwError> {
        let bad = |problem: String| HwError::BadField {
            path: path.to_path_buf(),
            field: format!("{field}.per_mac"),
            problem,
        };
        if !(self.per_mac.is_finite() && self.per_mac > 0.0) {
            return Err(bad(format!("per_mac is {}, and must be above zero", self.per_mac)));
        }
        for (name, value) in [("loo_mape", self.loo_mape), ("rel_error", self.rel_error)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(bad(format!("{name} is {value}, and must be at or above zero")));
            }
        }
        if let Some((name, error)) = self.left_out.iter().find(|(_, error)| !error.is_finite()) {
            return Err(bad(format!("the error of {name} is {error}")));
        }
        if self.macs[0] == 0 {
            return Err(bad("macs begins at 0, and no network has none".to_string()));
        }
        if self.macs[0] > self.macs[1] {
            return Err(bad(format!(
                "macs goes from {} to {}: write the smaller one first",
                self.macs[0], self.macs[1]
            )));
        }
        Ok(PerMac {
            per_mac: self.per_mac,
            constant,
            macs: self.macs,
            left_out: self.left_out.clone(),
            rel_error: self.rel_error,
            common_rel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::per_mac::MeasuredMacs;

    fn entry() -> PerMacEntry {
        let network = |(macs, value): (u64, f64)| MeasuredMacs { network: format!("net{macs}"), macs, value };
        let measured = [(1_000_000, 0.7), (2_000_000, 1.1), (5_000_000, 3.0), (9_000_000, 5.0)].map(network);
        PerMacEntry::of(&PerMac::fit(&measured, 0.1).unwrap())
    }

    #[test]
    fn a_model_survives_its_file() {
        let kept = entry();
        assert_eq!(
            PerMacEntry::of(&kept.model(Path::new("t.yaml"), "energy", 0.0, 0.1).unwrap()).per_mac,
            kept.per_mac
        );
        let text = serde_yaml::to_string(&kept).unwrap();
        assert_eq!(serde_yaml::from_str::<PerMacEntry>(&text).unwrap(), kept);
    }

    #[test]
    fn nonsense_is_named() {
        let check = |change: fn(&mut PerMacEntry), words: &str| {
            let mut entry = entry();
            change(&mut entry);
            let error = entry.model(Path::new("t.yaml"), "energy", 0.0, 0.1).unwrap_err().to_string();
            assert!(error.contains("energy.per_mac") && error.contains(words), "{error}");
        };
        check(|entry| entry.per_mac = 0.0, "above zero");
        check(|entry| entry.rel_error = -1.0, "rel_error");
        check(|entry| entry.loo_mape = f64::NAN, "loo_mape");
        check(|entry| entry.macs = [5, 1], "smaller one first");
        check(|entry| entry.macs = [0, 1], "macs begins at 0");
        check(|entry| entry.left_out.extend([("odd".to_string(), f64::NAN)]), "the error of odd");
    }
}
