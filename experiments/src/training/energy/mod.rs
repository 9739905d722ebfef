//! What training costs in energy, over all starts of a run: `energy.json` in the run folder and in the bundle.
//!
//! Counted are the GPU's board (NVML) and the processor's packages (RAPL) for as long as the process trains; a part whose
//! counter is missing, may not be read or stands still is estimated: cores × the seconds they worked for this process,
//! the GPU × the seconds of the run, each at a stated power. The sum says which of it is which, and estimates replace
//! counters only for as long as these fail. Nothing here covers main memory, disks, the losses of power supplies, or
//! cooling.
//!
//! A thread of its own reads the counters every second (a RAPL counter may go round within minutes) and writes the sum
//! every five, and it is written with every epoch and checkpoint too. A resumed run adds to it. So what a kill throws
//! away, steps after the last checkpoint that are done again, stays in the sum, for it was spent; a kill loses at most
//! what was spent in the five seconds before it, and what passes between a kill and the resume counts for nothing.

#[cfg(feature = "torch")]
pub(crate) mod course;
#[cfg(feature = "torch")]
pub(crate) mod ledger;
#[cfg(feature = "torch")]
mod meter;
#[cfg(feature = "torch")]
mod report;
pub mod settings;

#[cfg(feature = "torch")]
pub use report::EnergyReport;
#[cfg(feature = "torch")]
pub(crate) use report::schema;
