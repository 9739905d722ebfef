//! What a subnet costs, as a couple of dozen additions: a device compiled once against a space.
//!
//! A block's shape depends only on resolution, stage, whether it is the stage's first, and its own kernel size and
//! expand ratio, because widths between blocks are not elastic. So the cost of a subnet is a fixed part (stem, shared
//! first block, head, pool, classifier) plus one table entry per block, and the exact cheapest and dearest subnet follow
//! block by block. MACs, parameters and flash come along for every device, exactly.
//!
//! Peak memory is not a sum. What each block needs alone is a bound below that of the network, and tables for a ceiling
//! on it ([`CostTables::within`]) rule out the choices that alone need more; the rest is decided network by
//! network ([`CostTables::peak_memory`]).

use std::borrow::Cow;

use hw_targets::budget::Budget;
use network::memory::{PeakMemory, flash, peak_memory};
use network::op::{Op, Workload};
use network::units::{Bytes, PerMeasured, Quantity};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use storage::digest::{Digest, Digester};

use crate::cost::costs::{CostRow, Costs, RULED_OUT, SUMMED, SUMS, add, column_of};
use crate::error::{ForeignError, SearchError};
use crate::space::SearchSpace;
use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};
use crate::space::genome::{Codec, Genes};
use crate::space::lower::block_op;
use crate::space::subnet::BlockPosition;

/// What a device says about one operator, or adds once per network, in joules and seconds. A quantity that it does not
/// know is `None`.
pub type DeviceCost = PerMeasured<Option<f64>>;

/// The cheapest and the dearest value of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostRange {
    /// Of the cheapest subnet.
    pub min: f64,
    /// Of the dearest subnet.
    pub max: f64,
}

/// Dense tables of one device for one space.
#[derive(Clone, Debug)]
pub struct CostTables {
    pub(crate) codec: Codec,
    known: [bool; SUMS],
    at: Vec<AtResolution>,
    /// The ceiling on peak memory that choices were ruled out for.
    memory: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct AtResolution {
    fixed: CostRow,
    /// Per stage: first block, later blocks; per choice.
    stages: Vec<[Vec<CostRow>; 2]>,
    /// Memory that the operators of `fixed` need at least.
    fixed_memory: PeakMemory,
    /// Memory that the block needs alone, as `stages`.
    memory: Vec<[Vec<PeakMemory>; 2]>,
}

impl CostTables {
    /// Asks `cost` about every operator that a subnet of `space` can have at one of `resolutions`; `constant` is added
    /// once per network (devices whose composition is a sum and a constant).
    ///
    /// A quantity is known if every operator's is.
    ///
    /// # Errors
    /// What `cost` says, wrapped; [`SearchError::ResolutionNotOffered`]; [`SearchError::BadCost`] for a value that is
    /// negative or not finite.
    pub fn compile(
        space: &SearchSpace,
        resolutions: &[u32],
        constant: DeviceCost,
        mut cost: impl FnMut(&Op, u32) -> Result<DeviceCost, ForeignError>,
    ) -> Result<CostTables, SearchError> {
        let mut resolutions = resolutions.to_vec();
        resolutions.sort_unstable();
        resolutions.dedup();
        let mut known = [true; SUMS];
        let mut row = |op: &Op, resolution: u32| -> Result<CostRow, SearchError> {
            let device = cost(op, resolution).map_err(SearchError::Cost)?;
            let mut values = [0.0, 0.0, op.macs().0 as f64, op.params().0 as f64, flash(op).0 as f64, 0.0];
            for (index, value) in [device.energy, device.latency].into_iter().enumerate() {
                match value {
                    Some(value) if value.is_finite() && value >= 0.0 => values[index] = value,
                    Some(value) => {
                        let quantity = SUMMED[index];
                        return Err(SearchError::BadCost { quantity, value, op: Box::new(op.clone()) });
                    }
                    None => known[index] = false,
                }
            }
            Ok(values)
        };
        let mut at = Vec::with_capacity(resolutions.len());
        for &resolution in &resolutions {
            space.check_resolution(resolution, "resolution")?;
            at.push(compile_at(space, resolution, constant, &mut row)?);
        }
        let mut tables = CostTables { codec: Codec::new(space, &resolutions), known, at, memory: None };
        tables.align();
        Ok(tables)
    }

