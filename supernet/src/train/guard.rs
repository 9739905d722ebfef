//! Numbers that leave the finite ones end no run at once: it rolls back and goes on at a lower learning rate.
//!
//! Where to is a checkpoint of its own, the anchor, written at the beginning of an epoch once [`APART`] steps have passed
//! since the one before. It depends on nothing but the number of steps, so that a run which is killed on the way, however
//! often, comes to the same weights: a checkpoint by the clock would be another one each time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::state::{ANCHOR, Position, State};
use crate::error::SupernetError;
use crate::ranks::Ranks;

/// Fewest steps between two anchors.
const APART: u64 = 200;
/// Rollbacks after which a run gives up.
const MOST: u32 = 5;
/// What each multiplies the learning rate by.
const FACTOR: f64 = 0.5;

/// What the learning rate is multiplied by after so many rollbacks.
pub(crate) fn factor(rollbacks: u32) -> f64 {
    FACTOR.powi(rollbacks.cast_signed())
}

/// What was done about numbers that left the finite ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// What was met, and where.
    pub met: String,
    /// Where the run goes on.
    pub to: Position,
    /// What the learning rate is multiplied by from now on.
    pub factor: f64,
}

/// The anchor of a run.
pub(crate) struct Anchor {
    folder: PathBuf,
    checkpoints: PathBuf,
    plan: String,
    /// Its position, in steps.
    at: Option<u64>,
    /// The first of them writes it, for all.
    ranks: Ranks,
}

impl Anchor {
    /// That of the run whose checkpoints lie in `checkpoints`; none yet where the run does not go on from one of them.
    pub(crate) fn of(checkpoints: &Path, plan: &str, is_resumed: bool, ranks: Ranks) -> Anchor {
        let folder = checkpoints.join(ANCHOR);
        let newest = if is_resumed { State::load_newest(&folder, plan).ok() } else { None };
        let at = newest.and_then(|(state, _)| state).map(|state| state.position.global_step);
        Anchor { folder, checkpoints: checkpoints.to_path_buf(), plan: plan.to_owned(), at, ranks }
    }

    /// Whether it moves here, at the beginning of an epoch.
    pub(crate) fn is_due(&self, position: Position) -> bool {
        self.at.is_none_or(|at| position.global_step >= at + APART)
    }

    /// Moves it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn put(&mut self, state: &State) -> Result<(), SupernetError> {
        if self.ranks.is_first() {
            state.save(&self.folder, &self.plan, 1)?;
        }
        self.at = Some(state.position.global_step);
        Ok(())
    }

    /// Where a run goes on that met `error` after so many `rollbacks`: the anchor, with one more. From now on that is what
    /// a resumed run begins with, too.
    ///
    /// # Errors
    /// `error`, where rolling back does not help it; [`SupernetError::Unstable`] after too many; a file that cannot be read
    /// or written.
    pub(crate) fn roll_back(
        &mut self,
        error: SupernetError,
        rollbacks: u32,
    ) -> Result<(State, Rollback), SupernetError> {
        if !error.is_divergence() {
            return Err(error);
        }
        let (Some(mut state), _) = State::load_newest(&self.folder, &self.plan)? else { return Err(error) };
        // Before the first rank writes it anew.
        self.ranks.wait();
        if rollbacks >= MOST {
            return Err(SupernetError::Unstable { rollbacks, factor: factor(rollbacks), last: Box::new(error) });
        }
        state.rollbacks = rollbacks + 1;
        // First what a resumed run rolls back to, then what it begins with: killed in between, it meets the same again.
        self.put(&state)?;
        if self.ranks.is_first() {
            State::remove_after(&self.checkpoints, state.position)?;
            state.save(&self.checkpoints, &self.plan, super::state::KEPT)?;
        }
        let rollback = Rollback { met: error.to_string(), to: state.position, factor: factor(state.rollbacks) };
        Ok((state, rollback))
    }
}

/// A run that is saved as it goes, and that rolls back.
pub(crate) trait Guarded {
    /// Who hears of it.
    type Observer<'o>: ?Sized;

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool;
    /// One step, and what comes at the ends of epochs and phases; whether the observer wants more.
    fn advance(&mut self, observer: &mut Self::Observer<'_>) -> Result<bool, SupernetError>;
    /// Writes a checkpoint, unless a weight is not finite.
    fn save(&self, checkpoints: &Path, observer: &mut Self::Observer<'_>) -> Result<(), SupernetError>;
    /// Takes everything from a checkpoint.
    fn go_on_from(&mut self, state: State) -> Result<(), SupernetError>;
    /// Its anchor, and how often it rolled back.
    fn anchor(&mut self) -> (&mut Anchor, u32);
    /// For each of `wishes`, whether any of the processes that run it has it; they go on alike.
    fn agreed<const N: usize>(&self, wishes: [bool; N]) -> Result<[bool; N], SupernetError> {
        Ok(wishes)
    }
    /// Says so.
    fn tell(observer: &mut Self::Observer<'_>, rollback: &Rollback) -> Result<(), SupernetError>;
}

/// Runs all that is left of `run`, saving into `checkpoints` at least every `save_every` and at the end.
///
/// # Errors
/// [`SupernetError::Interrupted`] when the observer asks to stop (the state is saved); [`SupernetError::Unstable`] where
/// rolling back did not help; a file that cannot be written.
pub(crate) fn run<R: Guarded>(
    run: &mut R,
    checkpoints: &Path,
    save_every: Duration,
    observer: &mut R::Observer<'_>,
) -> Result<(), SupernetError> {
    let mut saved_at = Instant::now();
    loop {
        let is_over = run.is_over();
        let went_on = if is_over { Ok(true) } else { run.advance(observer) };
        let Some(goes_on) = or_roll_back(run, went_on, observer)? else { continue };
        let [stops, is_due] = run.agreed([!goes_on, saved_at.elapsed() >= save_every])?;
        if stops || is_over || is_due {
            let saved = run.save(checkpoints, observer);
            let is_saved = or_roll_back(run, saved, observer)?.is_some();
            saved_at = Instant::now();
            if stops {
                return Err(SupernetError::Interrupted);
            }
            if is_over && is_saved {
                return Ok(());
            }
        }
    }
}

/// What there is, or nothing where numbers left the finite ones and the run goes on from the anchor.
fn or_roll_back<R: Guarded, T>(
    run: &mut R,
    result: Result<T, SupernetError>,
    observer: &mut R::Observer<'_>,
) -> Result<Option<T>, SupernetError> {
    let error = match result {
        Ok(value) => return Ok(Some(value)),
        Err(error) => error,
    };
    let (anchor, rollbacks) = run.anchor();
    let (state, rollback) = anchor.roll_back(error, rollbacks)?;
    run.go_on_from(state)?;
    R::tell(observer, &rollback)?;
    Ok(None)
}
