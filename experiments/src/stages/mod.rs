//! What builds and sweeps do in stages, each once: [`record`] keeps what every stage depended on and made, [`bundle`] makes
//! a bundle by its recipe, [`network`] takes one network from its supernet to verified files, by [`settings`] that files
//! have, while a [`watcher`] looks on.

pub(crate) mod bundle;
pub mod network;
pub mod record;
pub mod settings;
pub mod watcher;
