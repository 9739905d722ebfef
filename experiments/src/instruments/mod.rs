//! Measuring time and energy: where works are run, in what order, what their visits say, and what counts their energy.

pub(crate) mod counters;
pub(crate) mod energy_counter;
pub(crate) mod executor;
mod journal;
pub(crate) mod local;
pub(crate) mod nvml;
pub(crate) mod rapl;
pub(crate) mod result;
pub(crate) mod scheduler;
