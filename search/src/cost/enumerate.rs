//! Every subnet that fits a budget, where there are few.

use crate::cost::costs::{COLUMNS, CostRow, add, times};
use crate::cost::feasible::{Feasible, fits};
use crate::space::genome::Genes;

/// Nodes visited before an exact question is given up.
const NODES: usize = 1_000_000;
/// What one look at a whole network's memory counts as.
const PACKING: usize = 100;

impl Feasible<'_> {
    /// Every fitting subnet, if there are at most `limit` and they can be listed with little work.
    pub(crate) fn enumerate(&self, limit: usize) -> Option<Vec<Genes>> {
        let mut walk = Walk::new(self, limit);
        walk.all().then_some(walk.found)
    }

    /// One fitting subnet, if there is any and it can be found with little work.
    pub(crate) fn first_fitting(&self) -> Option<Genes> {
        let mut walk = Walk::new(self, 0);
        walk.all();
        walk.found.pop()
    }
}

/// Depth-first walk over all genomes that leaves a branch as soon as its cheapest completion misses a ceiling.
struct Walk<'f, 'a> {
    feasible: &'f Feasible<'a>,
    limit: usize,
    nodes: usize,
    found: Vec<Genes>,
    genes: Genes,
}

impl<'f, 'a> Walk<'f, 'a> {
    fn new(feasible: &'f Feasible<'a>, limit: usize) -> Self {
        let genes = vec![0; feasible.tables.codec.len].into();
        Walk { feasible, limit, nodes: NODES, found: Vec::new(), genes }
    }

    /// Whether the walk saw everything.
    fn all(&mut self) -> bool {
        for resolution in 0..self.feasible.tables.resolutions().len() {
            self.genes[0] = resolution as u8;
            let fixed = *self.feasible.tables.fixed(resolution);
            if !self.stage(0, fixed) {
                return false;
            }
        }
        true
    }

    /// Cheapest value of each quantity on its own for stages `from`…
    fn rest(&self, from: usize) -> CostRow {
        let mut total = [0.0; COLUMNS];
        for stage in from..self.feasible.tables.codec.stages.len() {
            let depth = self.feasible.tables.codec.stages[stage].depths[0];
            add(&mut total, &self.least(stage, true));
            for _ in 1..depth {
                add(&mut total, &self.least(stage, false));
            }
        }
        total
    }

    /// Cheapest value of each quantity on its own; 0 for the later blocks of a stage that never has any.
    fn least(&self, stage: usize, is_first: bool) -> CostRow {
        let rows = self.feasible.tables.block(usize::from(self.genes[0]), stage, is_first);
        let least = rows.iter().copied().reduce(|least, row| std::array::from_fn(|of| least[of].min(row[of])));
        least.unwrap_or([0.0; COLUMNS])
    }

    fn stage(&mut self, stage: usize, spent: CostRow) -> bool {
        let codec = &self.feasible.tables.codec;
        if stage == codec.stages.len() {
            if self.feasible.tables.memory().is_some() {
                // Packing a whole network's tensors is work.
                self.nodes = self.nodes.saturating_sub(PACKING).max(1);
            }
            if !self.feasible.fits(&self.genes) {
                return true;
            }
            self.found.push(self.genes.clone());
            return self.found.len() <= self.limit;
        }
        let rest = self.rest(stage + 1);
        let code = codec.stages[stage].clone();
        for (index, &depth) in code.depths.iter().enumerate() {
            self.genes[code.depth_gene] = index as u8;
            if !self.block(stage, 0, depth, spent, &rest) {
                return false;
            }
        }
        self.genes[code.depth_gene] = 0;
        true
    }

    fn block(&mut self, stage: usize, block: usize, depth: usize, spent: CostRow, rest: &CostRow) -> bool {
        if block == depth {
            return self.stage(stage + 1, spent);
        }
        let feasible = self.feasible;
        let gene = feasible.tables.codec.stages[stage].first_block + block;
        let rows = feasible.tables.block(usize::from(self.genes[0]), stage, block == 0);
        let later = self.least(stage, false);
        for (choice, row) in rows.iter().enumerate() {
            self.nodes -= 1;
            if self.nodes == 0 {
                return false;
            }
            let mut next = spent;
            add(&mut next, row);
            let left = depth - block - 1;
            // A little slack, because this sum is taken in another order than the one that decides.
            let bound: CostRow =
                std::array::from_fn(|of| (next[of] + times(later[of], left) + rest[of]) * (1.0 - 1e-9));
            if !fits(&bound, &feasible.limits) {
                continue;
            }
            self.genes[gene] = choice as u8;
            let go_on = self.block(stage, block + 1, depth, next, rest);
            self.genes[gene] = 0;
            if !go_on {
                return false;
            }
        }
        true
    }
}
