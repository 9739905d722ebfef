//! What a feature map was seen to hold, and the range of int8 numbers that loses least of it.

use network::integer::Scale;

const BINS: usize = 2048;
/// Ends that are tried on either side.
const ENDS: usize = 256;

/// From where to where int8 numbers reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lower end, at most 0.
    pub least: f32,
    /// The upper end, at least 0.
    pub most: f32,
}

impl Range {
    /// What int8 numbers stand for.
    pub fn scale(self) -> Scale {
        Scale::reaching(self.least, self.most)
    }

    /// The range that holds both.
    pub fn with(self, other: Range) -> Range {
        Range { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// How often a feature map's numbers were seen, from the least to the most of them.
#[derive(Clone, Debug)]
pub struct Histogram {
    range: Range,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one for numbers from `least` to `most`.
    pub fn new(least: f32, most: f32) -> Self {
        Histogram { range: Range { least: least.min(0.0), most: most.max(0.0) }, counts: vec![0; BINS] }
    }

    /// Counts `values`; what lies outside counts as the nearest that does not. Zeros are not counted: every scale has
    /// them exactly.
    pub fn add(&mut self, values: &[f32]) {
        let Range { least, most } = self.range;
        let scale = BINS as f32 / (most - least).max(f32::MIN_POSITIVE);
        for value in values.iter().filter(|value| **value != 0.0) {
            let bin = ((value - least) * scale) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    /// All that was seen.
    pub fn range(&self) -> Range {
        self.range
    }

    /// The range with the least squared error: numbers outside become its ends, numbers inside are off by up to half a
    /// step, a twelfth of a step's square in the mean.
    pub fn least_error(&self) -> Range {
        let Range { least, most } = self.range;
        let width = f64::from(most - least) / BINS as f64;
        let middle = |bin: usize| f64::from(least) + (bin as f64 + 0.5) * width;
        // Sums of count, value and square up to each bin.
        let mut sums = vec![[0.0; 3]];
        for (bin, count) in self.counts.iter().enumerate() {
            let (last, count, value) = (sums[bin], *count as f64, middle(bin));
            sums.push([last[0] + count, last[1] + count * value, last[2] + count * value * value]);
        }
        let all = sums[BINS];
        // Σ (value − end)².
        let clipped = |[count, value, square]: [f64; 3], end: f64| square - 2.0 * end * value + end * end * count;
        let bin_of = |end: f64| (((end - f64::from(least)) / width).round() as usize).min(BINS);
        let error = |low: f64, high: f64| {
            let (below, up_to) = (sums[bin_of(low)], sums[bin_of(high)]);
            let above = std::array::from_fn(|at| all[at] - up_to[at]);
            let step = (high - low) / 255.0;
            clipped(below, low) + clipped(above, high) + (up_to[0] - below[0]) * step * step / 12.0
        };
        let ends = |end: f32| {
            (0..if end == 0.0 { 1 } else { ENDS }).map(move |at| f64::from(end) * (1.0 - at as f64 / ENDS as f64))
        };
        let mut best = (f64::INFINITY, self.range);
        for low in ends(least) {
            for high in ends(most) {
                let error = error(low, high);
                if error < best.0 {
                    best = (error, Range { least: low as f32, most: high as f32 });
                }
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a range by rounding every number.
    fn error(values: &[f32], range: Range) -> f64 {
        let scale = range.scale();
        values.iter().map(|value| f64::from(value - scale.real(scale.quantise(*value))).powi(2)).sum()
    }

    #[test]
    fn an_outlier_is_cut_off_and_no_better_range_is_near() {
        // Triangular between -1 and 1, all of them a thousand times, and a single 6.
        let part = |at: usize, by: usize| (at * by % 1000) as f32 / 1000.0;
        let values: Vec<f32> = (0..2_000).map(|at| part(at, 7919) - part(at, 104_729)).collect();
        let mut histogram = Histogram::new(-1.0, 6.0);
        (0..1_000).for_each(|_| histogram.add(&values));
        histogram.add(&[6.0]);
        let error = |range: Range| 1e3 * error(&values, range) + error(&[6.0], range);
        let best = histogram.least_error();
        assert!(best.most < 2.0 && best.least < -0.8, "{best:?}");
        let least = error(best);
        assert!(least < 0.5 * error(histogram.range()));
        for (low, high) in [(0.8, 1.0), (1.0, 0.8), (1.1, 1.0), (1.0, 1.2), (1.0, 1.5)] {
            let other = Range { least: low * best.least, most: high * best.most };
            assert!(least < 1.03 * error(other), "{best:?} {other:?}");
        }
    }

    #[test]
    fn a_map_of_zeros_has_a_scale() {
        let mut histogram = Histogram::new(0.0, 0.0);
        histogram.add(&[0.0; 5]);
        let scale = histogram.least_error().scale();
        assert!(scale.scale > 0.0 && scale.quantise(0.0) == scale.zero_point as i8);
    }
}
