//! Subnets between the points of their space's grid: blocks may have any number of channels inside.
//!
//! A supernet's channels are in the order of their importance, and a subnet takes the first of them; so it need not take
//! as many as one of the expand ratios says.

use network::published::make_divisible;
use serde_json::{Value, json};

use crate::error::SearchError;
use crate::space::SearchSpace;
use crate::space::arch::{ArchSpec, BlockSpec};
use crate::space::arch_file::ArchFile;
use crate::space::subnet::{BlockPosition, SubnetConfig};

/// Schema word of its JSON.
const SCHEMA: &str = "ofa.refined/1";

/// A member of a space, some of whose blocks have more channels inside than their expand ratios say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefinedSubnet {
    /// The member with every width rounded down to an expand ratio that is offered.
    floor: ArchSpec,
    /// Channels that a block has beyond that, fewer than there are to the next expand ratio; one number for each block of
    /// the stages.
    extra: Vec<u32>,
}

/// A block of the stages that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Stage from 0.
    pub stage: usize,
    /// Block inside the stage from 0.
    pub index: usize,
}

impl RefinedSubnet {
    /// The member itself.
    pub fn new(arch: &ArchSpec) -> Self {
        let blocks = arch.stages().iter().map(|stage| stage.blocks.len()).sum();
        Self { floor: arch.clone(), extra: vec![0; blocks] }
    }

    /// The member with every width rounded down to an expand ratio that is offered.
    pub fn floor(&self) -> &ArchSpec {
        &self.floor
    }

    /// The blocks of the stages, in order.
    pub fn places(&self) -> Vec<Place> {
        let stages = self.floor.stages.iter().enumerate();
        stages.flat_map(|(stage, spec)| (0..spec.blocks.len()).map(move |index| Place { stage, index })).collect()
    }

    /// Every shape.
    ///
    /// # Panics
    /// If it is of another space.
    pub fn resolve(&self, space: &SearchSpace) -> SubnetConfig {
        let mut config = space.resolve(&self.floor);
        let elastic = config.blocks.iter_mut().filter(|block| matches!(block.position, BlockPosition::Elastic { .. }));
        for (block, extra) in elastic.zip(&self.extra) {
            if *extra > 0 {
                block.mid_channels += extra;
                block.se_channels = block.se_channels.map(|_| make_divisible(f64::from(block.mid_channels / 4)));
            }
        }
        config
    }

    /// Channels inside block `number`.
    pub fn width(&self, space: &SearchSpace, number: usize) -> u32 {
        let place = self.places()[number];
        self.grid(space, place)[self.rung(space, place)] + self.extra[number]
    }

    /// Fewest and most channels of block `number` between its present width and that of the next expand ratio above
    /// (`upwards`) or below; one of the two is its present width, and so are both where there is no such ratio.
    pub fn interval(&self, space: &SearchSpace, number: usize, upwards: bool) -> (u32, u32) {
        let place = self.places()[number];
        let (grid, rung) = (self.grid(space, place), self.rung(space, place));
        let width = grid[rung] + self.extra[number];
        if upwards {
            return (width, grid.get(rung + 1).copied().unwrap_or(width));
        }
        (if self.extra[number] > 0 { grid[rung] } else { grid[rung.saturating_sub(1)] }, width)
    }

    /// Fewest and most channels of block `number`.
    pub fn range(&self, space: &SearchSpace, number: usize) -> (u32, u32) {
        let grid = self.grid(space, self.places()[number]);
        (grid[0], grid[grid.len() - 1])
    }

    /// With `channels` inside block `number`; nothing where the space has no such width: fewer or more than its expand
    /// ratios offer, or between a block without an expand convolution and one with.
    pub fn with_width(&self, space: &SearchSpace, number: usize, channels: u32) -> Option<Self> {
        let place = self.places()[number];
        let grid = self.grid(space, place);
        let rung = grid.iter().rposition(|offered| *offered <= channels)?;
        let extra = channels - grid[rung];
        let stage = &space.stages[place.stage];
        let lacks_expansion = stage.expands[rung] == 1 && !stage.expand_conv_at_one;
        if extra > 0 && (rung + 1 == grid.len() || lacks_expansion) {
            return None;
        }
        let mut changed = self.clone();
        changed.floor.stages[place.stage].blocks[place.index].expand = stage.expands[rung];
        changed.extra[number] = extra;
        Some(changed)
    }