    /// What subnets cost by these tables: equal digests mean equal costs and ceilings.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::new("cost tables").number(self.memory.map_or(u64::MAX, |bytes| bytes.0));
        for known in self.known {
            digester = digester.number(u64::from(known));
        }
        for (resolution, at) in self.resolutions().iter().zip(&self.at) {
            digester = digester.number(u64::from(*resolution)).numbers(at.fixed.into_iter());
            for row in at.stages.iter().flatten().flatten() {
                digester = digester.numbers(row.iter().copied());
            }
        }
        digester.finish()
    }

    /// Rounds what the device says to multiples of so small a power of two (2⁻⁵² of the dearest subnet's cost) that no
    /// sum is ever rounded: then sums are the same in any order, and equal blocks in other places cost equal bits.
    fn align(&mut self) {
        for (column, quantity) in SUMMED.into_iter().enumerate().filter(|(_, quantity)| !quantity.is_exact()) {
            let Some(range) = self.range(quantity).filter(|range| range.max > 0.0) else { continue };
            let unit = (range.max.log2().ceil() - 52.0).exp2();
            if !unit.is_normal() {
                // So near to nothing at all that there is no such unit; sums are as they come.
                continue;
            }
            for at in &mut self.at {
                for row in at.stages.iter_mut().flatten().flatten().chain([&mut at.fixed]) {
                    row[column] = (row[column] / unit).round() * unit;
                }
            }
        }
    }

