//! Which subnets fit a budget: exact bounds, a cheapest member, repair without rejection, and full enumeration.
//!
//! The published search draws until something fits, and never ends when nothing does (`once-for-all` §6.1). Costs here
//! are sums over blocks, so the cheapest subnet is known exactly before the search starts, and every candidate can be
//! built up from it gene by gene without ever leaving the budget.

use hw_targets::budget::Budget;
use network::units::{Bytes, Quantity};
use rand::{Rng, RngExt};

use crate::cost::costs::{COLUMNS, CostRow, MACS, RULED_OUT, SUMMED, add, subtract, times};
use crate::cost::dense::CostTables;
use crate::cost::infeasible::{Infeasible, UnmetLimit};
use crate::error::SearchError;
use crate::space::genome::{Gene, Genes};

pub(crate) fn fits(row: &CostRow, limits: &CostRow) -> bool {
    row.iter().zip(limits).all(|(value, limit)| value <= limit)
}

/// The subnets that fit, as search needs them.
pub(crate) struct Feasible<'a> {
    pub(crate) tables: &'a CostTables,
    pub(crate) limits: CostRow,
    /// A cheap fitting subnet for each resolution that has one.
    anchors: Vec<Option<Genes>>,
    /// Resolutions that have one.
    pub(crate) resolutions: Vec<u8>,
}

impl<'a> Feasible<'a> {
    /// Finds the cheapest fitting subnet of each resolution.
    ///
    /// # Errors
    /// [`SearchError::UnknownQuantity`]; [`SearchError::Infeasible`] with the nearest reachable values.
    pub(crate) fn new(tables: &'a CostTables, budget: &Budget) -> Result<Self, SearchError> {
        if let Some((quantity, _)) = budget.limits().find(|(quantity, _)| !tables.knows(*quantity)) {
            return Err(SearchError::UnknownQuantity(quantity));
        }
        let memory = budget.limit(Quantity::PeakMemory).map(|bytes| Bytes(bytes as u64));
        debug_assert_eq!(tables.memory(), memory, "tables are for another budget: CostTables::within");
        // A network added up operator by operator may differ in the last bits: what is found must fit there too.
        let mut limits = [f64::INFINITY; COLUMNS];
        for (limit, quantity) in limits.iter_mut().zip(SUMMED) {
            if let Some(ceiling) = budget.limit(quantity) {
                *limit = if quantity.is_exact() { ceiling } else { ceiling * (1.0 - 1e-12) };
            }
        }
        if tables.memory().is_some() {
            limits[RULED_OUT] = 0.0;
        }
        let mut this = Feasible { tables, limits, anchors: Vec::new(), resolutions: Vec::new() };
        let mut closest: Option<(f64, Genes)> = None;
        for resolution in 0..tables.resolutions().len() {
            let (overrun, genes) = this.closest(resolution as u8);
            let genes = this.small(genes);
            if closest.as_ref().is_none_or(|(least, _)| overrun < *least) {
                closest = Some((overrun, genes.clone()));
            }
            let fits = this.fits(&genes);
            if fits {
                this.resolutions.push(resolution as u8);
            }
            this.anchors.push(fits.then_some(genes));
        }
        let (_, genes) = closest.expect("a space has at least one resolution");
        if this.resolutions.is_empty() {
            // Weighted sums cannot reach every corner of the possible; where ceilings conflict, look at all of it.
            let Some(found) = this.first_fitting() else {
                return Err(SearchError::Infeasible(Box::new(this.explain(budget, &genes))));
            };
            this.resolutions.push(found[0]);
            let at = usize::from(found[0]);
            this.anchors[at] = Some(found);
        }
        Ok(this)
    }

    /// `genes`, or where its blocks need more memory together than alone the subnet with the fewest MACs, if that does
    /// not.
    fn small(&self, genes: Genes) -> Genes {
        if self.tables.memory().is_none() || self.fits(&genes) {
            return genes;
        }
        let mut weights = [0.0; COLUMNS];
        (weights[MACS], weights[RULED_OUT]) = (1.0, 1.0);
        let fewest = self.cheapest(genes[0], &weights);
        if self.fits(&fewest) { fewest } else { genes }
    }

