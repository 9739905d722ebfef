//! `ofa refine`: networks made to fit a budget step by step, between the points of any grid.

pub(crate) mod adapt;
pub(crate) mod in_supernet;
pub(crate) mod limits;
pub(crate) mod prices;
pub(crate) mod steps_folder;
