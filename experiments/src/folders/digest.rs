//! Short digests, to tell one run or measurement from another; not against anybody who means harm.

/// FNV-1a (Fowler, Noll & Vo) over words instead of bytes.
pub(crate) struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Fnv1a(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    /// Adds a word.
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The digest of all words so far.
    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

/// That of these words.
pub(crate) fn fnv1a(words: impl Iterator<Item = u64>) -> u64 {
    let mut hash = Fnv1a::default();
    words.for_each(|word| hash.add(word));
    hash.finish()
}
