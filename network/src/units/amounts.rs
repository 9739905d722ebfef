//! Quantities that cannot be mixed up, read and printed with their units.
//!
//! Prefixes n, u or µ, m, k before J and s; K, M, G for counts; bytes as B, kB, MB, GB (powers of 1000) or KiB, MiB,
//! GiB (powers of 1024). A number without a unit, or with the unit of something else, is refused with the fix in the
//! message. Printing gives three significant digits, and what is printed can be read back.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use storage::failure::{Failure, FailureKind};

/// Multiply-accumulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Macs(pub u64);

/// Trainable parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Params(pub u64);

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

/// An energy in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Joules(pub f64);

impl Joules {
    /// From millijoules.
    pub fn from_mj(mj: f64) -> Self {
        Self(mj * 1e-3)
    }
}

/// A text that is no quantity of the wanted dimension. All of them are wrong use of the command line or a file's field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Text that does not start with a number.
    #[error("{text:?} is not a quantity")]
    NotANumber {
        /// What was given.
        text: String,
        /// What would be right.
        example: &'static str,
    },
    /// A number alone where a unit is needed.
    #[error("{text} has no unit: write {suggestion}")]
    NoUnit {
        /// What was given.
        text: String,
        /// The number with the unit most likely meant.
        suggestion: String,
    },
    /// A unit that exists but measures something else.
    #[error("{text} is {found}, where {wanted} is wanted: write for example {example}")]
    WrongDimension {
        /// What was given.
        text: String,
        /// What it measures.
        found: &'static str,
        /// What is wanted.
        wanted: &'static str,
        /// What would be right.
        example: &'static str,
    },
    /// A unit nobody knows.
    #[error("{text} has the unknown unit {unit:?}")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// Its unit.
        unit: String,
        /// Units that would do.
        known: &'static str,
    },
    /// Below zero, not a number, infinite, or a fraction of something that is counted.
    #[error("{text} is {problem}")]
    BadNumber {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What would be right.
        example: &'static str,
    },
}

impl Failure for UnitError {
    fn kind(&self) -> FailureKind {
        FailureKind::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UnitError::NotANumber { example, .. } => format!("write a number and a unit, for example {example}"),
            UnitError::UnknownUnit { known, .. } => format!("units here: {known}"),
            UnitError::BadNumber { example, .. } => format!("write for example {example}"),
            UnitError::NoUnit { .. } | UnitError::WrongDimension { .. } => return None,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Energy,
    Time,
    Count,
    Memory,
}

impl Dimension {
    fn words(self) -> &'static str {
        match self {
            Dimension::Energy => "an energy",
            Dimension::Time => "a time",
            Dimension::Count => "a count",
            Dimension::Memory => "an amount of memory",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Dimension::Energy => "50mJ",
            Dimension::Time => "20ms",
            Dimension::Count => "300M",
            Dimension::Memory => "320KiB",
        }
    }

    /// The unit most likely meant by a bare number. Memories are published in bytes and in KiB: what would be many MiB
    /// in the one is meant in the other.
    fn usual(self, number: f64) -> &'static str {
        match self {
            Dimension::Memory if number.abs() >= LEAST_BYTES => "B",
            Dimension::Energy => "mJ",
            Dimension::Time => "ms",
            Dimension::Count => "M",
            Dimension::Memory => "KiB",
        }
    }

    /// What is close to an unknown unit, or all there are.
    fn likely(self, unit: &str) -> &'static str {
        match (self, unit.to_ascii_lowercase().as_str()) {
            (Dimension::Memory, "k" | "kb" | "kib") => "kB (1000 bytes) or KiB (1024)",
            (Dimension::Memory, "m" | "mb" | "mib") => "MB (1000000 bytes) or MiB (1048576)",
            (Dimension::Memory, "g" | "gb" | "gib") => "GB (powers of 1000) or GiB (powers of 1024)",
            _ => self.known(),
        }
    }

    fn known(self) -> &'static str {
        match self {
            Dimension::Energy => "nJ, uJ or µJ, mJ, J, kJ",
            Dimension::Time => "ns, us or µs, ms, s, ks",
            Dimension::Count => "K (thousand), M (million), G (billion), or none",
            Dimension::Memory => "B, kB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024)",
        }
    }
}

