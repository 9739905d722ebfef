//! Networks taken out of a supernet, and networks as files that others run.

pub(crate) mod deploy;
mod elsewhere;
mod facts;
pub(crate) mod file;
pub(crate) mod int8;
pub(crate) mod nested;
mod run;
pub(crate) mod samples;
mod source;
pub(crate) mod verify;
