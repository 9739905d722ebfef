//! A model fitted to measured operators as a target's file holds it (`fitted` of a quantity).

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::HwError;
use crate::manifest::six_digits;
use crate::model::features::OpClass;
use crate::model::fitted::{ClassFit, FittedModel, Range, Transfer};

/// A fitted model on file: coefficients in seconds or joules per count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FittedEntry {
    /// Mean absolute relative difference of network sums from the table's own, over the operators it was fitted to: how
    /// errors of operators cancel, not an error on unseen ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mape: Option<f64>,
    /// Doublings outside its ranges up to which the model answers; absent = [`DEFAULT_EXTRAPOLATION`].
    ///
    /// [`DEFAULT_EXTRAPOLATION`]: crate::model::limited::DEFAULT_EXTRAPOLATION
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
        let mut classes = BTreeMap::new();
        for (name, entry) in &self.classes {
            let class = OpClass::parse(name).ok_or_else(|| bad(format!("there is no class of operators {name:?}")))?;
            for (term, value) in &entry.coefficients {
                if !class.features().contains(&term.as_str()) {
                    return Err(bad(format!(
                        "class {name} has no term {term:?}; its terms: {}",
                        class.features().join(", ")
                    )));
                }
                if !(value.is_finite() && *value >= 0.0) {
                    return Err(bad(format!("the coefficient of {term} is {value}, and must be at or above zero")));
                }
            }
            if !(entry.rel_error.is_finite() && entry.rel_error >= 0.0) {
                return Err(bad(format!("the rel_error of {name} is {}", entry.rel_error)));
            }
            let RangeEntry { in_size, in_channels, out_channels, mid_channels, kernel } = entry.range;
            let fit = ClassFit {
                coefficients: entry.coefficients.clone(),
                rows: entry.rows,
                loo_mape: entry.loo_mape,
                rel_error: entry.rel_error,
                range: Range { in_size, in_channels, out_channels, mid_channels, kernel },
            };
            classes.insert(class, fit);
        }
        let transfer = self.transferred.as_ref().map(|transferred| Transfer {
            from: transferred.from.clone(),
            ratio: transferred.ratio,
            terms: transferred.terms.clone(),
        });
        Ok(FittedModel { classes, transfer, common_rel })
    }
}
