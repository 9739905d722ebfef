//! `ofa init`: looks at images and writes what a build of them needs: a recipe, a space, a sweep and the settings of the
//! stages between, each commented, so that nothing has to be edited and everything can be.
//!
//! [`scale`] brings a bundle's space to the images' size; [`schedule`] makes epochs of minutes, from what a step takes on
//! this machine; [`texts`] writes the files.

use std::path::PathBuf;

use hw_targets::error::HwError;
use hw_targets::target::Target;
use network::units::Quantity;
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::target::{list, range};
use crate::torch::{DataSource, DeviceChoice};

#[cfg(feature = "torch")]
pub(crate) mod scale;
#[cfg(feature = "torch")]
pub(crate) mod schedule;
#[cfg(feature = "torch")]
pub(crate) mod texts;
#[cfg(feature = "torch")]
pub(crate) mod write;

/// Where a network is to run if nobody says: a phone whose operators are measured.
const TARGET: &str = "pixel3";

/// `ofa init`.
#[derive(Clone, Debug)]
pub struct InitRequest {
    /// The folder.
    pub folder: PathBuf,
    /// Images.
    pub data: DataSource,
    /// A bundle whose space and schedule it takes after, by name or path.
    pub like: String,
    /// Where the networks are to run; without one, a phone.
    pub target: Option<String>,
    /// How long the build may take on this machine; without it, as long as such a training takes.
    pub minutes: Option<f64>,
    /// Seed of everything.
    pub seed: u64,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What was found out, and written.
#[derive(Clone, Debug, PartialEq)]
pub struct Initialised {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images: to train on, held out, to test with.
    pub images: [usize; 3],
    /// Whether the test images are of the source itself, or were chosen from its training images.
    pub has_test_part: bool,
    /// The shorter side of the images: smallest, median, largest.
    pub sides: [u32; 3],
    /// Height and width that images are brought to.
    pub image_size: usize,
    /// Mean and standard deviation of each channel.
    pub normalisation: [[f64; 3]; 2],
    /// A bundle whose weights but for the classifier the training begins with; fresh ones without it.
    pub begins_with: Option<String>,
    /// Resolutions of the space.
    pub resolutions: Vec<u32>,
    /// MACs of the smallest and the largest subnet.
    pub macs: [u64; 2],
    /// The target.
    pub target: String,
    /// What its budgets limit, with the least and the most that a subnet costs.
    pub range: (Quantity, f64, f64),
    /// Passes over the images.
    pub epochs: u64,
    /// Seconds of each stage, as far as they can be told.
    pub seconds: Vec<(&'static str, f64)>,
    /// The files.
    pub files: Vec<PathBuf>,
    /// What there is to say about the images.
    pub notes: Vec<String>,
}

impl Initialised {
    /// Seconds of the whole build, as far as they can be told.
    pub fn total(&self) -> f64 {
        self.seconds.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// The target that is meant, the quantity that its budgets limit, and from where to where that goes for `space`.
///
/// # Errors
/// An unknown target, or one that does not price the space's operators though it was asked for.
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "only a build needs a target before it has a bundle"))]
pub(crate) fn target_for(space: &SearchSpace, asked: Option<&str>) -> Result<(String, (Quantity, f64, f64))> {
    let of = |target: &Target| -> Result<(Quantity, f64, f64)> {
        let ranges = range::range(target, space)?;
        let preferred = [Quantity::Latency, Quantity::Energy, Quantity::Macs];
        let found = preferred.iter().find_map(|quantity| ranges.iter().find(|range| range.quantity == *quantity));
        let found = found.expect("every target counts MACs");
        Ok((found.quantity, found.cheapest, found.dearest))
    };
    if let Some(name) = asked {
        return Ok((name.to_owned(), of(&list::find(name)?)?));
    }
    let others = list::list().into_iter().map(|entry| entry.name).filter(|name| name != TARGET);
    for name in std::iter::once(TARGET.to_owned()).chain(others) {
        match list::find(&name).and_then(|target| of(&target)) {
            Ok(range) if range.0 != Quantity::Macs => return Ok((name, range)),
            Ok(_) | Err(Error::Hw(HwError::MissingOperator { .. })) => {}
            // A target of the user's own that cannot be read is no reason to do without all others.
            Err(_) if name != TARGET => {}
            Err(error) => return Err(error),
        }
    }
    let [least, most] = counted(space)?;
    Ok((TARGET.to_owned(), (Quantity::Macs, least as f64, most as f64)))
}

/// MACs of the smallest and the largest subnet.
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "as above"))]
pub(crate) fn counted(space: &SearchSpace) -> Result<[u64; 2]> {
    let resolutions = space.resolutions();
    let smallest = space.lower(&space.smallest(resolutions[0])?).macs().0;
    let largest = space.lower(&space.largest(resolutions[resolutions.len() - 1])?).macs().0;
    Ok([smallest, largest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_the_target_unless_another_is_named() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let (name, (quantity, least, most)) = target_for(&space, None).unwrap();
        assert_eq!((&*name, quantity), ("pixel3", Quantity::Latency));
        assert!(0.0 < least && least < most);
        // A board without times still counts.
        assert_eq!(target_for(&space, Some("stm32f746")).unwrap().1.0, Quantity::Macs);
        assert!(target_for(&space, Some("toaster")).is_err());
    }
}
