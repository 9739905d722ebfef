//! Networks changed step by step between the points of a grid (NetAdapt: Yang et al., ECCV 2018, arXiv:1804.03230).
//!
//! [`adapt`] takes the steps, down to budgets or up to them. What a step proposes is, for a network of any shape, one width
//! less ([`propose`]), and for a member of a space ([`refined`]) whatever its supernet allows ([`moves`]). None knows
//! weights, images or devices: whoever has those judges.

pub mod adapt;
pub mod moves;
pub mod propose;
pub mod refined;
