//! Changes of a subnet that pay for a step of its budget, or spend what the step allows, each repaired to just keep it.
//!
//! Every block proposes another width that alone does, and other kernel sizes; every stage another depth; the image
//! another resolution; and one proposal changes widths alone, wherever they are worth least. What a change leaves is spent
//! on widths, what it lacks is taken from them, by what the channels are worth for what they cost; so all proposals of a
//! step cost nearly the same, and accuracy alone tells them apart.

use std::collections::HashSet;

use crate::refine::refined::{Place, RefinedSubnet};
use crate::space::SearchSpace;
use crate::space::arch::ArchSpec;
use crate::space::subnet::SubnetConfig;

/// Who knows costs and expects accuracies.
pub trait Appraiser {
    /// What may go wrong.
    type Error;

    /// One cost for each budget; nothing for a network that nothing is known of.
    fn costs(&mut self, config: &SubnetConfig) -> Option<Vec<f64>>;

    /// How accurate members are expected to be.
    ///
    /// # Errors
    /// Whatever makes it impossible to say.
    fn scores(&mut self, members: &[ArchSpec]) -> Result<Vec<f64>, Self::Error>;
}

/// What a proposal changed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing but widths, wherever they are worth least or most.
    Widths,
    /// The channels inside a block.
    Width(Place),
    /// A block's kernel size.
    Kernel(Place, u32),
    /// A stage's number of blocks.
    Depth(usize, usize),
    /// The resolution of the image.
    Resolution(u32),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |place: &Place| format!("stages.{}.{}", place.stage, place.index);
        match self {
            Self::Widths => write!(f, "widths"),
            Self::Width(at) => write!(f, "width of {}", place(at)),
            Self::Kernel(at, kernel) => write!(f, "kernel {kernel} in {}", place(at)),
            Self::Depth(stage, depth) => write!(f, "depth {depth} of stages.{stage}"),
            Self::Resolution(resolution) => write!(f, "resolution {resolution}"),
        }
    }
}

/// A subnet that keeps a step's budget, or comes as near to it as its change allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// What was changed first.
    pub change: Change,
    /// The subnet.
    pub subnet: RefinedSubnet,
    /// What it costs, one number for each budget.
    pub costs: Vec<f64>,
    /// How accurate it is expected to be.
    pub score: f64,
}

/// How accurate `subnet` is expected to be: as the member below it, and for each block as much of what its next expand
/// ratio alone would add as it has of the channels between.
///
/// # Errors
/// What `appraiser` says.
pub fn score<A: Appraiser>(space: &SearchSpace, subnet: &RefinedSubnet, appraiser: &mut A) -> Result<f64, A::Error> {
    let mut members = vec![subnet.floor().clone()];
    let mut parts = Vec::new();
    for number in 0..subnet.places().len() {
        let part = subnet.part(space, number);
        if part > 0.0 {
            members.extend(subnet.floor_with_rung(space, number, true));
            parts.push(part);
        }
    }
    let scores = appraiser.scores(&members)?;
    let more = scores[1..].iter().zip(parts).map(|(score, part)| part * (score - scores[0]));
    Ok(scores[0] + more.sum::<f64>())
}

/// All proposals from `current`, at one of `resolutions` (ascending), that keep `targets`, or come as near as they can, the most promising first and the nearest of the others after them; widths are
/// multiples of `step` where they are not those of an expand ratio.
///
/// # Errors
/// What `appraiser` says.
///
/// # Panics
/// If `step` is 0, or `current` is of another space.
pub fn moves<A: Appraiser>(
    space: &SearchSpace,
    resolutions: &[u32],
    current: &RefinedSubnet,
    targets: &[f64],
    step: u32,
    appraiser: &mut A,
) -> Result<Vec<Moved>, A::Error> {
    let mut fitter = Fitter { space, resolutions, targets, step, appraiser };
    let mut seen = HashSet::from([current.clone()]);
    let mut all: Vec<Moved> = Vec::new();
    for (change, changed) in fitter.changes(current) {
        let Some((subnet, costs)) = fitter.fit(changed)? else { continue };
        if seen.insert(subnet.clone()) {
            let score = score(space, &subnet, fitter.appraiser)?;
            all.push(Moved { change, subnet, costs, score });
        }
    }
    // Of those that miss the targets, what is near comes before what is good, which may be dearer than `current`.
    let over = |moved: &Moved| excess(&moved.costs, targets);
    all.sort_by(|a, b| over(a).total_cmp(&over(b)).then(b.score.total_cmp(&a.score)));
    Ok(all)
}

/// By how much costs are above their targets, as a part of them, summed.
fn excess(costs: &[f64], targets: &[f64]) -> f64 {
    costs.iter().zip(targets).map(|(cost, target)| (cost / target - 1.0).max(0.0)).sum()
}

