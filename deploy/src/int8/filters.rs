//! Filters rounded row by row.

/// The number from -127 to 127 that is nearest to `value`.
pub(super) fn round(value: f32, scale: f32) -> i8 {
    (value / scale).round().clamp(-127.0, 127.0) as i8
}

/// The scale that loses least of a filter; none of a filter of zeros.
pub(super) fn finest(filter: &[f32]) -> Option<f32> {
    let most = filter.iter().fold(0_f32, |most, value| most.max(value.abs()));
    let error = |scale: f32| -> f64 {
        filter.iter().map(|value| f64::from(value - f32::from(round(*value, scale)) * scale).powi(2)).sum()
    };
    let candidates = (0..=20).map(|step| (most / 127.0 * (1.0 - 0.02 * step as f32)).max(f32::MIN_POSITIVE));
    let best = candidates.min_by(|one, other| error(*one).total_cmp(&error(*other)));
    best.filter(|_| most > 0.0)
}