    fn explain(&self, budget: &Budget, closest: &[u8]) -> Infeasible {
        let limits = budget.limits().filter_map(|(quantity, ceiling)| {
            let (range, median) = (self.tables.range(quantity)?, self.tables.median(quantity)?);
            Some(UnmetLimit { quantity, ceiling, least: range.min, median, most: range.max })
        });
        Infeasible {
            space: self.tables.space().id().to_string(),
            limits: limits.collect(),
            closest: self.tables.codec.decode(closest),
            closest_costs: self.tables.costs(self.tables.row(closest)),
            closest_memory: self.tables.peak_memory(closest),
        }
    }

    /// A fitting subnet near the least cost, at the lowest resolution that has one.
    pub(crate) fn cheapest_fitting(&self) -> Option<Genes> {
        self.anchors.iter().flatten().next().cloned()
    }

    pub(crate) fn fits(&self, genes: &[u8]) -> bool {
        fits(&self.tables.row(genes), &self.limits)
            && self.tables.memory().is_none_or(|ceiling| self.tables.peak_memory(genes) <= ceiling)
    }

    /// Largest ratio of cost to ceiling, and where there is no ceiling the MACs in tera as a tie-breaker.
    fn overrun(&self, genes: &[u8]) -> f64 {
        let row = self.tables.row(genes);
        let ratios = row.iter().zip(&self.limits).filter(|(_, limit)| **limit < f64::INFINITY);
        let worst = ratios.map(|(value, limit)| value / limit.max(1e-300)).fold(0.0, f64::max);
        worst + 1e-12 * row[MACS] * 1e-12
    }

    /// The subnet of `resolution` with the smallest overrun found: exact for one ceiling; for several, weighted sums
    /// whose weights move towards the ceiling that is missed most, then single-gene improvement.
    fn closest(&self, resolution: u8) -> (f64, Genes) {
        let limited: Vec<usize> = (0..COLUMNS).filter(|&of| self.limits[of] < f64::INFINITY).collect();
        let mut weights = [0.0; COLUMNS];
        match limited.as_slice() {
            [] => weights[MACS] = 1.0,
            [one] => weights[*one] = 1.0,
            several => several.iter().for_each(|&of| weights[of] = 1.0 / self.limits[of].max(1e-300)),
        }
        let mut best = self.cheapest(resolution, &weights);
        let mut overrun = self.overrun(&best);
        if limited.len() < 2 {
            return (overrun, best);
        }
        let mut genes = best.clone();
        for round in 0..100 {
            if overrun <= 1.0 {
                break;
            }
            let row = self.tables.row(&genes);
            let worst = self.overrun(&genes);
            let step = 2.0 / (1.0 + f64::from(round)).sqrt();
            for &of in &limited {
                let ratio = row[of] / self.limits[of].max(1e-300);
                weights[of] *= (step * (ratio / worst - 1.0)).exp();
            }
            genes = self.cheapest(resolution, &weights);
            if self.overrun(&genes) < overrun {
                overrun = self.overrun(&genes);
                best = genes.clone();
            }
        }
        self.descend(&mut best, &mut overrun);
        (overrun, best)
    }

    /// The exact minimum of a weighted sum of quantities at one resolution.
    fn cheapest(&self, resolution: u8, weights: &CostRow) -> Genes {
        let codec = &self.tables.codec;
        let price = |row: &CostRow| row.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>();
        let least = |rows: &[CostRow]| {
            let prices = rows.iter().map(price).enumerate();
            prices.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
        };
        let mut genes: Genes = vec![0; codec.len].into();
        genes[0] = resolution;
        for (stage, code) in codec.stages.iter().enumerate() {
            let (first, first_price) = least(self.tables.block(usize::from(resolution), stage, true));
            let (later, later_price) = least(self.tables.block(usize::from(resolution), stage, false));
            let totals = code.depths.iter().map(|&depth| first_price + times(later_price, depth - 1)).enumerate();
            let (depth, _) = totals.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
            genes[code.depth_gene] = depth as u8;
            genes[code.first_block..code.first_block + code.depths[depth]].fill(later as u8);
            genes[code.first_block] = first as u8;
        }
        genes
    }