/// What costs are of their targets, summed.
fn load(costs: &[f64], targets: &[f64]) -> f64 {
    costs.iter().zip(targets).map(|(cost, target)| cost / target).sum()
}

struct Fitter<'f, A> {
    space: &'f SearchSpace,
    resolutions: &'f [u32],
    targets: &'f [f64],
    step: u32,
    appraiser: &'f mut A,
}

impl<A: Appraiser> Fitter<'_, A> {
    /// What each block, each stage and the image may change, before any repair.
    fn changes(&mut self, current: &RefinedSubnet) -> Vec<(Change, RefinedSubnet)> {
        let space = self.space;
        let mut changes = vec![(Change::Widths, current.clone())];
        let is_over = self.costs(current).is_none_or(|costs| excess(&costs, self.targets) > 0.0);
        for (number, place) in current.places().into_iter().enumerate() {
            let (fewest, most) = current.range(space, number);
            let width = current.width(space, number);
            // The smallest change that alone pays for the step, or the largest that it allows.
            let end = if is_over { (fewest, width) } else { (width, most) };
            if let Some(changed) = self.widest(current, number, end) {
                changes.push((Change::Width(place), changed));
            } else if is_over && let Some(changed) = current.with_width(space, number, fewest) {
                changes.push((Change::Width(place), changed));
            }
            let now = current.floor().stages()[place.stage].blocks[place.index].kernel;
            for kernel in space.stages()[place.stage].kernels.iter().filter(|kernel| **kernel != now) {
                changes.push((Change::Kernel(place, *kernel), current.with_kernel(number, *kernel)));
            }
        }
        for (stage, offered) in space.stages().iter().enumerate() {
            let now = current.floor().stages()[stage].blocks.len();
            let at = offered.depths.iter().position(|depth| *depth as usize == now).expect("a member's depth");
            let others = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
            for depth in others.filter_map(|at| offered.depths.get(at)) {
                let depth = *depth as usize;
                changes.push((Change::Depth(stage, depth), current.with_depth(space, stage, depth)));
            }
        }
        let resolutions = self.resolutions;
        if let Some(at) = resolutions.iter().position(|one| *one == current.floor().resolution()) {
            let others = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
            for resolution in others.filter_map(|at| resolutions.get(at)) {
                changes.push((Change::Resolution(*resolution), current.with_resolution(*resolution)));
            }
        }
        changes
    }

    /// With the most channels in block `number`, between the two numbers and not as now, with which all targets are kept.
    fn widest(&mut self, subnet: &RefinedSubnet, number: usize, (from, to): (u32, u32)) -> Option<RefinedSubnet> {
        let now = subnet.width(self.space, number);
        let widths = self.widths(subnet, number, (from, to)).into_iter();
        let widths: Vec<RefinedSubnet> = widths
            .filter(|channels| *channels != now)
            .filter_map(|channels| subnet.with_width(self.space, number, channels))
            .collect();
        let mut keeps =
            |changed: &RefinedSubnet| self.costs(changed).is_some_and(|costs| excess(&costs, self.targets) <= 0.0);
        // More channels cost more, but for steps of a table, which only make it miss a few.
        let (mut low, mut high) = (0, widths.len());
        if widths.last().is_some_and(&mut keeps) {
            return widths.into_iter().next_back();
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            if keeps(&widths[middle]) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map(|at| widths[at].clone())
    }

    /// Channels from `from` to `to` that may be tried: both ends, and multiples of the step between.
    fn widths(&self, subnet: &RefinedSubnet, number: usize, (from, to): (u32, u32)) -> Vec<u32> {
        let (mut widths, mut at) = (vec![from], from);
        while at < to {
            // Ends of the intervals on the way are widths of expand ratios.
            let next = subnet.with_width(self.space, number, at).map(|here| here.interval(self.space, number, true).1);
            let next = next.filter(|next| *next > at).unwrap_or(to).min(to);
            let multiples = (at / self.step + 1..).map(|times| times * self.step).take_while(|width| *width < next);
            widths.extend(multiples);
            widths.push(next);
            at = next;
        }
        widths.dedup();
        widths
    }

    fn costs(&mut self, subnet: &RefinedSubnet) -> Option<Vec<f64>> {
        self.appraiser.costs(&subnet.resolve(self.space))
    }

    /// `subnet` with widths taken away until the targets are kept, and then added while they are; nothing where a cost is
    /// not known.
    fn fit(&mut self, mut subnet: RefinedSubnet) -> Result<Option<(RefinedSubnet, Vec<f64>)>, A::Error> {
        let Some(mut costs) = self.costs(&subnet) else { return Ok(None) };
        while excess(&costs, self.targets) > 0.0 {
            let Some((narrower, less)) = self.narrowed(&subnet, &costs)? else { return Ok(Some((subnet, costs))) };
            (subnet, costs) = (narrower, less);
        }
        while let Some((wider, more)) = self.widened(&subnet, &costs)? {
            (subnet, costs) = (wider, more);
        }
        Ok(Some((subnet, costs)))
    }

    /// With the width narrowed, down to the next expand ratio at most, that is worth least for what it saves.
    fn narrowed(
        &mut self,
        subnet: &RefinedSubnet,
        costs: &[f64],
    ) -> Result<Option<(RefinedSubnet, Vec<f64>)>, A::Error> {
        let worth = self.worth(subnet, false)?;
        let over = excess(costs, self.targets);
        let mut best: Option<(f64, RefinedSubnet, Vec<f64>)> = None;
        for (number, per_channel) in worth {
            let (from, to) = subnet.interval(self.space, number, false);
            let changed = match self.widest(subnet, number, (from, to)) {
                Some(changed) => Some(changed),
                None if from < to => subnet.with_width(self.space, number, from),
                None => None,
            };
            let Some(changed) = changed else { continue };
            let Some(less) = self.costs(&changed) else { continue };
            let saved = over - excess(&less, self.targets);
            let channels = f64::from(to - changed.width(self.space, number));
            let price = per_channel * channels / saved;
            if saved > 0.0 && best.as_ref().is_none_or(|(least, ..)| price < *least) {
                best = Some((price, changed, less));
            }
        }
        Ok(best.map(|(_, subnet, costs)| (subnet, costs)))
    }

    /// With the width widened, up to the next expand ratio at most and within the targets, that is worth most for what it
    /// costs.
    fn widened(
        &mut self,
        subnet: &RefinedSubnet,
        costs: &[f64],
    ) -> Result<Option<(RefinedSubnet, Vec<f64>)>, A::Error> {
        let worth = self.worth(subnet, true)?;
        let before = load(costs, self.targets);
        let mut best: Option<(f64, RefinedSubnet, Vec<f64>)> = None;
        for (number, per_channel) in worth.into_iter().filter(|(_, per_channel)| *per_channel > 0.0) {
            let (from, to) = subnet.interval(self.space, number, true);
            let Some(changed) = self.widest(subnet, number, (from, to)) else { continue };
            let Some(more) = self.costs(&changed) else { continue };
            let channels = f64::from(changed.width(self.space, number) - from);
            // Channels for nothing come first.
            let price = per_channel * channels / (load(&more, self.targets) - before).max(1e-9);
            if best.as_ref().is_none_or(|(most, ..)| price > *most) {
                best = Some((price, changed, more));
            }
        }
        Ok(best.map(|(_, subnet, costs)| (subnet, costs)))
    }

    /// Of each block, what a channel more or less is worth.
    fn worth(&mut self, subnet: &RefinedSubnet, upwards: bool) -> Result<Vec<(usize, f64)>, A::Error> {
        let mut members = vec![subnet.floor().clone()];
        let mut blocks = Vec::new();
        for number in 0..subnet.places().len() {
            // Between two expand ratios, one channel is as good as the next.
            let from_below = upwards || subnet.part(self.space, number) > 0.0;
            let Some(member) = subnet.floor_with_rung(self.space, number, from_below) else { continue };
            let base = RefinedSubnet::new(subnet.floor());
            let (low, high) = base.interval(self.space, number, from_below);
            if low < high {
                members.push(member);
                blocks.push((number, f64::from(high - low), if from_below { 1.0 } else { -1.0 }));
            }
        }
        let scores = self.appraiser.scores(&members)?;
        let worth = blocks.into_iter().zip(&scores[1..]);
        Ok(worth.map(|((number, gap, sign), score)| (number, sign * (score - scores[0]) / gap)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::refine::refined::RefinedSubnet;

    /// Accuracy grows with the logarithm of the MACs, more so in later stages; cost is MACs.
    struct Simple;

    impl Appraiser for Simple {
        type Error = Infallible;

        fn costs(&mut self, config: &SubnetConfig) -> Option<Vec<f64>> {
            Some(vec![config.lower().macs().0 as f64])
        }

        fn scores(&mut self, members: &[ArchSpec]) -> Result<Vec<f64>, Infallible> {
            let value = |arch: &ArchSpec| -> f64 {
                let stages = arch.stages().iter().enumerate();
                let blocks = stages.flat_map(|(at, stage)| stage.blocks.iter().map(move |block| (at, block)));
                blocks.map(|(at, block)| (1.0 + at as f64) * f64::from(block.expand * (5 + block.kernel)).ln()).sum()
            };
            Ok(members.iter().map(|arch| value(arch) + 0.01 * f64::from(arch.resolution())).collect())
        }
    }

    #[test]
    fn proposals_keep_the_target_and_leave_little_of_it() {
        for name in ["mcu-cifar", "fbnet-cifar"] {
            let space = SearchSpace::builtin(name).unwrap();
            let resolution = space.resolutions()[1];
            let mut simple = Simple;
            let current = RefinedSubnet::new(&space.largest(resolution).unwrap());
            let cost = simple.costs(&current.resolve(&space)).unwrap()[0];
            for part in [0.95, 0.8, 0.5] {
                let target = [part * cost];
                let found = moves(&space, space.resolutions(), &current, &target, 1, &mut simple).unwrap();
                assert!(found.len() > 10, "{name}: {}", found.len());
                for moved in &found {
                    assert_eq!(simple.costs(&moved.subnet.resolve(&space)).unwrap(), moved.costs);
                    // A small image leaves more than the widest blocks can spend, a large one takes more than they have.
                    let ranges = (0..moved.subnet.places().len())
                        .map(|number| (moved.subnet.width(&space, number), moved.subnet.range(&space, number)));
                    let is_at_end = match moved.costs[0] <= target[0] {
                        true => ranges.clone().all(|(width, range)| width == range.1),
                        false => ranges.clone().all(|(width, range)| width == range.0),
                    };
                    let part = moved.costs[0] / target[0];
                    assert!(is_at_end || (part > 0.97 && part <= 1.0), "{moved:?}");
                }
                let found: Vec<Moved> = found.into_iter().filter(|moved| moved.costs[0] <= target[0]).collect();
                assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
                let kinds = |is: fn(&Change) -> bool| found.iter().any(|moved| is(&moved.change));
                assert!(part < 0.9 || kinds(|change| matches!(change, Change::Width(_))));
                assert!(part < 0.9 || kinds(|change| matches!(change, Change::Kernel(..))));
                assert!(part < 0.9 || kinds(|change| matches!(change, Change::Depth(..))));
                assert!(part < 0.9 || kinds(|change| matches!(change, Change::Resolution(_))));
            }
        }
    }

    #[test]
    fn upwards_a_step_is_spent_and_its_score_grows() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut simple = Simple;
        let current = RefinedSubnet::new(&space.smallest(24).unwrap());
        let cost = simple.costs(&current.resolve(&space)).unwrap()[0];
        let before = score(&space, &current, &mut simple).unwrap();
        let found = moves(&space, space.resolutions(), &current, &[1.2 * cost], 1, &mut simple).unwrap();
        assert!(found[0].score > before && found[0].costs[0] > 1.19 * cost, "{:?}", found[0]);
        // A larger image alone costs more, which the narrowest blocks cannot make up for: last, as it is over.
        let keep = |moved: &Moved| moved.costs[0] <= 1.2 * cost;
        assert!(found.windows(2).all(|pair| keep(&pair[0]) || !keep(&pair[1])));
        assert!(!keep(&found[found.len() - 1]));
    }

    #[test]
    fn a_score_is_the_predictors_on_the_grid_and_between_its_neighbours_off_it() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut simple = Simple;
        let low = RefinedSubnet::new(&space.smallest(28).unwrap());
        let (from, to) = low.interval(&space, 0, true);
        let scores: Vec<f64> = (from..=to)
            .map(|channels| score(&space, &low.with_width(&space, 0, channels).unwrap(), &mut simple).unwrap())
            .collect();
        assert!(scores.windows(2).all(|pair| pair[1] > pair[0]));
        let ends = [from, to].map(|channels| low.with_width(&space, 0, channels).unwrap().floor().clone());
        let said = simple.scores(&ends).unwrap();
        assert_eq!([scores[0], scores[scores.len() - 1]], [said[0], said[1]]);
    }

    #[test]
    fn a_step_that_nothing_pays_for_gets_what_there_is() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut simple = Simple;
        let current = RefinedSubnet::new(&space.largest(28).unwrap());
        let found = moves(&space, space.resolutions(), &current, &[1.0], 8, &mut simple).unwrap();
        let smallest = simple.costs(&space.resolve(&space.smallest(24).unwrap())).unwrap()[0];
        assert!(found.iter().all(|moved| moved.costs[0] > smallest));
        let start = simple.costs(&current.resolve(&space)).unwrap()[0];
        assert!(found.iter().all(|moved| moved.costs[0] < start), "each gives what it can");
        assert!(found.windows(2).all(|pair| pair[0].costs[0] <= pair[1].costs[0]), "the nearest first");
    }
}
