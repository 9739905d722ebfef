//! How many distinct subnets a space holds, exactly.
//!
//! A stage with c choices per block and depths D holds Σ_{d∈D} c^d forms; a space at one resolution their product
//! (`once-for-all` §1.1: (9² + 9³ + 9⁴)⁵ = 7371⁵ for MobileNetV3).

use num_bigint::BigUint;

use crate::space::{SearchSpace, Stage};

impl Stage {
    /// Pairs of kernel size and expand ratio of one block.
    pub fn choices(&self) -> usize {
        self.kernels.len() * self.expands.len()
    }

    /// Distinct forms of the stage.
    pub fn count(&self) -> BigUint {
        self.depths.iter().map(|&depth| BigUint::from(self.choices()).pow(depth)).sum()
    }
}

impl SearchSpace {
    /// Distinct subnets at each resolution.
    pub fn count_per_resolution(&self) -> BigUint {
        self.stages().iter().map(Stage::count).product()
    }

    /// Distinct subnets at all resolutions together.
    pub fn count(&self) -> BigUint {
        self.count_per_resolution() * BigUint::from(self.resolutions().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(space: &str, per_resolution: &str, total: &str) {
        let space = SearchSpace::builtin(space).unwrap();
        assert_eq!(space.count_per_resolution().to_string(), per_resolution);
        assert_eq!(space.count().to_string(), total);
    }

    #[test]
    fn published_and_hand_computed_counts() {
        check("mbv3-w1.0", "21758655492572485851", "543966387314312146275");
        check("mbv3-w1.2", "21758655492572485851", "369897143373732259467");
        check("proxyless-w1.3", "195827899433152372659", "4895697485828809316475");
        // 6²·1554⁵, 4 resolutions.
        check("fbnet-cifar", "326255298195060864", "1631276490975304320");
        // 42²·252², 3 resolutions.
        check("mcu-cifar", "112021056", "336063168");
    }
}