    /// Tables for this budget: without the choices that alone need more memory than it allows.
    pub fn within(&self, budget: &Budget) -> Cow<'_, CostTables> {
        let memory = budget.limit(Quantity::PeakMemory).map(|bytes| Bytes(bytes as u64));
        if memory == self.memory {
            return Cow::Borrowed(self);
        }
        let mut tables = CostTables { memory, ..self.clone() };
        let is_too_large = |need: PeakMemory| memory.is_some_and(|ceiling| need.total() > ceiling);
        let rule = |need: PeakMemory| if is_too_large(need) { f64::INFINITY } else { 0.0 };
        for at in &mut tables.at {
            at.fixed[RULED_OUT] = rule(at.fixed_memory);
            let rows = at.stages.iter_mut().flatten().flatten();
            for (row, need) in rows.zip(at.memory.iter().flatten().flatten()) {
                row[RULED_OUT] = rule(at.fixed_memory.max(*need));
            }
        }
        Cow::Owned(tables)
    }

    /// The ceiling on peak memory that these tables are for.
    pub(crate) fn memory(&self) -> Option<Bytes> {
        self.memory
    }

    /// Memory that one int8 inference needs at its peak.
    pub(crate) fn peak_memory(&self, genes: &[u8]) -> Bytes {
        peak_memory(&self.codec.space.lower(&self.codec.decode(genes))).total()
    }

    /// Tables of what follows from the network alone.
    ///
    /// # Errors
    /// [`SearchError::ResolutionNotOffered`].
    pub fn counts_only(space: &SearchSpace, resolutions: &[u32]) -> Result<CostTables, SearchError> {
        CostTables::compile(space, resolutions, DeviceCost::default(), |_, _| Ok(DeviceCost::default()))
    }

    /// The space.
    pub fn space(&self) -> &SearchSpace {
        &self.codec.space
    }

    /// Resolutions compiled, ascending.
    pub fn resolutions(&self) -> &[u32] {
        &self.codec.resolutions
    }

    /// Whether the device knows `quantity`.
    pub fn knows(&self, quantity: Quantity) -> bool {
        column_of(quantity).is_none_or(|column| self.known[column])
    }

    /// What `arch` costs.
    ///
    /// # Panics
    /// If `arch` is of another space or of a resolution that was not compiled.
    pub fn cost(&self, arch: &ArchSpec) -> Costs {
        self.costs(self.row(&self.codec.encode(arch)))
    }

    /// Exact cheapest and dearest values of `quantity` over all subnets at `resolution`, or `None` if it is unknown. Of
    /// peak memory the least is a bound below, and the most that of the largest subnet.
    pub(crate) fn range_at(&self, quantity: Quantity, resolution: u32) -> Option<CostRange> {
        let index = self.resolutions().iter().position(|&known| known == resolution)?;
        let Some(of) = column_of(quantity) else { return self.memory_range(index) };
        self.known[of]
            .then(|| CostRange { min: self.extreme(index, of, f64::min), max: self.extreme(index, of, f64::max) })
    }

    /// Exact cheapest and dearest values of `quantity` over all subnets, or `None` if it is unknown. Of peak memory the
    /// least is a bound below, and the most that of the largest subnets and of a thousand random ones.
    pub fn range(&self, quantity: Quantity) -> Option<CostRange> {
        let ranges = self.resolutions().iter().filter_map(|&resolution| self.range_at(quantity, resolution));
        let mut range = ranges.reduce(|a, b| CostRange { min: a.min.min(b.min), max: a.max.max(b.max) })?;
        if column_of(quantity).is_none() {
            let peaks = self.thousand().map(|genes| self.peak_memory(&genes).0 as f64);
            range.max = peaks.fold(range.max, f64::max);
        }
        Some(range)
    }

    /// The middle value of `quantity` over a thousand random subnets, the same ones each time, or `None` if it is unknown.
    pub fn median(&self, quantity: Quantity) -> Option<f64> {
        if !self.knows(quantity) {
            return None;
        }
        let value = |genes: &[u8]| match column_of(quantity) {
            Some(of) => self.row(genes)[of],
            None => self.peak_memory(genes).0 as f64,
        };
        let mut values: Vec<f64> = self.thousand().map(|genes| value(&genes)).collect();
        values.sort_by(f64::total_cmp);
        Some(values[values.len() / 2])
    }

    /// A thousand random subnets and one, the same ones each time.
    fn thousand(&self) -> impl Iterator<Item = Genes> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let resolutions = self.resolutions();
        (0..1_001).map(move |turn| {
            let arch = self.codec.space.sample_at(resolutions[turn % resolutions.len()], &mut rng);
            self.codec.encode(&arch)
        })
    }

    pub(crate) fn costs(&self, values: CostRow) -> Costs {
        Costs { values, known: self.known }
    }

    pub(crate) fn fixed(&self, resolution: usize) -> &CostRow {
        &self.at[resolution].fixed
    }

    /// Costs of one block for every choice.
    pub(crate) fn block(&self, resolution: usize, stage: usize, is_first: bool) -> &[CostRow] {
        &self.at[resolution].stages[stage][usize::from(!is_first)]
    }

    /// The cost of a row of genes.
    pub(crate) fn row(&self, genes: &[u8]) -> CostRow {
        let at = &self.at[usize::from(genes[0])];
        let mut total = at.fixed;
        for (stage, (code, tables)) in self.codec.stages.iter().zip(&at.stages).enumerate() {
            let blocks = &genes[code.first_block..code.first_block + self.codec.depth(genes, stage)];
            add(&mut total, &tables[0][usize::from(blocks[0])]);
            for &choice in &blocks[1..] {
                add(&mut total, &tables[1][usize::from(choice)]);
            }
        }
        total
    }

    fn memory_range(&self, resolution: usize) -> Option<CostRange> {
        let at = &self.at[resolution];
        let total = |need: &PeakMemory| at.fixed_memory.max(*need).total().0 as f64;
        let least = |of: &[PeakMemory]| of.iter().map(total).reduce(f64::min).unwrap_or(0.0);
        let stages = self.codec.stages.iter().zip(&at.memory).map(|(code, [first, later])| {
            if code.depths[0] > 1 { least(first).max(least(later)) } else { least(first) }
        });
        let min = stages.fold(at.fixed_memory.total().0 as f64, f64::max);
        let largest = self.codec.space.largest(self.resolutions()[resolution]).ok()?;
        Some(CostRange { min, max: self.peak_memory(&self.codec.encode(&largest)).0 as f64 })
    }

    fn extreme(&self, resolution: usize, of: usize, pick: impl Fn(f64, f64) -> f64) -> f64 {
        let at = &self.at[resolution];
        let best = |rows: &[CostRow]| rows.iter().map(|row| row[of]).reduce(&pick).unwrap_or(0.0);
        let stages = self.codec.stages.iter().zip(&at.stages).map(|(code, [first, later])| {
            let (first, later) = (best(first), best(later));
            code.depths.iter().map(|&depth| first + later * (depth - 1) as f64).reduce(&pick).unwrap_or(0.0)
        });
        at.fixed[of] + stages.sum::<f64>()
    }
}

