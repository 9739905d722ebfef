//! Counter-based randomness: what is drawn depends on where it is used, never on what was drawn before.
//!
//! The key of a ChaCha8 generator is (seed, purpose, epoch, step) itself, so that any step of any epoch can be made
//! first, last or on any thread and comes out the same; a resumed run draws what an undisturbed one would.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; each purpose is a family of generators of its own.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    Shuffle = 1,
    Augment = 2,
    HeldOut = 3,
    Calibration = 4,
    Synthetic = 5,
    Subnets = 6,
    Mix = 7,
    Grow = 8,
    SplitTest = 9,
    Sheet = 10,
    Balance = 11,
}

/// The generator of one place.
pub(crate) fn generator(seed: u64, purpose: Purpose, epoch: u64, step: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, value) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, step]) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
