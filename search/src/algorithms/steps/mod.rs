//! What an algorithm does again and again: changes of a subnet, guesses of what the evaluator will say, moves under them.

pub(super) mod crossover;
pub(super) mod mutate;

mod choices;
mod features;
pub(super) mod pairwise;
pub(super) mod surrogate;

pub(super) mod knapsack;
pub(super) mod rough_front;

pub(super) mod annealing;
pub(super) mod climb;
mod neighbours;
mod walk;