    /// The member with block `number` rounded to the next expand ratio above or below, if there is one.
    pub(crate) fn floor_with_rung(&self, space: &SearchSpace, number: usize, upwards: bool) -> Option<ArchSpec> {
        let place = self.places()[number];
        let expands = &space.stages[place.stage].expands;
        let rung = self.rung(space, place);
        let rung = if upwards { rung + 1 } else { rung.checked_sub(1)? };
        let mut floor = self.floor.clone();
        floor.stages[place.stage].blocks[place.index].expand = *expands.get(rung)?;
        Some(floor)
    }

    /// How far block `number` is from its expand ratio to the next, from 0 to 1.
    pub(crate) fn part(&self, space: &SearchSpace, number: usize) -> f64 {
        let place = self.places()[number];
        let (grid, rung) = (self.grid(space, place), self.rung(space, place));
        match grid.get(rung + 1) {
            Some(next) if self.extra[number] > 0 => f64::from(self.extra[number]) / f64::from(next - grid[rung]),
            _ => 0.0,
        }
    }

    /// With another kernel size in block `number`.
    pub(crate) fn with_kernel(&self, number: usize, kernel: u32) -> Self {
        let place = self.places()[number];
        let mut changed = self.clone();
        changed.floor.stages[place.stage].blocks[place.index].kernel = kernel;
        changed
    }

    /// With `depth` blocks in stage `stage`: the last ones go, new ones are as the last one at its narrowest.
    pub(crate) fn with_depth(&self, space: &SearchSpace, stage: usize, depth: usize) -> Self {
        let mut changed = self.clone();
        let first: usize = self.floor.stages[..stage].iter().map(|stage| stage.blocks.len()).sum();
        let blocks = &mut changed.floor.stages[stage].blocks;
        let (before, last) = (blocks.len(), blocks[blocks.len() - 1]);
        blocks.resize(depth, BlockSpec { expand: space.stages[stage].expands[0], ..last });
        changed.extra.splice(first + before.min(depth)..first + before, vec![0; depth.saturating_sub(before)]);
        changed
    }

    /// At another resolution.
    pub(crate) fn with_resolution(&self, resolution: u32) -> Self {
        let mut changed = self.clone();
        changed.floor.resolution = resolution;
        changed
    }

    /// Channels inside the block at `place` for each expand ratio.
    fn grid(&self, space: &SearchSpace, place: Place) -> Vec<u32> {
        let stage = &space.stages[place.stage];
        let input = if place.index == 0 { space.stage_in_channels(place.stage) } else { stage.width };
        stage.expands.iter().map(|expand| make_divisible(f64::from(input * expand))).collect()
    }

    fn rung(&self, space: &SearchSpace, place: Place) -> usize {
        let expand = self.floor.stages[place.stage].blocks[place.index].expand;
        let expands = &space.stages[place.stage].expands;
        expands.iter().position(|offered| *offered == expand).expect("a member's settings are offered")
    }

    /// As a JSON object: the member that is not larger, and the channels inside each block.
    pub fn to_json(&self, space: &SearchSpace) -> Value {
        let widths: Vec<u32> = (0..self.extra.len()).map(|number| self.width(space, number)).collect();
        json!({"schema": SCHEMA, "subnet": space.to_subnet_json(&self.floor), "channels": widths})
    }

