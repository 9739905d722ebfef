//! Networks taken out of a supernet, and networks as files that others run.

pub(crate) mod deploy;
mod elsewhere;
mod facts;
pub(crate) mod file;
mod int8;
mod samples;
pub(crate) mod verify;