/// A unit's dimension and its size as a power of ten or an exact factor.
fn unit(text: &str) -> Option<(Dimension, Scale)> {
    use Dimension::*;
    Some(match text {
        "" => (Count, Scale::Ten(0)),
        "K" | "k" => (Count, Scale::Ten(3)),
        "M" => (Count, Scale::Ten(6)),
        "G" => (Count, Scale::Ten(9)),
        "B" => (Memory, Scale::Ten(0)),
        "kB" => (Memory, Scale::Ten(3)),
        "MB" => (Memory, Scale::Ten(6)),
        "GB" => (Memory, Scale::Ten(9)),
        "KiB" => (Memory, Scale::Two(10)),
        "MiB" => (Memory, Scale::Two(20)),
        "GiB" => (Memory, Scale::Two(30)),
        _ => {
            let (prefix, dimension) = match (text.strip_suffix('J'), text.strip_suffix('s')) {
                (Some(prefix), _) => (prefix, Energy),
                (_, Some(prefix)) => (prefix, Time),
                _ => return None,
            };
            let exponent = match prefix {
                "n" => -9,
                // Micro sign and Greek mu look the same and are two characters.
                "u" | "\u{b5}" | "\u{3bc}" => -6,
                "m" => -3,
                "" => 0,
                "k" => 3,
                _ => return None,
            };
            (dimension, Scale::Ten(exponent))
        }
    })
}

/// Bare numbers from here on are bytes.
const LEAST_BYTES: f64 = 8192.0;

enum Scale {
    Ten(i32),
    Two(i32),
}

/// Length of the number that `text` starts with, `0` if there is none. An `e` counts only with digits behind it.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits((at + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

/// Reads a number with a unit of dimension `wanted`; the result is in SI units (or a plain count).
fn parse(text: &str, wanted: Dimension) -> Result<f64, UnitError> {
    let text = text.trim();
    let bad = |problem| UnitError::BadNumber { text: text.to_string(), problem, example: wanted.example() };
    let length = number_length(text);
    if length == 0 {
        let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if bare.starts_with("nan") {
            return Err(bad("not a number"));
        }
        if bare.starts_with("inf") {
            return Err(bad("not finite"));
        }
        return Err(UnitError::NotANumber { text: text.to_string(), example: wanted.example() });
    }
    let (number, suffix) = (&text[..length], text[length..].trim());
    let (dimension, scale) = unit(suffix).ok_or_else(|| UnitError::UnknownUnit {
        text: text.to_string(),
        unit: suffix.to_string(),
        known: wanted.likely(suffix),
    })?;
    if dimension != wanted {
        if suffix.is_empty() {
            let suggestion =
                format!("{}{}", number.trim_start_matches(['+', '-']), wanted.usual(number.parse().unwrap_or(0.0)));
            return Err(UnitError::NoUnit { text: text.to_string(), suggestion });
        }
        return Err(UnitError::WrongDimension {
            text: text.to_string(),
            found: dimension.words(),
            wanted: wanted.words(),
            example: wanted.example(),
        });
    }
    let value: f64 = number.parse().map_err(|_| bad("not a number"))?;
    // Dividing by an exact power gives the double nearest to the decimal text; multiplying by 1e-3 does not.
    let value = match scale {
        Scale::Ten(exponent) if exponent < 0 => value / 10f64.powi(-exponent),
        Scale::Ten(exponent) => value * 10f64.powi(exponent),
        Scale::Two(exponent) => value * 2f64.powi(exponent),
    };
    if value.is_sign_negative() && value != 0.0 {
        return Err(bad("negative"));
    }
    if !value.is_finite() {
        return Err(bad("not finite"));
    }
    Ok(value)
}

fn parse_whole(text: &str, wanted: Dimension) -> Result<u64, UnitError> {
    let value = parse(text, wanted)?;
    let bad = |problem| UnitError::BadNumber { text: text.trim().to_string(), problem, example: wanted.example() };
    // 1.1M is 1100000 up to rounding of the double.
    let near = value.round();
    let is_near = (value - near).abs() <= 1e-9 * value.max(1.0);
    // A ceiling of 0.3MiB holds whole bytes only.
    let rounded = if wanted == Dimension::Memory && value >= 1.0 && !is_near { value.floor() } else { near };
    if rounded == near && !is_near {
        return Err(bad("not a whole number"));
    }
    if rounded >= 2f64.powi(63) {
        return Err(bad("too large"));
    }
    Ok(rounded as u64)
}

/// Three significant digits without trailing zeros.
fn three_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if value.abs() >= 1e9 {
        return format!("{value:.2e}");
    }
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

fn print(f: &mut fmt::Formatter<'_>, value: f64, base: &str, steps: &[(f64, &str)]) -> fmt::Result {
    // The largest step not above the value as printed, so that 999.9 mJ is 1 J and not 1000 mJ.
    let size = value.abs() * (1.0 + 0.5e-3);
    let &(step, prefix) = steps.iter().rev().find(|(step, _)| size >= *step).unwrap_or(&steps[0]);
    let scaled = value / step;
    let digits = if scaled.abs() < 1e9 { three_digits(scaled) } else { format!("{scaled:.2e}") };
    let text = format!("{digits} {prefix}{base}");
    f.pad(text.trim_end())
}

