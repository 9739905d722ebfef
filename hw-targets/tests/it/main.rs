//! The library of targets by its public door: found, added, kept, refused.

mod kept_targets;
mod library;
