//! A model fitted to whole networks as a target's file holds it (`network_fit` of a quantity).

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fitted::{RangeEntry, at_or_above_zero};
use crate::error::HwError;
use crate::model::features::OpClass;
use crate::model::fitted::Range;
use crate::model::network_features::Count;
use crate::model::network_fit::{Coefficients, NetworkFit};
use crate::rounding::six_digits;

/// A model fitted to networks measured whole, on file; the constant of a network is the target's `const_latency_ms` or
/// `const_energy_mJ`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkFitEntry {
    /// Networks it was fitted to.
    pub networks: usize,
    /// Mean absolute relative error of a network when fitted without it, or, among hundreds, without its tenth.
    pub loo_mape: f64,
    /// Standard deviation of a network, as a fraction.
    pub rel_error: f64,
    /// Doublings outside its ranges up to which the model answers; absent = 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extrapolation: Option<f64>,
    /// Seconds or joules per count.
    pub coefficients: Coefficients,
    /// What comes on top at these input sizes of networks, and between them in proportion.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_input_size: BTreeMap<u32, Coefficients>,
    /// Smallest and largest shapes in the networks, by class of operator.
    pub ranges: BTreeMap<String, RangeEntry>,
}

impl NetworkFitEntry {
    /// For a file, with six significant digits.
    pub fn of(model: &NetworkFit) -> Self {
        let range = |(class, range): (&OpClass, &Range)| {
            let Range { in_size, in_channels, out_channels, mid_channels, kernel } = range.clone();
            (class.name().to_string(), RangeEntry { in_size, in_channels, out_channels, mid_channels, kernel })
        };
        let rounded = |set: &Coefficients| set.iter().map(|(name, w)| (name.clone(), six_digits(*w))).collect();
        Self {
            networks: model.networks,
            loo_mape: six_digits(model.loo_mape),
            rel_error: six_digits(model.rel_error),
            extrapolation: None,
            coefficients: rounded(&model.coefficients),
            by_input_size: model.by_input_size.iter().map(|(size, set)| (*size, rounded(set))).collect(),
            ranges: model.ranges.iter().map(range).collect(),
        }
    }

    /// The model it describes, its constant in SI units beside it; `field` and `path` are for the message.
    pub(crate) fn model(
        &self,
        path: &Path,
        field: &str,
        constant: f64,
        common_rel: f64,
    ) -> Result<NetworkFit, HwError> {
        let bad = |problem: String| HwError::BadField {
            path: path.to_path_buf(),
            field: format!("{field}.network_fit"),
            problem,
        };
        for (term, value) in self.by_input_size.values().chain([&self.coefficients]).flatten() {
            if Count::parse(term).is_none() {
                let terms = Count::ALL.map(Count::name).join(", ");
                return Err(bad(format!("there is no term {term:?}; the terms: {terms}")));
            }
            at_or_above_zero(&format!("the coefficient of {term}"), *value).map_err(bad)?;
        }
        for (name, value) in [("loo_mape", self.loo_mape), ("rel_error", self.rel_error)] {
            at_or_above_zero(name, value).map_err(bad)?;
        }
        let mut ranges = BTreeMap::new();
        for (name, entry) in &self.ranges {
            let class = OpClass::parse(name).ok_or_else(|| bad(format!("there is no class of operators {name:?}")))?;
            ranges.insert(class, entry.range(name).map_err(bad)?);
        }
        Ok(NetworkFit {
            coefficients: self.coefficients.clone(),
            by_input_size: self.by_input_size.clone(),
            constant,
            networks: self.networks,
            loo_mape: self.loo_mape,
            rel_error: self.rel_error,
            ranges,
            common_rel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mobilenet_v1, mobilenet_v2};

    fn entry() -> NetworkFitEntry {
        let sizes = [96, 128, 160, 192, 224, 256];
        let networks = sizes.iter().flat_map(|&size| [mobilenet_v1(50, size), mobilenet_v2(100, size)]);
        let costed: Vec<_> = networks.map(|network| (network.clone(), network.macs().0 as f64 * 1e-11)).collect();
        NetworkFitEntry::of(&NetworkFit::fit(&costed, 0.1).unwrap())
    }

    #[test]
    fn a_model_survives_its_file() {
        let kept = entry();
        let model = kept.model(Path::new("t.yaml"), "energy", 0.0, 0.1).unwrap();
        assert_eq!(NetworkFitEntry::of(&model), kept);
    }

    #[test]
    fn nonsense_is_named() {
        let check = |change: fn(&mut NetworkFitEntry), words: &str| {
            let mut entry = entry();
            change(&mut entry);
            let error = entry.model(Path::new("t.yaml"), "energy", 0.0, 0.1).unwrap_err().to_string();
            assert!(error.contains("energy.network_fit") && error.contains(words), "{error}");
        };
        check(|entry| entry.coefficients.extend([("flops".to_string(), 1.0)]), "flops");
        check(|entry| entry.coefficients.extend([("layers".to_string(), -1.0)]), "layers");
        let at_128 = |entry: &mut NetworkFitEntry| {
            entry.by_input_size.insert(128, Coefficients::from([("flops".to_string(), 1.0)]));
        };
        check(at_128, "flops");
        check(|entry| entry.rel_error = f64::NAN, "rel_error");
        check(|entry| entry.loo_mape = f64::INFINITY, "loo_mape is inf, and must be finite");
        check(|entry| entry.ranges.get_mut("block").unwrap().kernel = [5, 3], "kernel of block goes from 5 to 3");
        check(|entry| entry.ranges.extend([("lstm".to_string(), entry.ranges["block"].clone())]), "lstm");
    }
}