const SI: [(f64, &str); 5] = [(1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k")];
const COUNT: [(f64, &str); 4] = [(1.0, ""), (1e3, "K"), (1e6, "M"), (1e9, "G")];
const MEMORY: [(f64, &str); 4] = [(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB")];

impl fmt::Display for Macs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0 as f64, "", &COUNT)
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0 as f64, "", &COUNT)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0 as f64, "", &MEMORY)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, "s", &SI)
    }
}

impl fmt::Display for Joules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, "J", &SI)
    }
}

macro_rules! read_and_add {
    ($type:ident, $parse:ident, $dimension:ident) => {
        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                $parse(text, Dimension::$dimension).map(Self)
            }
        }

        impl Add for $type {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sum for $type {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::default(), Add::add)
            }
        }
    };
}

read_and_add!(Macs, parse_whole, Count);
read_and_add!(Params, parse_whole, Count);
read_and_add!(Bytes, parse_whole, Memory);
read_and_add!(Seconds, parse, Time);
read_and_add!(Joules, parse, Energy);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joules(text: &str) -> f64 {
        text.parse::<Joules>().unwrap().0
    }

    fn refused<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str, words: &str) {
        let error = text.parse::<T>().unwrap_err();
        let all = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(all.contains(words), "{text}: {all}");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn quantities_are_read_in_every_spelling() {
        assert_eq!(joules("50mJ"), 0.05);
        assert_eq!(joules(" 50 mJ "), 0.05);
        assert_eq!(joules("5e-2J"), 0.05);
        assert_eq!(joules("5E1mJ"), 0.05);
        assert_eq!(joules("1nJ"), 1e-9);
        assert_eq!(joules("1uJ"), joules("1\u{b5}J"));
        assert_eq!(joules("1µJ"), joules("1\u{3bc}J"));
        assert_eq!(joules(".5kJ"), 500.0);
        assert_eq!("20ms".parse::<Seconds>().unwrap().0, 0.02);
        assert_eq!("300M".parse::<Macs>().unwrap(), Macs(300_000_000));
        assert_eq!("1.1K".parse::<Params>().unwrap(), Params(1100));
        assert_eq!("12345".parse::<Macs>().unwrap(), Macs(12345));
        assert_eq!("320KiB".parse::<Bytes>().unwrap(), Bytes(327_680));
        assert_eq!("320kB".parse::<Bytes>().unwrap(), Bytes(320_000));
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_fix() {
        refused::<Joules>("50", "50 has no unit: write 50mJ");
        refused::<Seconds>("20", "write 20ms");
        refused::<Bytes>("320", "write 320KiB");
        refused::<Bytes>("98304", "write 98304B");
        refused::<Bytes>("320KB", "kB (1000 bytes) or KiB (1024)");
        refused::<Bytes>("0.5B", "whole number");
        assert_eq!("0.3MiB".parse::<Bytes>().unwrap(), Bytes(314_572));
        assert_eq!("0.5KiB".parse::<Bytes>().unwrap(), Bytes(512));
        refused::<Joules>("50ms", "50ms is a time, where an energy is wanted: write for example 50mJ");
        refused::<Seconds>("50mJ", "is an energy");
        refused::<Joules>("50M", "is a count");
        refused::<Macs>("50mJ", "is an energy");
        refused::<Joules>("50MJ", "mJ");
        refused::<Bytes>("50KB", "kB");
        refused::<Macs>("300m", "M (million)");
        refused::<Joules>("-50mJ", "negative");
        refused::<Joules>("NaNmJ", "not a number");
        refused::<Joules>("inf", "not finite");
        refused::<Joules>("1e999J", "not finite");
        refused::<Joules>("cheap", "50mJ");
        refused::<Joules>("", "50mJ");
        refused::<Macs>("1.5", "whole");
        refused::<Macs>("1e30", "too large");
    }

    #[test]
    fn printing_has_three_digits_and_a_unit() {
        assert_eq!(Joules(0.05).to_string(), "50 mJ");
        assert_eq!(Seconds(0.05 / 1.2).to_string(), "41.7 ms");
        assert_eq!(Joules(0.9999).to_string(), "1 J");
        assert_eq!(Joules(4.62e-3).to_string(), "4.62 mJ");
        assert_eq!(Joules(0.0).to_string(), "0 nJ");
        assert!(Joules(2e300).to_string().len() < 20, "{}", Joules(2e300));
        assert_eq!(Macs(264_008_640).to_string(), "264 M");
        assert_eq!(Params(7_711_880).to_string(), "7.71 M");
        assert_eq!(Macs(999).to_string(), "999");
        assert_eq!(Bytes(327_680).to_string(), "320 KiB");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(exponent in -8.0f64..5.0) {
            let value = 10f64.powf(exponent);
            let back: Joules = Joules(value).to_string().parse().unwrap();
            prop_assert!((back.0 / value - 1.0).abs() < 6e-3, "{value} {}", back.0);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = text.parse::<Joules>();
            let _ = text.parse::<Bytes>();
        }
    }
}
