//! `ofa predictor propose`: which subnets to measure next.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use crate::error::Result;
use crate::folders::pairs_file::Pairs;
use crate::predictor::near_front::NearFront;

/// Subnets to measure next, given the pairs of some files, as JSON: of the space of that name or path, or of that which
/// the files name.
///
/// # Errors
/// Files of pairs that are missing or wrong; as [`NearFront::propose`].
pub fn propose(
    space: Option<&str>,
    paths: &[PathBuf],
    near_front: &NearFront,
    stop: &AtomicBool,
) -> Result<Vec<Value>> {
    let Pairs { space, measured, archs, .. } = Pairs::read(paths, space)?;
    let proposed = near_front.propose(&space, &measured, &archs, stop)?;
    Ok(proposed.iter().map(|arch| space.to_subnet_json(arch)).collect())
}
