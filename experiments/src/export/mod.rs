//! Networks taken out of a supernet.

pub mod deploy;
