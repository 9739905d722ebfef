//! Networks made smaller step by step between the points of a grid (NetAdapt: Yang et al., ECCV 2018, arXiv:1804.03230).
//!
//! [`propose`] says what a change must be to pay for a step alone, [`adapt`] takes the steps. Neither knows weights, images
//! or devices: whoever has those judges.

pub mod adapt;
pub mod propose;
