//! What timing gives: visits, and what they say together.

/// How to time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimingSettings {
    /// Standard error of the median, relative to it, at which a work is settled.
    pub precision: f64,
    /// Fewest and most visits to each work.
    pub visits: (usize, usize),
    /// Seed of the order of visits.
    pub seed: u64,
}

impl Default for TimingSettings {
    fn default() -> Self {
        TimingSettings { precision: 0.01, visits: (5, 40), seed: 0 }
    }
}

/// One visit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Visit {
    /// Median of the samples, in seconds for one run.
    pub(crate) seconds: f64,
    /// Runs that were timed.
    pub(crate) runs: u64,
    /// Joules for one run, where there are counters.
    pub(crate) joules: Option<f64>,
}

/// What the visits to one work say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timing {
    /// Median of the visits, in seconds for one run.
    pub seconds: f64,
    /// Spread of the visits: 1.4826 times the median distance from their median, which is the standard deviation of
    /// normally distributed ones.
    pub std: f64,
    /// Median of the visits' energy for one run, in joules.
    pub joules: Option<f64>,
    /// Runs that were timed, over all visits.
    pub runs: u64,
    /// Visits.
    pub visits: usize,
    /// Whether the standard error of the median is as small as was asked for.
    pub is_settled: bool,
}

impl Timing {
    /// `None` without visits.
    pub(crate) fn new(visits: &[Visit], settings: &TimingSettings) -> Option<Timing> {
        let seconds = median(visits.iter().map(|visit| visit.seconds))?;
        let distance = median(visits.iter().map(|visit| (visit.seconds - seconds).abs()))?;
        let std = 1.4826 * distance;
        let joules: Option<Vec<f64>> = visits.iter().map(|visit| visit.joules).collect();
        Some(Timing {
            seconds,
            std,
            joules: joules.and_then(|joules| median(joules.into_iter())),
            runs: visits.iter().map(|visit| visit.runs).sum(),
            visits: visits.len(),
            // The median of n normally distributed numbers has the standard error 1.2533 σ/√n.
            is_settled: visits.len() >= settings.visits.0
                && 1.2533 * std / (visits.len() as f64).sqrt() <= settings.precision * seconds,
        })
    }
}

/// The middle of `values`, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_visit_does_not_count() {
        let visit = |seconds| Visit { seconds, runs: 1, joules: Some(2.0 * seconds) };
        let visits = [1.0, 1.01, 9.0, 0.99, 1.0].map(visit);
        let timing = Timing::new(&visits, &TimingSettings::default()).unwrap();
        assert!((timing.seconds - 1.0).abs() < 1e-9 && timing.std < 0.02 && timing.joules == Some(2.0));
        assert!(timing.is_settled);
    }
}
