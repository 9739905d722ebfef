//! How far a share that was counted may be off.
//!
//! The interval of one standard deviation of Wilson (1927, *Probable inference, the law of succession, and statistical
//! inference*): unlike √(p(1 − p)/n) it does not vanish where all or none were right.

/// Where the true share lies with a probability of 68 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// From here, at least 0.
    pub low: f64,
    /// To here, at most 1.
    pub high: f64,
}

impl Interval {
    /// Of the share `share` of `count` images; everything where there are none.
    pub fn of_share(share: f64, count: u64) -> Interval {
        if count == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let n = count as f64;
        let centre = (share + 0.5 / n) / (1.0 + 1.0 / n);
        let half = (share * (1.0 - share) / n + 0.25 / (n * n)).sqrt() / (1.0 + 1.0 / n);
        Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }

    /// Half its width: a standard error that is never 0.
    pub fn std_error(self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_eight_may_be_a_little_less() {
        // n / (n + 1) is the lower end where all are right, and 1 / (n + 1) the upper one where none are.
        let (all, none) = (Interval::of_share(1.0, 8), Interval::of_share(0.0, 8));
        assert!((all.low - 8.0 / 9.0).abs() < 1e-12 && (all.high - 1.0).abs() < 1e-12, "{all:?}");
        assert!(none.low.abs() < 1e-12 && (none.high - 1.0 / 9.0).abs() < 1e-12, "{none:?}");
        assert!((all.std_error() - 1.0 / 18.0).abs() < 1e-12);
    }

    #[test]
    fn among_many_images_it_is_the_standard_error() {
        let interval = Interval::of_share(0.85, 10_000);
        let error = (0.85_f64 * 0.15 / 10_000.0).sqrt();
        assert!((interval.std_error() / error - 1.0).abs() < 1e-3, "{interval:?}");
        assert!(interval.low < 0.85 && interval.high > 0.85);
    }
}
