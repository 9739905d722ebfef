//! `ofa search --confidence`: subnets that keep the budget with a given probability, though costs have errors.
//!
//! A cost's error has a part that is common to all networks of a target (clock, temperature, the power behind a derived
//! energy) and a part that differs between networks ([`hw_targets::cost`]). On one device both count: a subnet of cost v
//! keeps a ceiling with probability p if v + z(p)·σ(v) is below it, where σ² is the sum of both parts' squares and z the
//! normal quantile. σ is nearly proportional to v, so search gets a lower ceiling, and a lower one again if what it finds
//! has a larger error than assumed.

use std::str::FromStr;

use hw_targets::budget::Budget;
use hw_targets::cost::CostValue;
use network::units::{Measured, PerMeasured, Quantity};
use storage::failure::Setting;

use crate::error::{Result, Within};
use crate::search::report::SearchReport;

/// A probability of at least one half and less than one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence(f64);

impl FromStr for Confidence {
    type Err = String;

    fn from_str(word: &str) -> Result<Confidence, String> {
        let expected = || format!("`{word}` is not a probability from 0.5 to 0.9999, for example 0.95");
        let value: f64 = word.parse().map_err(|_| expected())?;
        if (0.5..=0.9999).contains(&value) { Ok(Confidence(value)) } else { Err(expected()) }
    }
}

impl Confidence {
    /// The probability.
    pub fn probability(self) -> f64 {
        self.0
    }

    /// Standard deviations above the mean of which a normal variable stays below with this probability.
    pub fn z(self) -> f64 {
        let (mut low, mut high) = (0.0, 8.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            let below = 1.0 - 0.5 * libm::erfc(middle / std::f64::consts::SQRT_2);
            if below < self.0 { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }
}

/// Searches after which the ceilings are taken as they are.
const ROUNDS: usize = 5;

/// What `search` finds within ceilings lowered until all of it keeps `budget` with `confidence`; `anew` is called before
/// each search but the first.
///
/// # Errors
/// Those of `search` and `anew`; nothing that fits into the lowered ceilings, which the error names.
pub(crate) fn keep_with(
    confidence: Confidence,
    budget: &Budget,
    search: &mut dyn FnMut(&Budget) -> Result<SearchReport>,
    anew: &dyn Fn() -> Result<()>,
) -> Result<SearchReport> {
    let z = confidence.z();
    let mut lowered = *budget;
    for round in 1.. {
        let words = || {
            let limits = lowered
                .limits()
                .map(|(quantity, limit)| format!("{} within {}", quantity.name(), quantity.format(limit)));
            let limits = limits.collect::<Vec<_>>().join(", ");
            format!("with {} {}, the target's errors leave {limits}", Setting("confidence"), confidence.probability())
        };
        let searched = search(&lowered);
        let mut report = if round == 1 { searched? } else { searched.within(words)? };
        let mut tighter = false;
        let mut ceilings = PerMeasured::<Option<f64>>::default();
        for measured in Measured::ALL {
            let quantity = measured.quantity();
            let (Some(wanted), Some(now)) = (budget.limit(quantity), lowered.limit(quantity)) else {
                continue;
            };
            let errors = report.found.iter().filter_map(|found| found.cost.measured(measured));
            let worst = errors.map(|cost| 1.0 + z * cost.sigma() / cost.value).fold(1.0, f64::max);
            let allowed = wanted / worst;
            let keeps = |cost: &CostValue| cost.value + z * cost.sigma() <= wanted * (1.0 + 1e-9);
            let all_keep = report.found.iter().filter_map(|found| found.cost.measured(measured)).all(keeps);
            // The first round looked at too much or too little, and does not know how much.
            let again = !all_keep || (round == 1 && allowed < now);
            tighter |= again;
            ceilings[measured] = Some(if again { allowed.min(now) } else { now });
        }
        if tighter && round < ROUNDS {
            for quantity in Measured::ALL {
                if let Some(ceiling) = ceilings[quantity] {
                    lowered = lowered.with(quantity.into(), ceiling)?;
                }
            }
            anew()?;
            continue;
        }
        if tighter {
            report.notes.push("not all that was found keeps the budget with that probability".to_owned());
        }
        if ceilings == PerMeasured::default() {
            let words = format!("neither energy nor latency is limited, so {} changes nothing", Setting("confidence"));
            report.notes.push(words);
        }
        for limit in &mut report.limits {
            if let (Some(wanted), Some(found)) = (budget.limit(limit.quantity), report.found.first())
                && let Some(cost) = limit.quantity.measured().and_then(|quantity| found.cost.measured(quantity))
            {
                report.notes.push(note(confidence, limit.quantity, wanted, limit.limit, cost));
                limit.limit = wanted;
            }
        }
        return Ok(report);
    }
    unreachable!("the last round returns")
}

fn note(confidence: Confidence, quantity: Quantity, wanted: f64, searched: f64, cost: &CostValue) -> String {
    format!(
        "to keep {} {} with probability {}, {} is searched within: errors are ±{:.1} % common to all networks of the \
         target and ±{:.1} % that differ between networks; both are used",
        quantity.name(),
        quantity.format(wanted),
        confidence.probability(),
        quantity.format(searched),
        100.0 * cost.common_rel,
        100.0 * cost.std / cost.value,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_normal_ones() {
        for (probability, z) in
            [("0.5", 0.0), ("0.8413447460685429", 1.0), ("0.95", 1.644853627), ("0.9999", 3.719016485)]
        {
            assert!((probability.parse::<Confidence>().unwrap().z() - z).abs() < 1e-7, "{probability}");
        }
        for bad in ["0.4", "1", "NaN", "-1", "high", ""] {
            assert!(bad.parse::<Confidence>().unwrap_err().contains("0.95"), "{bad}");
        }
    }
}
