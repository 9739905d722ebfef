//! Numbers as files hold them.

/// Six significant digits: more than any measurement here carries, and stable in a file.
pub fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
