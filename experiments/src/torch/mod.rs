//! All that needs LibTorch, behind one switch: built without it, the same functions answer that it is missing.
//!
//! What goes in ([`request`]) and what comes out ([`outcome`], [`adapted`], [`exported`]) is plain data either way.

pub mod adapted;
pub mod exported;
pub mod outcome;
pub mod request;

#[cfg(feature = "torch")]
mod real;
#[cfg(not(feature = "torch"))]
mod stand_in;

pub use adapted::*;
pub use exported::*;
pub use outcome::*;
#[cfg(feature = "torch")]
pub use real::*;
pub use request::*;
#[cfg(not(feature = "torch"))]
pub use stand_in::*;
