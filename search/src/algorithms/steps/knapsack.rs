//! Choosing the settings of all blocks within one ceiling, where score and cost are sums: dynamic programming on a grid.
//!
//! A multiple-choice knapsack (Kellerer, Pferschy & Pisinger 2004, ch. 11) for each resolution, stage after stage and
//! block after block. Every block's cost above its cheapest choice is rounded down to whole steps, so that the grid allows
//! at least what the ceiling allows.

use network::units::Quantity;

use crate::algorithms::additive::AdditiveScores;
use crate::cost::costs::{COLUMNS, CostRow, RULED_OUT, column_of, times};
use crate::cost::dense::CostTables;
use crate::space::genome::Genes;

/// Whole steps in `excess`, a little generous because sums of costs differ in their last bits; `None` if negative.
pub(crate) fn steps_within(excess: f64, step: f64) -> Option<usize> {
    let steps = (excess / step + 1e-6).floor();
    (steps >= 0.0).then_some(steps as usize)
}

/// What the grid counts: a weighted sum of quantities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price(CostRow);

impl Price {
    pub(crate) fn of(quantity: Quantity) -> Price {
        let mut weights = [0.0; COLUMNS];
        weights[RULED_OUT] = 1.0;
        column_of(quantity).into_iter().for_each(|column| weights[column] = 1.0);
        Price(weights)
    }

    pub(crate) fn sum(self, row: &CostRow) -> f64 {
        let mut total = 0.0;
        for (value, weight) in row.iter().zip(self.0) {
            if weight != 0.0 {
                total += value * weight;
            }
        }
        total
    }
}

/// The solved grid of one resolution.
pub(crate) struct Grid<'a> {
    tables: &'a CostTables,
    scores: &'a AdditiveScores,
    price: Price,
    resolution: usize,
    /// Cost of the cheapest subnet without its optional blocks.
    pub(crate) base: f64,
    /// Best score by number of steps above `base`.
    pub(crate) optimum: Vec<f64>,
    stages: Vec<StageGrid>,
}

/// The best scores after each number of blocks of one stage, and after the stage.
struct StageGrid {
    /// `after[d]`: after `d` blocks; `after[0]` is what the stage starts from.
    after: Vec<Vec<f64>>,
    /// Steps of each choice: of the first, of the other mandatory, and of the optional blocks.
    steps: [Vec<usize>; 3],
    /// Blocks that every subnet has.
    least: usize,
}

impl StageGrid {
    fn steps_of(&self, block: usize) -> &[usize] {
        &self.steps[if block == 0 {
            0
        } else if block < self.least {
            1
        } else {
            2
        }]
    }
}

impl<'a> Grid<'a> {
    pub(crate) fn solve(
        tables: &'a CostTables,
        scores: &'a AdditiveScores,
        price: Price,
        resolution: usize,
        step: f64,
        most: f64,
    ) -> Grid<'a> {
        let codec = &tables.codec;
        let least = |rows: &[CostRow]| rows.iter().map(|row| price.sum(row)).reduce(f64::min).unwrap_or(0.0);
        let mut base = price.sum(tables.fixed(resolution));
        for (stage, code) in codec.stages.iter().enumerate() {
            base += least(tables.block(resolution, stage, true));
            base += times(least(tables.block(resolution, stage, false)), code.depths[0] - 1);
        }
        let mut grid = Grid { tables, scores, price, resolution, base, optimum: Vec::new(), stages: Vec::new() };
        let Some(size) = steps_within(most - base, step) else { return grid };
        let mut current = vec![scores.resolutions[resolution]; size + 1];
        for (stage, code) in codec.stages.iter().enumerate() {
            let rows = [true, false].map(|is_first| tables.block(resolution, stage, is_first));
            let above = |rows: &[CostRow], floor: f64| {
                rows.iter().map(|row| ((price.sum(row) - floor).max(0.0) / step) as usize).collect::<Vec<_>>()
            };
            let mut this = StageGrid {
                after: vec![current],
                steps: [above(rows[0], least(rows[0])), above(rows[1], least(rows[1])), above(rows[1], 0.0)],
                least: code.depths[0],
            };
            let deepest = code.depths[code.depths.len() - 1];
            for block in 0..deepest {
                let next = extend(&this.after[block], this.steps_of(block), scores.of(code.first_block + block));
                this.after.push(next);
            }
            current = this.after[code.depths[0]].clone();
            for &depth in &code.depths[1..] {
                for (best, &value) in current.iter_mut().zip(&this.after[depth]) {
                    *best = if value > *best { value } else { *best };
                }
            }
            grid.stages.push(this);
        }
        grid.optimum = current;
        grid
    }

    /// The subnets behind every rise of the optimum, with their exact cost and score, those within `most`.
    pub(crate) fn subnets(&self, most: f64) -> Vec<(f64, f64, Genes)> {
        let mut found = Vec::new();
        let mut last = f64::NEG_INFINITY;
        for (steps, &score) in self.optimum.iter().enumerate() {
            if score > last {
                last = score;
                let genes = self.trace(steps);
                let cost = self.price.sum(&self.tables.row(&genes));
                if cost <= most {
                    found.push((cost, self.scores.of_genes(self.tables, &genes), genes));
                }
            }
        }
        found
    }

    /// A subnet that attains the optimum within `steps`: every number is found again by the addition that made it.
    pub(crate) fn trace(&self, mut steps: usize) -> Genes {
        let codec = &self.tables.codec;
        let mut genes: Genes = vec![0; codec.len].into();
        genes[0] = self.resolution as u8;
        let mut wanted = self.optimum[steps];
        for (stage, code) in self.stages.iter().zip(&codec.stages).rev() {
            let depths = code.depths.iter().enumerate();
            let (index, depth) = depths
                .map(|(index, &depth)| (index, depth))
                .find(|(_, depth)| stage.after[*depth][steps] == wanted)
                .expect("the best of the depths is one of them");
            genes[code.depth_gene] = index as u8;
            for block in (0..depth).rev() {
                let scores = self.scores.of(code.first_block + block);
                let choices = stage.steps_of(block).iter().zip(scores).enumerate();
                let (choice, before) = choices
                    .filter_map(|(choice, (cost, score))| Some((choice, steps.checked_sub(*cost)?, score)))
                    .find(|(_, before, score)| stage.after[block][*before] + **score == wanted)
                    .map(|(choice, before, _)| (choice, before))
                    .expect("the best of the choices is one of them");
                genes[code.first_block + block] = choice as u8;
                steps = before;
                wanted = stage.after[block][steps];
            }
        }
        genes
    }
}

/// One more block: for every number of steps the best choice that leaves enough for what came before.
fn extend(before: &[f64], steps: &[usize], scores: &[f64]) -> Vec<f64> {
    let mut after = vec![f64::NEG_INFINITY; before.len()];
    for (&cost, &score) in steps.iter().zip(scores) {
        let Some(room) = after.get_mut(cost..) else { continue };
        for (best, value) in room.iter_mut().zip(before) {
            let value = value + score;
            *best = if value > *best { value } else { *best };
        }
    }
    after
}
