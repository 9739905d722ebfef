//! Every evaluation of a search, in order, and the best of them.

use std::collections::HashMap;
use std::ops::Range;

use crate::algorithms::objective::Evaluator;
use crate::cost::costs::{CostRow, Costs, MACS};
use crate::cost::dense::CostTables;
use crate::cost::feasible::Feasible;
use crate::error::SearchError;
use crate::space::arch::ArchSpec;
use crate::space::genome::{Codec, Genes};

/// One evaluated subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The subnet.
    pub arch: ArchSpec,
    /// What the evaluator said (predicted top-1).
    pub score: f64,
    /// What it costs.
    pub costs: Costs,
}

/// Every evaluation in order, kept small; [`History::iter`] unpacks.
#[derive(Clone, Debug)]
pub struct History {
    tables: CostTables,
    entries: Vec<(Genes, f64)>,
}

impl History {
    /// Number of evaluations, all of distinct subnets.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was evaluated.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The evaluations, first to last.
    pub fn iter(&self) -> impl Iterator<Item = Scored> + '_ {
        self.entries.iter().map(|entry| self.unpack(entry))
    }

    /// Score and costs of the evaluations, first to last.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (f64, CostRow)> + '_ {
        self.entries.iter().map(|(genes, score)| (*score, self.tables.row(genes)))
    }

    /// The evaluation at `position`, counted from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, position: usize) -> Scored {
        self.unpack(&self.entries[position])
    }

    fn unpack(&self, (genes, score): &(Genes, f64)) -> Scored {
        let costs = self.tables.costs(self.tables.row(genes));
        Scored { arch: self.tables.codec.decode(genes), score: *score, costs }
    }

    /// The `count` best, best first; of equal scores the one with fewer MACs.
    pub fn best(&self, count: usize) -> Vec<Scored> {
        let key = |index: &u32| {
            let (genes, score) = &self.entries[*index as usize];
            (*score, genes)
        };
        let mut order: Vec<u32> = (0..self.entries.len() as u32).collect();
        order.sort_unstable_by(|a, b| {
            let ((a_score, a_genes), (b_score, b_genes)) = (key(a), key(b));
            let macs = |genes: &Genes| self.tables.row(genes)[MACS];
            b_score
                .total_cmp(&a_score)
                .then_with(|| macs(a_genes).total_cmp(&macs(b_genes)))
                .then_with(|| a_genes.cmp(b_genes))
        });
        order.iter().take(count).map(|&index| self.unpack(&self.entries[index as usize])).collect()
    }
}

/// A search under way: what has been evaluated, and how much more may be.
pub(crate) struct Explorer<'a, E> {
    pub(crate) feasible: Feasible<'a>,
    evaluator: &'a mut E,
    seen: HashMap<Genes, usize>,
    pub(crate) entries: Vec<(Genes, f64)>,
    most: usize,
}

impl<'a, E> Explorer<'a, E> {
    pub(crate) fn new(feasible: Feasible<'a>, evaluator: &'a mut E, most: usize) -> Self {
        Explorer { feasible, evaluator, seen: HashMap::new(), entries: Vec::new(), most }
    }

    /// Evaluations left.
    pub(crate) fn left(&self) -> usize {
        self.most - self.entries.len()
    }

    /// Where in `entries` `genes` is, or will be once its batch is evaluated.
    pub(crate) fn find(&self, genes: &[u8]) -> Option<usize> {
        self.seen.get(genes).copied()
    }

    /// Puts `genes` on `batch` if it is new and there is room in the budget.
    pub(crate) fn queue(&mut self, batch: &mut Vec<Genes>, genes: Genes) -> bool {
        debug_assert!(self.feasible.fits(&genes));
        if batch.len() >= self.left() || self.seen.contains_key(&genes) {
            return false;
        }
        self.seen.insert(genes.clone(), self.entries.len() + batch.len());
        batch.push(genes);
        true
    }

    pub(crate) fn into_history(self) -> History {
        History { tables: self.feasible.tables.clone(), entries: self.entries }
    }
}

impl<E: Evaluator> Explorer<'_, E> {
    /// Evaluates what was queued and returns where in `entries` it now is.
    pub(crate) fn evaluate(&mut self, batch: Vec<Genes>) -> Result<Range<usize>, SearchError> {
        let start = self.entries.len();
        evaluate(&self.feasible.tables.codec, self.evaluator, &mut self.entries, batch)?;
        self.stop_if_over();
        Ok(start..self.entries.len())
    }

    /// Evaluates what was queued, and lets `after` see all entries then; beside that, on another thread, does something
    /// that needs to know no more than what fits.
    pub(crate) fn evaluate_beside<R: Send>(
        &mut self,
        batch: Vec<Genes>,
        after: impl FnOnce(&[(Genes, f64)]) + Send,
        beside: impl FnOnce(&Feasible<'_>) -> R + Send,
    ) -> Result<R, SearchError> {
        let Explorer { feasible, evaluator, entries, .. } = self;
        let evaluate = || {
            evaluate(&feasible.tables.codec, *evaluator, entries, batch)?;
            after(entries);
            Ok(())
        };
        let (done, result) = rayon::join(evaluate, || beside(feasible));
        done?;
        self.stop_if_over();
        Ok(result)
    }

    fn stop_if_over(&mut self) {
        if self.evaluator.is_over() {
            self.most = self.entries.len();
        }
    }
}

/// Evaluates a batch and adds it to the entries.
fn evaluate(
    codec: &Codec,
    evaluator: &mut impl Evaluator,
    entries: &mut Vec<(Genes, f64)>,
    batch: Vec<Genes>,
) -> Result<(), SearchError> {
    if batch.is_empty() {
        return Ok(());
    }
    let archs: Vec<ArchSpec> = batch.iter().map(|genes| codec.decode(genes)).collect();
    let scores = evaluator.evaluate(&archs).map_err(SearchError::Evaluation)?;
    assert_eq!(scores.len(), archs.len(), "an evaluator gives one score per architecture");
    for ((genes, score), arch) in batch.into_iter().zip(scores).zip(&archs) {
        if !score.is_finite() {
            let subnet = codec.space.to_subnet_json(arch).to_string();
            return Err(SearchError::BadScore { score, subnet });
        }
        entries.push((genes, score));
    }
    Ok(())
}
