//! Training of a supernet: a plan of phases, run by one loop that can be killed at any moment.
//!
//! Recipes are options of a phase:
//! - progressive shrinking (Cai et al. 2020, arXiv:1908.09791, §3.3): first the largest network, then ever smaller
//!   subnets join, each step distilling from the frozen largest network;
//! - the sandwich rule with in-place distillation (Yu & Huang 2019, arXiv:1903.05134): largest, smallest and random
//!   subnets in every step, learning from the largest of the step;
//! - delayed ε-shrinking (Venkatesha et al. 2024, arXiv:2407.06167): one cosine over a phase of the largest alone and one
//!   of the sandwich, in which the others' weight rises from near zero;
//! - α-divergence (Wang et al. 2021, arXiv:2102.07954), compound sampling (Sahni et al. 2021, arXiv:2104.12642),
//!   attentive sampling by the loss of the step (Wang et al. 2021, arXiv:2011.09011);
//! - small first (after SuperFast, DAC 2025): the smallest subnet alone, whose weights are then spread over all others
//!   ([`crate::train::grow`]), and a sandwich;
//! - phases that end when the order of channels has settled (You et al. 2020, arXiv:1909.11957).
//!
//! Departures from the published implementation of once-for-all: losses of the subnets in a step are averaged unless the
//! plan says otherwise; the teacher runs with calibrated statistics; kernel transforms are not decayed.

mod average;
mod channel_sort;
mod early_bird;
mod exchange;
mod finetune;
mod freeze;
mod grow;
mod guard;
mod label_loss;
mod loss;
mod observer;
mod passes;
mod phase;
mod plan;
mod plan_error;
mod sampling;
mod state;
mod together;
mod trainer;
mod work;

#[cfg(test)]
mod divergence_tests;
#[cfg(test)]
mod ranks_tests;

pub use early_bird::EarlyBird;
pub use finetune::{FineTuneObserver, FineTuneSettings, FineTuner, TeacherLogits};
pub use guard::Rollback;
pub use label_loss::label_loss;
pub use observer::{Epoch, Observer, Step};
pub use phase::{
    Attentive, Choices, Distillation, Divergence, Keep, LearningRate, Preparation, RandomSubnets, Sampling,
    ShrinkingPhase, Subnets, Teacher,
};
pub use plan::{Precision, TrainPlan, TrainSettings, check_calibration};
pub use plan_error::PlanError;
pub use state::Position;
pub use trainer::{Start, Trainer};
