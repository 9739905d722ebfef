//! Work lists: the operators that somebody is to measure, as a table without values.
//!
//! The columns are those of a table, so that the list becomes one when its values are filled in. `source_key` gives
//! each operator a name that can name a file, such as `mbconv_16x24_8x32_mid72_k5_s2_relu`: `input size`x`channels`,
//! the same of the output, and what it computes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::HwError;
use crate::table::{OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use storage::file::Place;

/// The list of `ops`, each once, in order of kind and shape; `path` is for messages.
///
/// # Errors
/// [`HwError::EmptyTable`] without operators.
pub fn work_list(ops: &[TableOp], path: &Path) -> Result<OpTable, HwError> {
    let keys: BTreeSet<OpKey> = ops.iter().map(|op| OpKey::new(op, None)).collect();
    let row = |(at, key): (usize, OpKey)| Row {
        key,
        latency: None,
        energy: None,
        energy_method: None,
        energy_scope: None,
        source_key: Some(file_name(key.op())),
        place: Place::Row(at as u64 + 1),
    };
    OpTable::from_rows(path, keys.into_iter().enumerate().map(row).collect())
}

/// A name of letters, digits and `_` that no other operator has.
fn file_name(op: &TableOp) -> String {
    let mut name = format!("{}_{}x{}_{}x{}", op.kind.name(), op.in_size, op.in_channels, op.out_size, op.out_channels);
    if op.kind == TableKind::MbConv {
        name += &format!("_mid{}", op.mid_channels);
        // The usual case is a block whose width differs from its input's having an expand convolution.
        if op.expand_conv != (op.mid_channels != op.in_channels) {
            name += if op.expand_conv { "_expand" } else { "_noexpand" };
        }
    }
    if matches!(op.kind, TableKind::Conv | TableKind::MbConv) {
        name += &format!("_k{}_s{}_{}", op.kernel, op.stride, op.activation.name());
    }
    if op.groups > 1 {
        name += &format!("_groups{}", op.groups);
    }
    if op.se_channels > 0 {
        name += &format!("_se{}", op.se_channels);
    }
    if op.residual {
        name += "_residual";
    }
    name
}
