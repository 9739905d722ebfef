//! A model fitted to measured operators as a target's file holds it (`fitted` of a quantity).

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::HwError;
use crate::model::features::OpClass;
use crate::model::fitted::{ClassFit, FittedModel, Range, Transfer};
use crate::rounding::six_digits;

/// A fitted model on file: coefficients in seconds or joules per count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FittedEntry {
    /// Mean absolute relative difference of network sums from the table's own, over the operators it was fitted to: how
    /// errors of operators cancel, not an error on unseen ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mape: Option<f64>,
    /// Doublings outside its ranges up to which the model answers; absent = 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extrapolation: Option<f64>,
    /// Terms taken over from another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transferred: Option<TransferEntry>,
    /// Classes of operators.
    pub classes: BTreeMap<String, ClassEntry>,
}

/// Terms taken over from another device, on file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferEntry {
    /// The other target.
    pub from: String,
    /// Cost here per cost there.
    pub ratio: f64,
    /// Names of the terms.
    pub terms: Vec<String>,
}

/// One class of operators on file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassEntry {
    /// Measured operators it was fitted to.
    pub rows: usize,
    /// Leave-one-out mean absolute relative error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loo_mape: Option<f64>,
    /// Standard deviation of one answer, as a fraction.
    pub rel_error: f64,
    /// Smallest and largest shapes fitted.
    pub range: RangeEntry,
    /// Cost per count.
    pub coefficients: BTreeMap<String, f64>,
}

/// Smallest and largest shapes fitted, on file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeEntry {
    /// Height and width of the input.
    pub in_size: [u32; 2],
    /// Channels of the input.
    pub in_channels: [u32; 2],
    /// Channels of the output.
    pub out_channels: [u32; 2],
    /// Width inside a block.
    pub mid_channels: [u32; 2],
    /// Kernel size.
    pub kernel: [u32; 2],
}

impl RangeEntry {
    /// The range it describes, or what is wrong with that of `class`.
    pub(crate) fn range(&self, class: &str) -> Result<Range, String> {
        let Self { in_size, in_channels, out_channels, mid_channels, kernel } = *self;
        let dimensions = [
            ("in_size", in_size),
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("mid_channels", mid_channels),
            ("kernel", kernel),
        ];
        for (name, [least, most]) in dimensions {
            if least > most {
                return Err(format!("{name} of {class} goes from {least} to {most}: write the smaller one first"));
            }
        }
        Ok(Range { in_size, in_channels, out_channels, mid_channels, kernel })
    }
}

/// Refuses what is no error or coefficient; `what` is for the message.
pub(super) fn at_or_above_zero(what: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(format!("{what} is {value}, and must be finite and at or above zero"))
}

fn no_term(who: &str, term: &str, terms: &[&str]) -> String {
    format!("{who} no term {term:?}; its terms: {}", terms.join(", "))
}

impl TransferEntry {
    fn transfer(&self) -> Result<Transfer, String> {
        let Self { from, ratio, terms } = self;
        if !(ratio.is_finite() && *ratio > 0.0) {
            return Err(format!("transferred.ratio is {ratio}, and must be finite and above zero"));
        }
        // Only terms of blocks are taken over.
        let features = OpClass::Block.features();
        if let Some(term) = terms.iter().find(|term| !features.contains(&term.as_str())) {
            return Err(no_term("transferred: class block has", term, &features));
        }
        Ok(Transfer { from: from.clone(), ratio: *ratio, terms: terms.clone() })
    }
}

impl FittedEntry {
    /// For a file, with six significant digits.
    pub fn of(model: &FittedModel, network_mape: Option<f64>) -> Self {
        let classes = model.classes.iter().map(|(class, fit)| {
            let Range { in_size, in_channels, out_channels, mid_channels, kernel } = fit.range.clone();
            let entry = ClassEntry {
                rows: fit.rows,
                loo_mape: fit.loo_mape.map(six_digits),
                rel_error: six_digits(fit.rel_error),
                range: RangeEntry { in_size, in_channels, out_channels, mid_channels, kernel },
                coefficients: fit.coefficients.iter().map(|(name, w)| (name.clone(), six_digits(*w))).collect(),
            };
            (class.name().to_string(), entry)
        });
        let transferred = model.transfer.as_ref().map(|transfer| TransferEntry {
            from: transfer.from.clone(),
            ratio: six_digits(transfer.ratio),
            terms: transfer.terms.clone(),
        });
        Self {
            network_mape: network_mape.map(six_digits),
            extrapolation: None,
            transferred,
            classes: classes.collect(),
        }
    }

