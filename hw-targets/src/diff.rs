//! Two targets, operator by operator: the ratio of what they say, its spread, and where they differ most.

use crate::cost::Scope;
use crate::table_op::TableOp;
use crate::target::Target;
use network::units::Measured;

/// How many of the largest differences are kept.
const LARGEST: usize = 5;

/// One operator in the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The operator.
    pub op: TableOp,
    /// Input size of the network it is in.
    pub resolution: u32,
    /// What the first target says, in SI units.
    pub a: f64,
    /// What the second target says.
    pub b: f64,
}

impl Pair {
    /// Second over first.
    pub fn ratio(&self) -> f64 {
        self.b / self.a
    }
}

/// Comparison in one quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The quantity.
    pub quantity: Measured,
    /// What each target's number includes; energies of different scope are not the same thing.
    pub scopes: (Scope, Scope),
    /// Operators that both know.
    pub shared: usize,
    /// Operators that only the first knows, and only the second.
    pub alone: (usize, usize),
    /// Median of the ratio second over first.
    pub median: f64,
    /// Ratio that a tenth of the operators is below, and a tenth above.
    pub tenths: (f64, f64),
    /// Standard deviation of the natural logarithm of the ratio: e to this power is its spread as a factor.
    pub log_spread: f64,
    /// The operators furthest from the median ratio, furthest first.
    pub largest: Vec<Pair>,
}

/// Compares two targets in `quantity` over `ops` (with the input size of their network); `None` if either target does
/// not know the quantity, or no operator is known to both.
pub fn difference(a: &Target, b: &Target, quantity: Measured, ops: &[(TableOp, u32)]) -> Option<Difference> {
    let scopes = (a.provenance(quantity)?.1, b.provenance(quantity)?.1);
    let (mut pairs, mut alone) = (Vec::new(), (0, 0));
    for &(op, resolution) in ops {
        let of = |target: &Target| target.cost_in(quantity, &op.op(), resolution).ok().map(|cost| cost.value);
        match (of(a), of(b)) {
            (Some(a), Some(b)) if a > 0.0 && b > 0.0 => pairs.push(Pair { op, resolution, a, b }),
            (Some(_), None) => alone.0 += 1,
            (None, Some(_)) => alone.1 += 1,
            _ => {}
        }
    }
    let mut ratios: Vec<f64> = pairs.iter().map(Pair::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64).round() as usize];
    if ratios.is_empty() {
        return None;
    }
    let median = at(0.5);
    let n = ratios.len() as f64;
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / n;
    let variance = ratios.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum::<f64>() / n;
    let shared = pairs.len();
    let distance = |pair: &Pair| (pair.ratio() / median).ln().abs();
    pairs.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
    pairs.truncate(LARGEST);
    let tenths = (at(0.1), at(0.9));
    Some(Difference { quantity, scopes, shared, alone, median, tenths, log_spread: variance.sqrt(), largest: pairs })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::library::TargetLibrary;

    #[test]
    fn a_slower_copy_has_its_factor_as_ratio() {
        let folder = tempfile::tempdir().unwrap();
        let header =
            "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,residual";
        let file = |name: &str, factor: f64, odd: f64, rows: std::ops::Range<u32>| {
            let mut text = format!("{header},latency_ms\n");
            for width in rows {
                let latency = f64::from(width) * factor * if width == 3 { odd } else { 1.0 };
                text += &format!("conv,8,8,8,8,8,{width},1,1,1,0,0,0,relu,0,{latency}\n");
            }
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            TargetLibrary::new(None).find(path.to_str().unwrap()).unwrap()
        };
        let (a, b) = (file("a.csv", 1.0, 1.0, 1..9), file("b.csv", 2.0, 1.5, 2..12));
        let mut ops: Vec<(TableOp, u32)> = a.operators();
        ops.extend(b.operators());
        ops.sort_unstable();
        ops.dedup();
        let difference = difference(&a, &b, Measured::Latency, &ops).unwrap();
        assert_eq!((difference.shared, difference.alone), (7, (1, 3)));
        assert!((difference.median - 2.0).abs() < 1e-12);
        assert_eq!(difference.largest[0].op.out_channels, 3);
        assert!(super::difference(&a, &b, Measured::Energy, &ops).is_none());
    }
}