    fn descend(&self, genes: &mut Genes, overrun: &mut f64) {
        let codec = &self.tables.codec;
        loop {
            let before = *overrun;
            for gene in 1..codec.len {
                for option in 0..codec.options(gene) {
                    let mut next = genes.clone();
                    next[gene] = option as u8;
                    codec.canonicalise(&mut next);
                    let value = self.overrun(&next);
                    if value < *overrun {
                        (*genes, *overrun) = (next, value);
                    }
                }
            }
            if *overrun >= before {
                return;
            }
        }
    }

    /// `candidate`, or what [`Feasible::repair`] makes of it.
    pub(crate) fn fitted(&self, candidate: Genes, rng: &mut impl Rng) -> Genes {
        if self.fits(&candidate) { candidate } else { self.repair(&candidate, rng) }
    }

    /// A fitting subnet as near to `candidate` as random order allows: starting from the anchor of its resolution, genes of
    /// `candidate` are taken over one by one wherever the result still fits; where one does not, another value may.
    pub(crate) fn repair(&self, candidate: &[u8], rng: &mut impl Rng) -> Genes {
        let codec = &self.tables.codec;
        let resolution = match self.anchors[usize::from(candidate[0])] {
            Some(_) => candidate[0],
            None => self.resolutions[rng.random_range(0..self.resolutions.len())],
        };
        let anchor = self.anchors[usize::from(resolution)].as_ref().expect("the resolution has an anchor");
        let mut genes = anchor.clone();
        let mut row = self.tables.row(&genes);
        let mut order: Vec<usize> = (1..codec.len).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        // Blocks that an earlier depth left out are met again in the second round.
        for is_last_round in [false, true] {
            for &gene in &order {
                if codec.is_absent(&genes, gene)
                    || genes[gene] == candidate[gene]
                    || self.try_gene(&mut genes, &mut row, gene, candidate[gene])
                {
                    continue;
                }
                if let Gene::Block { stage, .. } = codec.gene(gene)
                    && is_last_round
                {
                    let other = rng.random_range(0..codec.stages[stage].choices) as u8;
                    self.try_gene(&mut genes, &mut row, gene, other);
                }
            }
        }
        // Peak memory is not a sum.
        if self.fits(&genes) { genes } else { anchor.clone() }
    }