    /// Reads what [`RefinedSubnet::to_json`] wrote.
    ///
    /// # Errors
    /// [`SearchError::SubnetSyntax`] for another form; a member or a width that `space` does not have.
    pub fn from_json(space: &SearchSpace, value: &Value) -> Result<Self, SearchError> {
        let syntax = |problem: &str| SearchError::SubnetSyntax { problem: problem.to_owned() };
        if value["schema"] != SCHEMA {
            return Err(syntax(&format!("`schema` is not \"{SCHEMA}\"")));
        }
        let floor = space.parse(&ArchFile::from_value(value["subnet"].clone())?)?;
        let channels: Option<Vec<u32>> = value["channels"].as_array().and_then(|all| {
            all.iter().map(|channels| channels.as_u64().and_then(|channels| u32::try_from(channels).ok())).collect()
        });
        let channels = channels.ok_or_else(|| syntax("`channels` is no list of channels"))?;
        let mut refined = Self::new(&floor);
        if channels.len() != refined.extra.len() {
            return Err(syntax("`channels` has another length than the subnet has blocks"));
        }
        for (number, channels) in channels.into_iter().enumerate() {
            let wrong = || syntax(&format!("the space has no block {number} of {channels} channels"));
            refined = refined.with_width(space, number, channels).ok_or_else(wrong)?;
        }
        Ok(refined)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_width_between_two_expand_ratios_is_the_lower_one_and_some_channels() {
        for name in ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0"] {
            let space = SearchSpace::builtin(name).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..3 {
                let arch = space.sample(&mut rng);
                let refined = RefinedSubnet::new(&arch);
                assert_eq!(refined.resolve(&space), space.resolve(&arch));
                for number in 0..refined.places().len() {
                    let (fewest, most) = refined.range(&space, number);
                    assert_eq!(refined.with_width(&space, number, fewest - 1), None);
                    assert_eq!(refined.with_width(&space, number, most + 1), None);
                    for channels in (fewest..=most).step_by(if most > 300 { 8 } else { 1 }) {
                        let Some(changed) = refined.with_width(&space, number, channels) else {
                            panic!("{name}: {channels} of {fewest} to {most}");
                        };
                        assert_eq!(changed.width(&space, number), channels);
                        let (low, high) = changed.interval(&space, number, true);
                        assert!(low == channels && high >= channels && changed.part(&space, number) < 1.0);
                        assert!(changed.interval(&space, number, false).1 == channels);
                        // Back on the grid it is the member again.
                        let back = changed.with_width(&space, number, refined.width(&space, number)).unwrap();
                        assert_eq!(back, refined);
                        let json = changed.to_json(&space);
                        assert_eq!(RefinedSubnet::from_json(&space, &json).unwrap(), changed);
                    }
                }
                for (stage, offered) in space.stages().iter().enumerate() {
                    for depth in &offered.depths {
                        let changed = refined.with_depth(&space, stage, *depth as usize);
                        assert_eq!(changed.extra.len(), changed.places().len());
                        assert_eq!(changed.floor.stages()[stage].blocks.len(), *depth as usize);
                    }
                }
            }
        }
    }

    #[test]
    fn squeeze_excite_follows_the_width() {
        let space = SearchSpace::builtin("mbv3-w1.0").unwrap();
        let refined = RefinedSubnet::new(&space.smallest(space.resolutions()[0]).unwrap());
        let number = refined.places().iter().position(|place| space.stages()[place.stage].squeeze_excite).unwrap();
        let (low, high) = refined.interval(&space, number, true);
        let wider = refined.with_width(&space, number, (low + high) / 2 / 8 * 8).unwrap().resolve(&space);
        let offset = usize::from(space.first_block().is_some());
        let block = &wider.blocks[offset + number];
        assert_eq!(block.se_channels, Some(make_divisible(f64::from(block.mid_channels / 4))));
        assert!(block.mid_channels > low && block.mid_channels < high);
    }

    #[test]
    fn what_is_no_refined_subnet_is_refused() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let refined = RefinedSubnet::new(&space.largest(32).unwrap());
        let with = |key: &str, value: Value| {
            let mut json = refined.to_json(&space);
            json[key] = value;
            RefinedSubnet::from_json(&space, &json).unwrap_err().to_string()
        };
        assert!(with("schema", json!("ofa.subnet/1")).contains("ofa.refined/1"));
        assert!(with("channels", json!([1])).contains("another length"));
        assert!(with("channels", json!("all")).contains("no list"));
        let blocks = refined.places().len();
        assert!(with("channels", json!(vec![1_000; blocks])).contains("no block 0 of 1000"));
        assert!(with("subnet", json!({"schema": "ofa.subnet/1"})).contains("stages"));
    }
}
