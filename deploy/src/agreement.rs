//! How far the outputs of an exported file are from those of the network that it was made of.

use std::fmt;

/// Errors up to this part of the largest output are those of sums in another order.
pub const TOLERANCE: f64 = 1e-4;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Images compared.
    pub images: usize,
    /// The largest difference, as a part of the largest output of all; infinite for outputs that are not finite.
    pub largest_error: f64,
    /// Images of which both say the same class.
    pub same_class: usize,
    /// Images of which they do not, though the network's two best classes are further apart than the tolerance.
    pub other_class: usize,
    /// Outputs that are not the very same number.
    pub differing: usize,
    /// What the largest error may be.
    pub tolerance: f64,
}

impl Agreement {
    /// Compares `got` with what is `expected`, `outputs` numbers an image, in float32.
    ///
    /// # Panics
    /// If the two are not equally many, or no whole number of images.
    pub fn of(expected: &[f32], got: &[f32], outputs: usize) -> Agreement {
        Self::within(expected, got, outputs, TOLERANCE)
    }

    /// The same where errors up to another part of the largest output are none.
    ///
    /// # Panics
    /// As [`Agreement::of`].
    pub fn within(expected: &[f32], got: &[f32], outputs: usize, tolerance: f64) -> Agreement {
        assert_eq!(expected.len(), got.len());
        assert!(outputs > 0 && expected.len().is_multiple_of(outputs));
        let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
        let apart = expected.iter().zip(got).fold(0_f32, |most, (a, b)| {
            let apart = (a - b).abs();
            if apart.is_finite() { most.max(apart) } else { f32::INFINITY }
        });
        let mut agreement = Agreement {
            images: expected.len() / outputs,
            largest_error: if apart == 0.0 { 0.0 } else { f64::from(apart) / f64::from(largest) },
            same_class: 0,
            other_class: 0,
            differing: expected.iter().zip(got).filter(|(a, b)| a != b).count(),
            tolerance,
        };
        for (expected, got) in expected.chunks_exact(outputs).zip(got.chunks_exact(outputs)) {
            let (best, margin) = best_of(expected);
            if best_of(got).0 == best {
                agreement.same_class += 1;
            } else if f64::from(margin) > tolerance * f64::from(largest) {
                agreement.other_class += 1;
            }
        }
        agreement
    }

    /// Whether the two are one network.
    pub fn holds(&self) -> bool {
        self.largest_error <= self.tolerance && self.other_class == 0
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Agreement { images, largest_error, same_class, .. } = self;
        write!(f, "{images} images: largest error {largest_error:.1e} of the largest output, same class {same_class}")
    }
}

/// The first of the largest numbers, and how far it is above the next.
fn best_of(outputs: &[f32]) -> (usize, f32) {
    let (mut best, mut next) = (0, f32::NEG_INFINITY);
    for (at, &value) in outputs.iter().enumerate().skip(1) {
        if value > outputs[best] {
            next = outputs[best];
            best = at;
        } else {
            next = next.max(value);
        }
    }
    (best, outputs[best] - next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_parts_of_the_largest_output_and_ties_are_no_disagreement() {
        let expected = [1.0, -4.0, 0.5, 2.0, 2.000_01, 0.0];
        let exact = Agreement::of(&expected, &expected, 3);
        assert_eq!(
            exact,
            Agreement {
                images: 2,
                largest_error: 0.0,
                same_class: 2,
                other_class: 0,
                differing: 0,
                tolerance: TOLERANCE
            }
        );
        // The two best classes of the second image are as good as equal.
        let near = Agreement::of(&expected, &[1.0, -4.000_1, 0.5, 2.000_02, 2.0, 0.0], 3);
        assert!(
            near.holds() && near.differing == 3 && near.same_class == 1 && (near.largest_error - 2.5e-5).abs() < 1e-6,
            "{near}"
        );
        let far = Agreement::of(&expected, &[0.4, -4.0, 0.5, 2.0, 2.000_01, 0.0], 3);
        assert!(!far.holds() && far.other_class == 1 && (far.largest_error - 0.15).abs() < 1e-6, "{far}");
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(!Agreement::of(&expected, &[wrong, -4.0, 0.5, 2.0, 2.0, 0.0], 3).holds());
        }
    }
}