/// Lowers networks in which all blocks share one choice, until every choice of every stage has been seen.
fn compile_at(
    space: &SearchSpace,
    resolution: u32,
    constant: DeviceCost,
    row: &mut impl FnMut(&Op, u32) -> Result<CostRow, SearchError>,
) -> Result<AtResolution, SearchError> {
    let mut fixed = [constant.energy.unwrap_or(0.0), constant.latency.unwrap_or(0.0), 0.0, 0.0, 0.0, 0.0];
    let alone = |op: &Op| peak_memory(&Workload { resolution, ops: vec![op.clone()] });
    let mut fixed_memory = PeakMemory::default();
    let frame = space.resolve(&space.frame_at(resolution));
    let elastic = |position| matches!(position, BlockPosition::Elastic { .. });
    let shared = frame.blocks.iter().filter(|block| !elastic(block.position)).count();
    for (index, op) in frame.lower().ops.iter().enumerate() {
        // Stem and shared block come first, elastic blocks next, the tail last.
        if index <= shared || index > frame.blocks.len() {
            add(&mut fixed, &row(op, resolution)?);
            fixed_memory = fixed_memory.max(alone(op));
        }
    }
    let mut stages: Vec<[Vec<CostRow>; 2]> = vec![[Vec::new(), Vec::new()]; space.stages.len()];
    let mut memory: Vec<[Vec<PeakMemory>; 2]> = vec![[Vec::new(), Vec::new()]; space.stages.len()];
    let most = space.stages.iter().map(|stage| stage.choices()).max().unwrap_or(0);
    for choice in 0..most {
        let specs = space.stages.iter().map(|stage| {
            let choice = choice % stage.choices();
            let (kernel, expand) = (choice / stage.expands.len(), choice % stage.expands.len());
            let block = BlockSpec { kernel: stage.kernels[kernel], expand: stage.expands[expand] };
            StageSpec { blocks: vec![block; stage.max_depth()] }
        });
        let arch = ArchSpec { space: space.id.clone(), resolution, stages: specs.collect() };
        for block in &space.resolve(&arch).blocks {
            let BlockPosition::Elastic { stage, index } = block.position else { continue };
            if index < 2 && choice < space.stages[stage].choices() {
                let op = block_op(block);
                stages[stage][index].push(row(&op, resolution)?);
                memory[stage][index].push(alone(&op));
            }
        }
    }
    Ok(AtResolution { fixed, stages, fixed_memory, memory })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;
    use storage::failure::{Failure, FailureKind};

    use super::*;
    use crate::cost::costs::COLUMNS;

    /// A made-up device whose costs depend on everything that an operator has.
    pub(crate) fn toy(op: &Op, resolution: u32) -> Result<DeviceCost, ForeignError> {
        let (kernel, residual) = match op {
            Op::Conv(conv) => (conv.kernel, false),
            Op::InvertedBottleneck(block) => (block.kernel, block.residual),
            _ => (1, false),
        };
        let latency = 1e-9 * op.macs().0 as f64 + 1e-5 * f64::from(kernel) + 1e-8 * f64::from(resolution);
        let energy = latency * if residual { 1.3 } else { 1.1 } + 1e-6 * f64::from(op.input().size);
        Ok(DeviceCost { energy: Some(energy), latency: Some(latency) })
    }

    fn tables(name: &str) -> CostTables {
        let space = SearchSpace::builtin(name).unwrap();
        let constant = DeviceCost { energy: None, latency: Some(1e-3) };
        CostTables::compile(&space, space.resolutions(), constant, toy).unwrap()
    }

    #[test]
    fn tables_equal_lowering_the_whole_network() {
        for name in SearchSpace::builtin_names() {
            let (tables, space) = (tables(name), SearchSpace::builtin(name).unwrap());
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            for _ in 0..200 {
                let arch = space.sample(&mut rng);
                let (costs, workload) = (tables.cost(&arch), space.lower(&arch));
                assert_eq!(costs.get(Quantity::Macs), Some(workload.macs().0 as f64));
                assert_eq!(costs.get(Quantity::Params), Some(workload.params().0 as f64));
                let sum = |of: fn(DeviceCost) -> Option<f64>| {
                    let each = workload.ops.iter().map(|op| of(toy(op, workload.resolution).unwrap()).unwrap());
                    each.sum::<f64>()
                };
                let energy = costs.get(Quantity::Energy).unwrap();
                assert!((energy / sum(|cost| cost.energy) - 1.0).abs() < 1e-12);
                let latency = costs.get(Quantity::Latency).unwrap() - 1e-3;
                assert!((latency / sum(|cost| cost.latency) - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn costs_next_to_nothing_stay_numbers() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tiny = |_: &Op, _| Ok(DeviceCost { energy: Some(1e-316), latency: Some(1e-3) });
        let tables = CostTables::compile(&space, space.resolutions(), DeviceCost::default(), tiny).unwrap();
        let energy = tables.cost(&space.largest(32).unwrap()).get(Quantity::Energy).unwrap();
        assert!(energy > 0.0 && energy < 1e-310, "{energy}");
    }

    #[test]
    fn sums_are_exact_in_any_order() {
        let tables = tables("mbv3-w1.2");
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..200 {
            let genes = tables.codec.encode(&tables.codec.space.sample(&mut rng));
            let mut rows = vec![*tables.fixed(usize::from(genes[0]))];
            for (stage, blocks) in tables.codec.blocks(&genes).enumerate() {
                let choices = genes[blocks].iter().enumerate();
                let block = |place| tables.block(usize::from(genes[0]), stage, place == 0);
                rows.extend(choices.map(|(place, &choice)| block(place)[usize::from(choice)]));
            }
            rows.shuffle(&mut rng);
            let mut total = [0.0; COLUMNS];
            rows.iter().for_each(|row| add(&mut total, row));
            assert_eq!(total, tables.row(&genes));
        }
    }

    #[test]
    fn the_extremes_are_those_of_the_smallest_and_largest_network() {
        let (tables, space) = (tables("mbv3-w1.0"), SearchSpace::builtin("mbv3-w1.0").unwrap());
        for resolution in [128, 160, 224] {
            let range = tables.range_at(Quantity::Macs, resolution).unwrap();
            assert_eq!(range.min, space.lower(&space.smallest(resolution).unwrap()).macs().0 as f64);
            assert_eq!(range.max, space.lower(&space.largest(resolution).unwrap()).macs().0 as f64);
        }
        assert_eq!(tables.range(Quantity::Params).unwrap().max, 7_664_760.0);
        assert_eq!(tables.range_at(Quantity::Macs, 130), None);
    }

    proptest! {
        #[test]
        fn no_subnet_is_outside_the_range(seed: u64) {
            let (tables, space) = (tables("mcu-cifar"), SearchSpace::builtin("mcu-cifar").unwrap());
            let arch = space.sample(&mut ChaCha8Rng::seed_from_u64(seed));
            let memory = tables.range_at(Quantity::PeakMemory, arch.resolution()).unwrap();
            prop_assert!(memory.min <= tables.peak_memory(&tables.codec.encode(&arch)).0 as f64);
            for quantity in SUMMED {
                let range = tables.range_at(quantity, arch.resolution()).unwrap();
                let value = tables.cost(&arch).get(quantity).unwrap();
                prop_assert!(range.min * (1.0 - 1e-12) <= value && value <= range.max * (1.0 + 1e-12));
            }
        }
    }

    #[test]
    fn unknown_quantities_are_absent_and_bad_values_refused() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = CostTables::counts_only(&space, &[24]).unwrap();
        assert!(!tables.knows(Quantity::Energy) && tables.range(Quantity::Energy).is_none());
        assert_eq!(tables.cost(&space.largest(24).unwrap()).get(Quantity::Latency), None);
        let compile = |value: Option<f64>| {
            CostTables::compile(&space, &[24], DeviceCost::default(), |_, _| {
                Ok(DeviceCost { energy: value, latency: None })
            })
        };
        assert!(compile(Some(f64::NAN)).is_err() && compile(Some(-1.0)).is_err());
        let refuse = |_: &Op, _| Err(ForeignError::new(FailureKind::Content, "no such operator"));
        let error = CostTables::compile(&space, &[24], DeviceCost::default(), refuse).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content);
    }
}