    /// Sets one gene if the result fits; blocks that appear are the anchor's cheapest. The resolution stays.
    fn try_gene(&self, genes: &mut Genes, row: &mut CostRow, gene: usize, value: u8) -> bool {
        let codec = &self.tables.codec;
        let resolution = usize::from(genes[0]);
        let mut next = *row;
        match codec.gene(gene) {
            Gene::Resolution => return false,
            Gene::Block { stage, place } => {
                let rows = self.tables.block(resolution, stage, place == 0);
                add(&mut next, &rows[usize::from(value)]);
                subtract(&mut next, &rows[usize::from(genes[gene])]);
                if !fits(&next, &self.limits) {
                    return false;
                }
                genes[gene] = value;
            }
            Gene::Depth(stage) => {
                let code = &codec.stages[stage];
                let (before, after) = (codec.depth(genes, stage), code.depths[usize::from(value)]);
                let rows = self.tables.block(resolution, stage, false);
                let macs = |choice: &usize| rows[*choice][MACS];
                let cheapest = (0..rows.len()).min_by(|a, b| macs(a).total_cmp(&macs(b))).unwrap_or(0);
                for block in before..after {
                    genes[code.first_block + block] = cheapest as u8;
                    add(&mut next, &rows[cheapest]);
                }
                for block in after..before {
                    subtract(&mut next, &rows[usize::from(genes[code.first_block + block])]);
                }
                if !fits(&next, &self.limits) {
                    genes[code.first_block + before.min(after)..code.first_block + after.max(before)].fill(0);
                    return false;
                }
                genes[gene] = value;
                genes[code.first_block + after..code.first_block + before.max(after)].fill(0);
            }
        }
        *row = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use hw_targets::table_op::TableOp;
    use network::units::{Joules, Macs, Params, Seconds};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use storage::failure::Failure;

    use super::*;
    use crate::cost::dense::DeviceCost;
    use crate::space::SearchSpace;

    /// Energy follows MACs and latency goes against kernel size, so that the two can conflict.
    fn tables() -> CostTables {
        conflicting(&SearchSpace::builtin("mcu-cifar").unwrap())
    }

    /// Small enough to try everything.
    fn small_space() -> SearchSpace {
        let mut space = SearchSpace::builtin("mcu-cifar").unwrap();
        space.stages.truncate(2);
        space.resolutions = vec![24, 32];
        space
    }

    fn conflicting(space: &SearchSpace) -> CostTables {
        CostTables::compile(space, space.resolutions(), DeviceCost::default(), |op, _| {
            let op = TableOp::of(op).unwrap();
            let energy = 1e-9 * op.macs().0 as f64 + 1e-7;
            let latency = 1e-3 / f64::from(op.kernel * op.mid_channels.max(1)) + 1e-6;
            Ok(DeviceCost { energy: Some(energy), latency: Some(latency) })
        })
        .unwrap()
    }

    /// A budget somewhere between the cheapest and the dearest of each limited quantity.
    fn budget(tables: &CostTables, parts: [Option<f64>; 4]) -> Budget {
        let at = |quantity: Quantity, part: Option<f64>| {
            let range = tables.range(quantity).unwrap();
            part.map(|part| range.min + part * (range.max - range.min))
        };
        Budget::new(
            at(Quantity::Energy, parts[0]).map(Joules),
            at(Quantity::Latency, parts[1]).map(Seconds),
            at(Quantity::Macs, parts[2]).map(|macs| Macs(macs as u64)),
            at(Quantity::Params, parts[3]).map(|params| Params(params as u64)),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn whatever_is_repaired_fits_and_what_fits_is_left_alone(
            seed: u64,
            parts in prop::array::uniform4(prop::option::of(0.001..1.0)),
        ) {
            let tables = tables();
            let Ok(feasible) = Feasible::new(&tables, &budget(&tables, parts)) else { return Ok(()) };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..20 {
                let candidate = tables.codec.encode(&tables.space().sample(&mut rng));
                let repaired = feasible.repair(&candidate, &mut rng);
                prop_assert!(feasible.fits(&repaired));
                let mut canonical = repaired.clone();
                tables.codec.canonicalise(&mut canonical);
                prop_assert_eq!(&canonical, &repaired);
                prop_assert_eq!(&tables.codec.encode(&tables.codec.decode(&repaired)), &repaired);
            }
        }

        #[test]
        fn one_ceiling_is_infeasible_exactly_below_the_least(which in 0..4_usize) {
            let tables = tables();
            let mut parts = [None; 4];
            // Counts are whole numbers, and rounding down must not fall below the least.
            parts[which] = Some(0.001);
            prop_assert!(Feasible::new(&tables, &budget(&tables, parts)).is_ok());
            parts[which] = Some(-0.001);
            let Err(error) = Feasible::new(&tables, &budget(&tables, parts)) else { panic!("below the least") };
            prop_assert_eq!(error.kind().exit_code(), 4);
        }
    }

    #[test]
    fn an_infeasible_budget_names_the_nearest_reachable_values() {
        let tables = tables();
        let budget = Budget::new(Some(Joules(1e-9)), None, None, None).unwrap();
        let Err(error) = Feasible::new(&tables, &budget) else { panic!("1 nJ") };
        let message = format!("{error}; {}", error.hint().unwrap());
        let least = Quantity::Energy.format(tables.range(Quantity::Energy).unwrap().min);
        assert!(message.contains(&format!("energy is at least {least}, the budget 1 nJ")), "{message}");
        assert!(message.contains(&format!("the nearest subnet has energy {least}")), "{message}");
    }

    #[test]
    fn ceilings_that_conflict_are_said_to_conflict() {
        let tables = tables();
        let Err(error) = Feasible::new(&tables, &budget(&tables, [Some(0.01), Some(0.01), None, None])) else {
            panic!("little energy and little latency")
        };
        assert!(error.to_string().contains("not all together"), "{error}");
        let SearchError::Infeasible(infeasible) = error else { panic!("{error}") };
        let costs = tables.cost(&infeasible.closest);
        assert_eq!(costs, infeasible.closest_costs);
        assert!(infeasible.limits.iter().any(|limit| costs.get(limit.quantity).unwrap() > limit.ceiling));
    }

    #[test]
    fn enumeration_and_feasibility_agree_with_trying_everything() {
        let tables = conflicting(&small_space());
        let everything = Feasible::new(&tables, &Budget::default()).unwrap().enumerate(1_000_000).unwrap();
        assert_eq!(everything.len(), 2 * 42 * 252);
        let steps = [0.001, 0.02, 0.1, 0.3, 0.6];
        let mut infeasible = 0;
        for (energy, latency) in steps.iter().flat_map(|energy| steps.iter().map(move |latency| (energy, latency))) {
            let budget = budget(&tables, [Some(*energy), Some(*latency), None, None]);
            let fits = |genes: &&Genes| {
                let costs = tables.costs(tables.row(genes));
                budget.limits().all(|(quantity, limit)| costs.get(quantity).unwrap() <= limit)
            };
            let fitting = everything.iter().filter(fits).count();
            match Feasible::new(&tables, &budget) {
                Ok(feasible) => {
                    assert_eq!(feasible.enumerate(fitting).unwrap().len(), fitting);
                    assert!(fitting > 0 && feasible.enumerate(fitting - 1).is_none());
                }
                Err(_) => {
                    assert_eq!(fitting, 0);
                    infeasible += 1;
                }
            }
        }
        assert!((1..25).contains(&infeasible), "{infeasible}");
    }

    #[test]
    fn stages_of_a_single_block_are_enumerated_too() {
        for (name, fitting) in [("fbnet-cifar", 1), ("proxyless-w1.3", 1)] {
            let space = SearchSpace::builtin(name).unwrap();
            let tables = CostTables::counts_only(&space, space.resolutions()).unwrap();
            let least = tables.range(Quantity::Macs).unwrap().min;
            let budget = Budget::new(None, None, Some(Macs(least as u64)), None).unwrap();
            assert_eq!(Feasible::new(&tables, &budget).unwrap().enumerate(10).unwrap().len(), fitting);
        }
    }

    #[test]
    fn a_quantity_that_the_device_does_not_know_is_refused() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = CostTables::counts_only(&space, &[24]).unwrap();
        let budget = Budget::new(Some(Joules(1.0)), None, None, None).unwrap();
        let Err(error) = Feasible::new(&tables, &budget) else { panic!("no energy here") };
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn memory_agrees_with_trying_everything() {
        let tables = conflicting(&small_space());
        let everything = Feasible::new(&tables, &Budget::default()).unwrap().enumerate(1_000_000).unwrap();
        let mut peaks: Vec<u64> = everything.iter().map(|genes| tables.peak_memory(genes).0).collect();
        peaks.sort_unstable();
        let range = tables.range(Quantity::PeakMemory).unwrap();
        assert!(range.min <= peaks[0] as f64 && range.max <= peaks[peaks.len() - 1] as f64);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        peaks.dedup();
        for &peak in &peaks {
            let budget = Budget::default().with(Quantity::PeakMemory, peak as f64).unwrap();
            let within = tables.within(&budget);
            let feasible = Feasible::new(&within, &budget).unwrap();
            for genes in &everything {
                let (fits, peak_of) = (feasible.fits(genes), within.peak_memory(genes).0);
                assert_eq!(fits, peak_of <= peak, "{peak_of} under {peak}");
                if rng.random_range(0..1_000) == 0 {
                    assert!(feasible.fits(&feasible.fitted(genes.clone(), &mut rng)));
                }
            }
        }
        let budget = Budget::default().with(Quantity::PeakMemory, peaks[0] as f64 - 1.0).unwrap();
        let within = tables.within(&budget);
        let Err(error) = Feasible::new(&within, &budget) else { panic!("less than the least") };
        let message = format!("{error}; {}", error.hint().unwrap());
        assert!(!message.contains("together"), "{message}");
        let nearest = Quantity::PeakMemory.format(peaks[0] as f64);
        assert!(message.contains(&format!("the nearest subnet has peak-memory {nearest}")), "{message}");
    }
}
