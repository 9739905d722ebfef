//! How many images of a part may be left out because they cannot be used.

use std::fmt;
use std::str::FromStr;

/// A largest share of broken images, above 0 and up to 100 %: `2%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipBroken {
    /// Whole millionths, so that equal shares are equal values.
    millionths: u32,
}

impl SkipBroken {
    /// Whether `broken` of `all` images are no more than that.
    pub(super) fn allows(self, broken: usize, all: usize) -> bool {
        broken as u128 * 1_000_000 <= u128::from(self.millionths) * all as u128
    }

    /// The smallest whole percentage that allows `broken` of `all` images.
    pub(super) fn enough_for(broken: usize, all: usize) -> SkipBroken {
        let percent = (100 * broken).div_ceil(all.max(1)).clamp(1, 100) as u32;
        SkipBroken { millionths: 10_000 * percent }
    }
}

impl FromStr for SkipBroken {
    type Err = String;

    fn from_str(text: &str) -> Result<SkipBroken, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let millionths = number.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent * 1e4);
        match millionths.map(f64::round) {
            Some(millionths) if millionths >= 1.0 => Ok(SkipBroken { millionths: millionths as u32 }),
            _ => Err(format!("`{text}` is not a share above 0 % and up to 100 %, such as 2%")),
        }
    }
}

impl fmt::Display for SkipBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_and_count_whole_images() {
        let of = |text: &str| text.parse::<SkipBroken>();
        for text in ["2%", "0.5%", "100%"] {
            assert_eq!(of(text).unwrap().to_string(), text);
        }
        assert_eq!(of("2 %").unwrap(), of("2.0%").unwrap());
        for wrong in ["2", "0%", "101%", "-1%", "NaN%", "%", ""] {
            assert!(of(wrong).unwrap_err().contains("such as 2%"), "{wrong}");
        }
        let two = of("2%").unwrap();
        assert!(two.allows(2, 100) && !two.allows(3, 100) && !two.allows(1, 49) && two.allows(0, 1));
        assert_eq!(SkipBroken::enough_for(1, 200).to_string(), "1%");
        assert_eq!(SkipBroken::enough_for(3, 200).to_string(), "2%");
        assert!(SkipBroken::enough_for(7, 9).allows(7, 9));
    }
}
