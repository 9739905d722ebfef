//! `ofa predictor propose`: which subnets to measure next.

use std::path::PathBuf;

use search::arch::ArchSpec;
use search::space::SearchSpace;

use crate::error::Result;
use crate::folders::pairs_file::read_all;
use crate::predictor::near_front::NearFront;

/// Subnets of `space` to measure next, given the pairs of some files.
///
/// # Errors
/// Files of pairs that are missing or wrong; as [`NearFront::propose`].
pub fn propose(space: &SearchSpace, paths: &[PathBuf], near_front: &NearFront) -> Result<Vec<ArchSpec>> {
    let (measured, archs) = read_all(paths, space)?;
    near_front.propose(space, &measured, &archs)
}