    /// The model it describes; `field` and `path` are for the message.
    pub(crate) fn model(&self, path: &Path, field: &str, common_rel: f64) -> Result<FittedModel, HwError> {
        let bad =
            |problem: String| HwError::BadField { path: path.to_path_buf(), field: format!("{field}.fitted"), problem };
        if let Some(mape) = self.network_mape {
            at_or_above_zero("network_mape", mape).map_err(bad)?;
        }
        let mut classes = BTreeMap::new();
        for (name, entry) in &self.classes {
            let class = OpClass::parse(name).ok_or_else(|| bad(format!("there is no class of operators {name:?}")))?;
            for (term, value) in &entry.coefficients {
                let features = class.features();
                if !features.contains(&term.as_str()) {
                    return Err(bad(no_term(&format!("class {name} has"), term, &features)));
                }
                at_or_above_zero(&format!("the coefficient of {term}"), *value).map_err(bad)?;
            }
            at_or_above_zero(&format!("the rel_error of {name}"), entry.rel_error).map_err(bad)?;
            if let Some(mape) = entry.loo_mape {
                at_or_above_zero(&format!("the loo_mape of {name}"), mape).map_err(bad)?;
            }
            let fit = ClassFit {
                coefficients: entry.coefficients.clone(),
                rows: entry.rows,
                loo_mape: entry.loo_mape,
                rel_error: entry.rel_error,
                range: entry.range.range(name).map_err(bad)?,
            };
            classes.insert(class, fit);
        }
        let transfer = self.transferred.as_ref().map(TransferEntry::transfer).transpose().map_err(bad)?;
        Ok(FittedModel { classes, transfer, common_rel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::TargetLibrary;

    fn entry() -> FittedEntry {
        let target = TargetLibrary::new(None).find("pixel3").unwrap();
        target.manifest().latency.clone().unwrap().fitted.unwrap()
    }

    fn block(entry: &mut FittedEntry) -> &mut ClassEntry {
        entry.classes.get_mut("block").unwrap()
    }

    fn transferred(entry: &mut FittedEntry) -> &mut TransferEntry {
        entry.transferred.as_mut().unwrap()
    }

    #[test]
    fn nonsense_is_named() {
        let check = |change: fn(&mut FittedEntry), words: &str| {
            let mut entry = entry();
            entry.model(Path::new("t.yaml"), "latency", 0.1).unwrap();
            change(&mut entry);
            let error = entry.model(Path::new("t.yaml"), "latency", 0.1).unwrap_err().to_string();
            assert!(error.contains("t.yaml: latency.fitted") && error.contains(words), "{error}");
        };
        check(|entry| entry.network_mape = Some(f64::NAN), "network_mape is NaN");
        check(|entry| block(entry).loo_mape = Some(f64::NAN), "the loo_mape of block is NaN");
        check(|entry| block(entry).loo_mape = Some(-1.0), "the loo_mape of block is -1");
        check(|entry| block(entry).rel_error = f64::INFINITY, "is inf, and must be finite");
        check(|entry| block(entry).range.in_size = [32, 3], "in_size of block goes from 32 to 3");
        check(|entry| block(entry).coefficients.extend([("flops".to_string(), 1.0)]), "\"flops\"");
        check(
            |entry| block(entry).coefficients.extend([("constant".to_string(), -1.0)]),
            "coefficient of constant is -1",
        );
        check(|entry| transferred(entry).ratio = f64::NAN, "transferred.ratio is NaN");
        check(|entry| transferred(entry).ratio = 0.0, "transferred.ratio is 0");
        check(|entry| transferred(entry).terms.push("flops".to_string()), "transferred: class block has no term");
        check(|entry| entry.classes.extend([("lstm".to_string(), entry.classes["block"].clone())]), "lstm");
    }
}
