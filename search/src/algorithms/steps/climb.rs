//! Climbing: from one subnet to the best of its neighbours, until there is none better, and again from near the optima.
//!
//! In go entries of a search and its guess, which decides what is evaluated first; out come the optima's entries.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::steps::neighbours::neighbours;
use crate::algorithms::steps::pairwise::Guess;
use crate::error::SearchError;

/// Subnets that a climb evaluates together.
const BATCH: usize = 48;
/// Batches without a better one after which a climb ends.
const PATIENCE: usize = 2;
/// Restarts in a row that found little new and nothing better, after which a search ends.
const STALLED: u32 = 60;
/// Best ends of climbs that restarts begin near.
const OPTIMA: usize = 32;

/// Follows better neighbours from entry `current` until the most promising ones bring none; returns where it ends.
pub(crate) fn climb<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    guess: &mut Guess,
    mut current: usize,
    rng: &mut ChaCha8Rng,
) -> Result<usize, SearchError> {
    loop {
        guess.catch_up(&explorer.feasible.tables.codec, &explorer.entries, BATCH, rng.random());
        let (known, mut candidates) = neighbours(explorer, guess, current, BATCH * PATIENCE);
        if let Some(better) = known {
            current = better;
            continue;
        }
        candidates.reverse();
        let from = current;
        while !candidates.is_empty() && current == from && explorer.left() > 0 {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(genes) = candidates.pop()
            {
                explorer.queue(&mut batch, genes);
            }
            let range = explorer.evaluate(batch)?;
            for at in range {
                if explorer.entries[at].1 > explorer.entries[current].1 {
                    current = at;
                }
            }
        }
        if current == from {
            return Ok(current);
        }
    }
}

/// Climbs from disturbed copies of `optima` while evaluations are left, and keeps where that ends. Stops early where restart
/// after restart finds nearly everything around known already and nothing better.
pub(crate) fn restart<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    guess: &mut Guess,
    optima: &mut Vec<usize>,
    rng: &mut ChaCha8Rng,
) -> Result<(), SearchError> {
    let mut stalled = 0;
    while explorer.left() > 0 && !optima.is_empty() && stalled < STALLED {
        optima.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
        optima.dedup();
        optima.truncate(OPTIMA);
        // The best half of the time, the others in falling proportion.
        let mut origin = 0;
        while origin + 1 < optima.len() && rng.random_bool(0.5) {
            origin += 1;
        }
        let (known, best) = (explorer.entries.len(), explorer.entries[optima[0]].1);
        match disturb(explorer, optima[origin], BATCH, rng)? {
            Some(start) => {
                let optimum = climb(explorer, guess, start, rng)?;
                let few = explorer.entries.len() - known < BATCH;
                stalled = if few && explorer.entries[optimum].1 <= best { stalled + 1 } else { 0 };
                optima.push(optimum);
            }
            // Everything around it is known.
            None => drop(optima.remove(origin)),
        }
    }
    Ok(())
}

/// The best of a range of entries that is not empty, the first of equals.
fn best_of<E>(explorer: &Explorer<'_, E>, range: Range<usize>) -> usize {
    let start = range.start;
    range.fold(start, |best, at| if explorer.entries[at].1 > explorer.entries[best].1 { at } else { best })
}

/// The best of up to `count` disturbed copies of entry `origin`, evaluated together; `None` if all are known.
fn disturb<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    origin: usize,
    count: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Option<usize>, SearchError> {
    let mut batch = Vec::new();
    for _ in 0..2 * count {
        if batch.len() == count {
            break;
        }
        let codec = &explorer.feasible.tables.codec;
        let mut candidate = explorer.entries[origin].0.clone();
        for _ in 0..rng.random_range(3..=8) {
            let gene = rng.random_range(0..codec.len);
            candidate[gene] = rng.random_range(0..codec.options(gene)) as u8;
        }
        codec.canonicalise(&mut candidate);
        let genes = explorer.feasible.fitted(candidate, rng);
        explorer.queue(&mut batch, genes);
    }
    let range = explorer.evaluate(batch)?;
    Ok((!range.is_empty()).then(|| best_of(explorer, range)))
}
