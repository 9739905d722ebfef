//! Tables as text cells, whatever file they come from, so that all kinds are checked by the same rules.
//!
//! A table is its columns and rows of text ([`Cells`]); a row answers for its cells by column ([`Line`]), or says which
//! cell of which line is wrong.

mod cells;
mod csv;
mod parquet;

pub use cells::{Cells, Line};
