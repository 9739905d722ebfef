//! Short digests, to tell one run or measurement from another; not against anybody who means harm.

/// FNV-1a (Fowler, Noll & Vo) over words instead of bytes.
pub(crate) fn fnv1a(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3))
}
