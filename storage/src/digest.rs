//! Digests of what a value was computed from: kept beside the value, and compared before it is believed again.
//!
//! SHA-256 (FIPS 180-4) over parts, each after its length, so that two parts never read as one other.
//!
//! ```
//! use storage::digest::Digester;
//!
//! let of = |weights: &[u8], images: u64| Digester::new("pairs").bytes(weights).number(images).finish();
//! assert_eq!(of(b"abc", 5000), of(b"abc", 5000));
//! assert_ne!(of(b"abc", 5000), of(b"abc", 5001));
//! assert_eq!(of(b"abc", 5000).to_string().parse(), Ok(of(b"abc", 5000)));
//! ```

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Bytes of a digest.
pub const BYTES: usize = 32;

/// A digest, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        if text.len() != 2 * BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoDigest);
        }
        let mut bytes = [0; BYTES];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or(0) as u8;
            *byte = digit(0) << 4 | digit(1);
        }
        Ok(Digest(bytes))
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest of 64 hexadecimal digits")]
pub struct NoDigest;

/// Parts on their way to a [`Digest`].
#[derive(Clone, Debug)]
pub struct Digester(Sha256);

impl Digester {
    /// A digest of parts of a `kind`: digests of two kinds differ even over the same parts.
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Begins bytes, `length` of them, that are added piece by piece: with the digest that [`Digester::bytes`] gives all at
    /// once.
    #[must_use]
    pub fn parts(mut self, length: u64) -> Parts {
        self.0.update(length.to_le_bytes());
        Parts { digester: self, left: length }
    }

    /// Adds text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a whole number.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// Adds numbers, by their bits.
    #[must_use]
    pub fn numbers(mut self, numbers: impl ExactSizeIterator<Item = f64>) -> Self {
        self.0.update((8 * numbers.len() as u64).to_le_bytes());
        numbers.for_each(|number| self.0.update(number.to_le_bytes()));
        self
    }

    /// Adds what was digested before.
    #[must_use]
    pub fn digest(self, digest: &Digest) -> Self {
        self.bytes(digest.as_bytes())
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Bytes that are added piece by piece.
#[derive(Clone, Debug)]
pub struct Parts {
    digester: Digester,
    left: u64,
}

impl Parts {
    /// The next bytes.
    ///
    /// # Panics
    /// More bytes than were announced.
    pub fn part(&mut self, bytes: &[u8]) {
        self.left = self.left.checked_sub(bytes.len() as u64).expect("as many bytes as announced");
        self.digester.0.update(bytes);
    }

    /// The digester after all of them.
    ///
    /// # Panics
    /// Fewer bytes than were announced.
    pub fn whole(self) -> Digester {
        assert_eq!(self.left, 0, "as many bytes as announced");
        self.digester
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_pieces_are_the_bytes() {
        let mut parts = Digester::new("pixels").number(1).parts(5);
        parts.part(b"ab");
        parts.part(b"");
        parts.part(b"cde");
        let whole = Digester::new("pixels").number(1).bytes(b"abcde");
        assert_eq!(parts.whole().number(2).finish(), whole.number(2).finish());
    }

    #[test]
    fn the_published_value_of_the_standard() {
        // FIPS 180-4, example of one block: "abc".
        let digest = Digest(Sha256::digest(b"abc").into());
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Digest>(), Err(NoDigest), "{wrong}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: &[&str]| parts.iter().fold(Digester::new("x"), |digester, part| digester.text(part)).finish();
        let all = [of(&["ab", "c"]), of(&["a", "bc"]), of(&["abc"]), of(&["abc", ""]), Digester::new("y").finish()];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
        let numbers = |values: &[f64]| Digester::new("x").numbers(values.iter().copied()).finish();
        assert_ne!(numbers(&[0.0, 1.0]), numbers(&[-0.0, 1.0]));
    }
}
