//! Many searches as one: every combination of targets, budgets, seeds and algorithms, computed once, in any number of
//! processes, and gathered in one table.
//!
//! [`file`] reads what is asked, with all mistakes at once; [`plan`] says which points that makes and which of them are
//! there already, after [`prepare`] made the bundles and predictors that it makes itself; [`run`] computes the others, and
//! [`networks`] takes what they found to verified files; [`folder`] keeps each as a file of its own, so that a kill loses none, and
//! [`claim`] lets several processes, also on several machines, share the work; [`table`] gathers them.

pub mod error;
pub mod file;
pub mod point;

pub(crate) mod baseline;
pub(crate) mod claim;
pub mod folder;
mod matrix;
pub mod networks;
pub mod plan;
pub mod prepare;
pub mod run;
pub(crate) mod schema;
pub mod script;
mod settings;
pub mod table;
mod yaml;
