//! The doors to a space's members: named parts, the largest, the middle and the smallest, and what is said of a setting
//! that is not offered.

use crate::error::{SearchError, in_words};
use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};
use crate::space::space_file::{MAX_RESOLUTION, MIN_RESOLUTION};
use crate::space::{SearchSpace, Stage};

impl SearchSpace {
    /// A network from its parts: stage by stage, depth being the number of blocks.
    ///
    /// # Errors
    /// The resolution, depth, kernel size or expand ratio that the space does not offer, by name.
    pub fn arch(&self, resolution: u32, stages: Vec<StageSpec>) -> Result<ArchSpec, SearchError> {
        self.check_resolution(resolution, "resolution")?;
        self.arch_at_any_resolution(resolution, stages)
    }

    /// Like [`SearchSpace::arch`] for any resolution of at least [`MIN_RESOLUTION`]: published networks use sizes
    /// outside their space's list. For cost questions only; search and predictors insist on the list.
    ///
    /// # Errors
    /// As [`SearchSpace::arch`].
    pub fn arch_at_any_resolution(&self, resolution: u32, stages: Vec<StageSpec>) -> Result<ArchSpec, SearchError> {
        self.check_any_resolution(resolution, "resolution")?;
        if stages.len() != self.stages.len() {
            return Err(SearchError::SubnetField {
                space: self.id.to_string(),
                field: "stages".into(),
                problem: format!("{} stages, the space has {}", stages.len(), self.stages.len()),
            });
        }
        for (index, spec) in stages.iter().enumerate() {
            self.check_depth(index, spec.blocks.len() as u64, format!("stages[{index}]"))?;
            for (block, settings) in spec.blocks.iter().enumerate() {
                let field = |key: &str| format!("stages[{index}][{block}].{key}");
                self.check_kernel(index, block, u64::from(settings.kernel), field("kernel"))?;
                self.check_expand(index, block, u64::from(settings.expand), field("expand"))?;
            }
        }
        Ok(ArchSpec { space: self.id.clone(), resolution, stages })
    }

    /// Every stage at its deepest, every block at its largest kernel and expand ratio.
    ///
    /// # Errors
    /// If the space does not offer `resolution`.
    pub fn largest(&self, resolution: u32) -> Result<ArchSpec, SearchError> {
        self.uniform(resolution, |stage| {
            (stage.max_depth(), BlockSpec { kernel: stage.max_kernel(), expand: stage.max_expand() })
        })
    }

    /// Every stage at its shallowest, every block at its smallest kernel and expand ratio.
    ///
    /// # Errors
    /// If the space does not offer `resolution`.
    pub fn smallest(&self, resolution: u32) -> Result<ArchSpec, SearchError> {
        self.uniform(resolution, |stage| {
            (stage.depths[0] as usize, BlockSpec { kernel: stage.kernels[0], expand: stage.expands[0] })
        })
    }

    /// Every stage and block at the middle one of its choices, the larger one of two in the middle.
    ///
    /// # Errors
    /// If the space does not offer `resolution`.
    pub fn middle(&self, resolution: u32) -> Result<ArchSpec, SearchError> {
        let middle = |choices: &[u32]| choices[choices.len() / 2];
        self.uniform(resolution, |stage| {
            let block = BlockSpec { kernel: middle(&stage.kernels), expand: middle(&stage.expands) };
            (middle(&stage.depths) as usize, block)
        })
    }

    fn uniform(&self, resolution: u32, of: impl Fn(&Stage) -> (usize, BlockSpec)) -> Result<ArchSpec, SearchError> {
        self.check_resolution(resolution, "resolution")?;
        Ok(self.uniform_unchecked(resolution, of))
    }

    /// Some member, for what does not depend on which.
    pub(crate) fn frame_at(&self, resolution: u32) -> ArchSpec {
        self.uniform_unchecked(resolution, |stage| {
            (stage.max_depth(), BlockSpec { kernel: stage.max_kernel(), expand: stage.max_expand() })
        })
    }

    fn uniform_unchecked(&self, resolution: u32, of: impl Fn(&Stage) -> (usize, BlockSpec)) -> ArchSpec {
        let stages = self.stages.iter().map(|stage| {
            let (depth, block) = of(stage);
            StageSpec { blocks: vec![block; depth] }
        });
        ArchSpec { space: self.id.clone(), resolution, stages: stages.collect() }
    }

    pub(crate) fn check_resolution(&self, got: u32, field: &str) -> Result<(), SearchError> {
        if self.resolutions.contains(&got) {
            return Ok(());
        }
        let offered = match self.resolutions.as_slice() {
            many if many.len() > 8 => {
                let step = many[1] - many[0];
                let even = many.windows(2).all(|pair| pair[1] - pair[0] == step);
                let end = if even { format!(" in steps of {step}") } else { String::new() };
                format!("{} to {}{end}", many[0], many[many.len() - 1])
            }
            few => in_words(few),
        };
        Err(SearchError::ResolutionNotOffered {
            space: self.id.to_string(),
            got: u64::from(got),
            offered,
            field: field.into(),
        })
    }

    pub(crate) fn check_any_resolution(&self, got: u32, field: &str) -> Result<(), SearchError> {
        if (MIN_RESOLUTION..=MAX_RESOLUTION).contains(&got) {
            return Ok(());
        }
        Err(SearchError::ResolutionNotOffered {
            space: self.id.to_string(),
            got: u64::from(got),
            offered: format!("{MIN_RESOLUTION} to {MAX_RESOLUTION}"),
            field: field.into(),
        })
    }

    pub(crate) fn check_depth(&self, stage: usize, got: u64, field: String) -> Result<usize, SearchError> {
        let offered = &self.stages[stage].depths;
        if offered.iter().any(|&depth| u64::from(depth) == got) {
            return Ok(got as usize);
        }
        Err(SearchError::DepthNotOffered {
            space: self.id.to_string(),
            stage: stage + 1,
            got,
            offered: offered.clone(),
            field,
        })
    }

    pub(crate) fn check_kernel(&self, stage: usize, block: usize, got: u64, field: String) -> Result<u32, SearchError> {
        self.check_choice(stage, block, "kernel size", &self.stages[stage].kernels, got, field)
    }

    pub(crate) fn check_expand(&self, stage: usize, block: usize, got: u64, field: String) -> Result<u32, SearchError> {
        self.check_choice(stage, block, "expand ratio", &self.stages[stage].expands, got, field)
    }

    fn check_choice(
        &self,
        stage: usize,
        block: usize,
        what: &'static str,
        offered: &[u32],
        got: u64,
        field: String,
    ) -> Result<u32, SearchError> {
        if let Some(&value) = offered.iter().find(|&&value| u64::from(value) == got) {
            return Ok(value);
        }
        Err(SearchError::BlockNotOffered {
            space: self.id.to_string(),
            stage: stage + 1,
            block: block + 1,
            what,
            got,
            offered: offered.to_vec(),
            field,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_between_the_ends_and_of_one_choice_that_one() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let macs =
            [space.smallest(28), space.middle(28), space.largest(28)].map(|arch| space.lower(&arch.unwrap()).macs());
        assert!(macs.is_sorted() && macs[0] < macs[1] && macs[1] < macs[2], "{macs:?}");
        let only = space.largest_choices(1, 1, 1);
        assert_eq!(only.middle(28).unwrap(), only.largest(28).unwrap());
        assert!(space.middle(27).is_err());
    }
}
