//! What several processes do that train together: the first as if it were alone, the others all that is computed and
//! nothing that is written or said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use supernet::error::SupernetError;
use supernet::ranks::Ranks;
use supernet::supernet::Supernet;
use supernet::train::{Epoch, Observer, Position, Start, Step, Trainer};

use crate::error::Result;
use crate::folders::digest::fnv1a;
use crate::folders::names;
use crate::torch::{Progress, StepReport};
use crate::training::prepare::{Prepared, TrainJob, prepare};

/// What a checkpoint of `ranks` belongs to, which is the same for all of them: without synchronised batch norm how many
/// there are makes a difference.
///
/// # Errors
/// Another recipe, space or other images on one of them; a rank was lost.
pub(super) fn agreed(mut identity: String, is_synchronised: bool, ranks: &Ranks) -> Result<String> {
    if ranks.count() > 1 {
        if !is_synchronised {
            identity.push_str(&format!("ranks: {}\n", ranks.count()));
        }
        let digest = fnv1a(identity.bytes().map(u64::from));
        ranks.agree(digest, "recipe, space and images").map_err(SupernetError::from)?;
    }
    Ok(identity)
}

/// Trains as a rank that is not the first, until done or until any rank is stopped.
///
/// # Errors
/// As for the first rank; a rank was lost.
pub(super) fn follow(job: &TrainJob, ranks: &Ranks, stop: Arc<AtomicBool>) -> Result<()> {
    let Prepared { recipe, space, train, preprocessing, plan, identity, start, .. } = prepare(job, &mut Silent)?;
    let identity = agreed(identity, recipe.sync_batch_norm, ranks)?;
    let start = start.map_or(Start::Fresh(job.device), Start::From);
    let checkpoints = job.out.join(names::CHECKPOINTS);
    let mut trainer =
        Trainer::new(&space, plan, identity, train, preprocessing, start, &checkpoints, job.resume, ranks.clone())?;
    trainer.run(&checkpoints, job.save_every, &mut Follower { stop })?;
    Ok(())
}

struct Follower {
    stop: Arc<AtomicBool>,
}

impl Observer for Follower {
    fn step(&mut self, _: &Step) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
        Ok(())
    }

    fn saved(&mut self, _: Position) {}
}

/// The first rank says the same.
struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &[(String, u64)], _: u64) {}
    fn step(&mut self, _: &StepReport) {}
    fn epoch(&mut self, _: &str) {}
    fn note(&mut self, _: &str) {}
}
