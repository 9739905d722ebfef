//! Progressive shrinking: one supernet trained through all phases by one loop that can be killed at any moment.
//!
//! Follows Cai et al. 2020 (arXiv:1908.09791, §3.3): first the largest network, then ever smaller subnets join, each
//! step distilling from the frozen largest network or, where the recipe says so, from the largest of the step.
//! Departures: losses of the subnets in a step are averaged, not summed; the teacher runs with calibrated statistics;
//! the sandwich rule (Yu & Huang 2019) may force the largest and the smallest subnet into every step; kernel transforms
//! are not decayed.

mod phase;
mod state;
mod trainer;

pub use phase::{ShrinkingPhase, Teacher, TrainPlan, cosine_rate};
pub use state::Position;
pub use trainer::{Epoch, Observer, Step, Trainer};
