//! Whole-number arithmetic of TensorFlow Lite's reference kernels: a real factor as a mantissa of 31 bits and a shift
//! (Jacob et al. 2018, arXiv:1712.05877, §2.2), rounded twice, first halves up, then halves away from 0.

use super::Scale;

/// A factor above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// The factor is `mantissa` · 2^(`shift` − 31).
    mantissa: i32,
    shift: i32,
}

impl Multiplier {
    /// The nearest to `real`; 0 where it is too small to matter.
    ///
    /// # Panics
    /// If it is not from 0 up to 2^30.
    pub fn new(real: f64) -> Multiplier {
        assert!((0.0..1_073_741_824.0).contains(&real), "a factor of {real}");
        if real == 0.0 {
            return Multiplier { mantissa: 0, shift: 0 };
        }
        let (fraction, mut shift) = libm::frexp(real);
        let mut mantissa = (fraction * 2_147_483_648.0).round() as i64;
        if mantissa == 1 << 31 {
            mantissa /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Multiplier { mantissa: 0, shift: 0 };
        }
        Multiplier { mantissa: mantissa as i32, shift }
    }

    /// The nearest whole number to `x` times the factor.
    pub fn times(self, x: i32) -> i32 {
        let product = high_product(x.wrapping_shl(self.shift.max(0) as u32), self.mantissa);
        shifted(product, (-self.shift).max(0) as u32)
    }

    /// With 15 bits of mantissa.
    fn narrow(self) -> i16 {
        // Half more than the largest that rounds down does not fit.
        if self.mantissa >= i32::MAX - (1 << 15) { i16::MAX } else { ((self.mantissa + (1 << 15)) >> 16) as i16 }
    }
}

/// a · b / 2^31, halves up (a tie below 0 towards 0).
fn high_product(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i64::from(a) * i64::from(b);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    ((product + nudge) / (1 << 31)) as i32
}

/// a · b / 2^15 likewise.
fn high_product_16(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    let product = i32::from(a) * i32::from(b);
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    ((product + nudge) / (1 << 15)) as i16
}

/// x / 2^bits, halves away from 0.
fn shifted(x: i32, bits: u32) -> i32 {
    let mask = ((1_i64 << bits) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> bits) + i32::from(x & mask > threshold)
}

fn shifted_left_16(x: i16, bits: u32) -> i16 {
    (i32::from(x) << bits).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// x·relu6(x + 3)/6 of every int8 number from -128 on, in 16-bit steps.
pub fn hard_swish(input: Scale, output: Scale) -> [i8; 256] {
    let fine = input.scale / 128.0;
    let to_output = Multiplier::new(f64::from(fine / output.scale));
    let to_gate = Multiplier::new(f64::from(fine / (3.0 / 32768.0)));
    std::array::from_fn(|at| {
        let value = ((at as i32 - 128 - input.zero_point) << 7) as i16;
        let scaled = high_product_16(value, to_output.narrow());
        // From -3 to 3 become all of 16 bits; what lies outside saturates at the very end.
        let mut gate = value;
        if to_gate.shift > 0 {
            gate = shifted_left_16(gate, to_gate.shift as u32 - 1);
        }
        gate = high_product_16(gate, to_gate.narrow());
        if to_gate.shift > 0 {
            gate = shifted_left_16(gate, 1);
        } else if to_gate.shift < 0 {
            gate = shifted(i32::from(gate), -to_gate.shift as u32) as i16;
        }
        // From 0 to 1.
        let gate = ((i32::from(gate) + (1 << 15)) >> 1) as i16;
        // Cut off towards 0, which makes up for the rounding before.
        let product = i32::from(gate) * i32::from(scaled) / (1 << 15);
        let last = shifted(i32::from(product as i16), (-to_output.shift).max(0) as u32);
        (last + output.zero_point).clamp(-128, 127) as i8
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn factors_and_ties() {
        assert_eq!(Multiplier::new(1.0), Multiplier { mantissa: 1 << 30, shift: 1 });
        assert_eq!(Multiplier::new(0.5), Multiplier { mantissa: 1 << 30, shift: 0 });
        assert_eq!(Multiplier::new(0.0).times(1000), 0);
        assert_eq!(Multiplier::new(1e-12).times(i32::MAX), 0);
        // A factor of one changes nothing; halves go away from 0, and 5/4 by way of 3/2.
        for x in [i32::MIN / 2, -7, -1, 0, 1, 99, i32::MAX / 2] {
            assert_eq!(Multiplier::new(1.0).times(x), x);
        }
        assert_eq!([3, -3, 5, -5].map(|x| Multiplier::new(0.25).times(x)), [1, -1, 2, -1]);
        assert_eq!([2, -2, 6, -6].map(|x| Multiplier::new(0.25).times(x)), [1, -1, 2, -2]);
    }

    /// What LiteRT's reference kernel makes of numbers below 0, whose products are cut off towards 0 and not down.
    #[test]
    fn hard_swish_is_that_of_the_reference_kernel() {
        let (input, output) =
            (Scale { scale: 0.037_428_044, zero_point: 1 }, Scale { scale: 0.020_770_926, zero_point: -110 });
        let table = hard_swish(input, output);
        let known: [(i32, i8); 40] = [
            (-78, -111),
            (-77, -112),
            (-76, -113),
            (-75, -114),
            (-74, -114),
            (-73, -115),
            (-72, -116),
            (-71, -117),
            (-70, -117),
            (-69, -118),
            (-68, -119),
            (-67, -119),
            (-66, -120),
            (-65, -120),
            (-64, -121),
            (-63, -122),
            (-62, -122),
            (-61, -123),
            (-60, -123),
            (-59, -124),
            (-58, -124),
            (-57, -124),
            (-56, -125),
            (-55, -125),
            (-54, -126),
            (-53, -126),
            (-52, -126),
            (-51, -126),
            (-50, -127),
            (-49, -127),
            (-48, -127),
            (-47, -127),
            (-46, -128),
            (-45, -128),
            (-44, -128),
            (-43, -128),
            (-42, -128),
            (-41, -128),
            (-40, -128),
            (-39, -128),
        ];
        for (number, expected) in known {
            assert_eq!(table[(number + 128) as usize], expected, "{number}");
        }
    }

    proptest! {
        #[test]
        fn a_product_is_within_a_rounding_of_the_real_one(x in -1_000_000..1_000_000_i32, real in 1e-6..100.0_f64) {
            let got = f64::from(Multiplier::new(real).times(x));
            prop_assert!((got - f64::from(x) * real).abs() <= 1.0);
        }

        #[test]
        fn hard_swish_is_within_two_steps(least in 0.1..8.0_f32, most in 0.1..8.0_f32) {
            let input = Scale::reaching(-least, most);
            let swish = |x: f32| x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
            let output = Scale::reaching(-0.375, swish(most).max(0.1));
            let table = hard_swish(input, output);
            for number in -128..=127_i8 {
                let expected = output.quantise(swish(input.real(number)));
                let got = table[(i32::from(number) + 128) as usize];
                prop_assert!((i32::from(got) - i32::from(expected)).abs() <= 2, "{number}: {got}, {expected}");
            }
        }
    }
}
