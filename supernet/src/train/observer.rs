//! What a run tells of its progress.

use super::guard::Rollback;
use super::state::Position;
use crate::error::SupernetError;
use crate::supernet::Supernet;

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where it was.
    pub position: Position,
    /// Steps in this phase.
    pub phase_steps: u64,
    /// Loss over its subnets: their mean, or their weighted sum where the plan sums.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Input resolution.
    pub resolution: u32,
    /// Images in the batch.
    pub images: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// The end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// The next step.
    pub position: Position,
    /// Phase that it belongs to.
    pub phase: usize,
    /// Epochs of this phase done.
    pub epoch: u64,
    /// Whether it is the phase's last: by its number, or on its signal.
    pub is_last: bool,
    /// Mean loss of its steps (since the last resume, if that was inside it).
    pub mean_loss: f64,
    /// The largest distance between the newest mask of channels and the others of the queue, where the phase waits for it
    /// ([`super::EarlyBird`]) and the queue is full.
    pub mask_distance: Option<f64>,
}

/// Hears of progress; returning `false` from [`Observer::step`] saves and stops.
pub trait Observer {
    /// After every step.
    fn step(&mut self, step: &Step) -> bool;
    /// After every epoch, before the next checkpoint.
    fn epoch(&mut self, epoch: &Epoch, supernet: &Supernet) -> Result<(), SupernetError>;
    /// After a checkpoint was written.
    fn saved(&mut self, position: Position);
    /// After numbers had left the finite ones: the run goes on from an earlier step.
    ///
    /// # Errors
    /// Whatever keeps what was noted since from being taken back.
    fn rolled_back(&mut self, _rollback: &Rollback) -> Result<(), SupernetError> {
        Ok(())
    }
}
