//! Accuracy predictors: fitted to measured pairs, imported, judged, asked, and which pairs to measure next.

pub mod fit;
pub mod import;
pub mod judge;
pub mod near_front;
pub mod predict;
pub mod propose;
