//! A subnet run: one forward pass for views of a supernet and for networks on their own, and what is done with it.
//!
//! [`subnet::Subnet`] is the pass, its statistics are an argument ([`statistics`], made by [`calibrate`]); [`evaluate`]
//! counts right answers, [`extract`] copies a subnet out and [`torchscript`] writes it for other programs. [`network`] runs
//! networks that no space offers, and operators to be timed; [`folded`] runs one as it is deployed, with a look at every layer.

pub mod statistics;
pub mod subnet;

pub mod calibrate;
pub mod evaluate;

pub mod extract;
pub mod torchscript;

pub mod folded;
pub mod network;
mod step;
