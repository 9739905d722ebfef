//! Operators of widths that a table lacks, between those that it has.
//!
//! Tables of elastic or adaptable networks step through widths (NetAdapt's by 8 channels, and 64 of a linear layer); what
//! lies between two is interpolated linearly, one width after the other, from rows that differ in nothing else. So a cost
//! between two rows is between theirs, and what grows in the table grows between its rows. Nothing is answered beyond the
//! narrowest and the widest row.

use std::collections::HashMap;

use crate::table::{Measurement, OpKey, OpTable};
use crate::table_op::TableOp;
use network::units::Measured;

/// Channels in, out and inside; of a depthwise convolution, whose widths are one, in alone.
type Widths = [u32; 3];

/// The widths that a table has, by what else its operators are.
#[derive(Clone, Debug)]
pub(crate) struct WidthGrid {
    /// By operator without widths.
    points: HashMap<OpKey, Vec<(Widths, Value)>>,
}

/// A value and its standard deviation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) value: f64,
    pub(crate) std: f64,
}

impl WidthGrid {
    /// Of the rows of `table` that have `quantity`; `std` is the standard deviation of one that states none.
    pub(crate) fn new(table: &OpTable, quantity: Measured, std: impl Fn(&Measurement) -> f64) -> Self {
        let mut points: HashMap<OpKey, Vec<(Widths, Value)>> = HashMap::new();
        for row in table.rows() {
            let Some(measured) = row.measurement(quantity) else { continue };
            let (kind, widths) = split(row.key.op());
            let value = Value { value: measured.value, std: std(measured) };
            points.entry(OpKey::new(&kind, row.key.network_resolution())).or_default().push((widths, value));
        }
        Self { points }
    }

    /// What `op` costs inside a network of input size `network_resolution`; nothing where it is not between rows.
    pub(crate) fn value(&self, op: &TableOp, network_resolution: u32) -> Option<Value> {
        let (kind, widths) = split(op);
        let points = |resolution| self.points.get(&OpKey::new(&kind, resolution));
        let points = points(Some(network_resolution)).or_else(|| points(None))?;
        interpolated(&points.iter().collect::<Vec<_>>(), widths, 0)
    }
}

/// An operator without its widths, and those. Squeeze-excite and the groups of a depthwise convolution follow a width.
fn split(op: &TableOp) -> (TableOp, Widths) {
    let is_depthwise = op.groups > 1 && op.groups == op.in_channels && op.groups == op.out_channels;
    let kind = TableOp {
        in_channels: 0,
        out_channels: 0,
        mid_channels: 0,
        groups: if is_depthwise { 0 } else { op.groups },
        se_channels: op.se_channels.min(1),
        ..*op
    };
    let out = if is_depthwise { 0 } else { op.out_channels };
    (kind, [op.in_channels, out, op.mid_channels])
}

/// The value at `widths`, of which those before number `at` are those of all `points`.
fn interpolated(points: &[&(Widths, Value)], widths: Widths, at: usize) -> Option<Value> {
    let Some(&wanted) = widths.get(at) else { return points.first().map(|(_, value)| *value) };
    let of = |width: u32| {
        let kept: Vec<&(Widths, Value)> = points.iter().copied().filter(|(widths, _)| widths[at] == width).collect();
        interpolated(&kept, widths, at + 1)
    };
    if let Some(value) = of(wanted) {
        return Some(value);
    }
    // The nearest ones on both sides that lead to rows; a table need not have all of its combinations.
    let mut below: Vec<u32> = points.iter().map(|(widths, _)| widths[at]).collect();
    below.sort_unstable();
    below.dedup();
    let above = below.split_off(below.partition_point(|width| *width <= wanted));
    below.retain(|width| *width < wanted);
    let (low, from) = below.into_iter().rev().find_map(|width| Some((width, of(width)?)))?;
    let (high, to) = above.into_iter().find_map(|width| Some((width, of(width)?)))?;
    let part = f64::from(wanted - low) / f64::from(high - low);
    let between = |from: f64, to: f64| from + part * (to - from);
    // A quarter of the step between the rows: where in it the device jumps is not known.
    let jump = (to.value - from.value).abs() / 4.0;
    Some(Value { value: between(from.value, to.value), std: between(from.std, to.std).hypot(jump) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::table::Row;
    use crate::table_op::TableKind;
    use storage::file::Place;

    fn conv(input: u32, output: u32) -> TableOp {
        TableOp { kernel: 3, ..TableOp::plain(TableKind::Conv, 16, input, 16, output) }
    }

    fn depthwise(channels: u32) -> TableOp {
        TableOp { groups: channels, ..conv(channels, channels) }
    }

    fn table(rows: &[(TableOp, f64)]) -> OpTable {
        let row = |(op, value): &(TableOp, f64)| {
            let place = Place::Row(1);
            let (key, latency) = (OpKey::new(op, None), Some(Measurement::of(*value)));
            Row { key, latency, energy: None, energy_method: None, energy_scope: None, source_key: None, place }
        };
        OpTable::from_rows(Path::new("t.csv"), rows.iter().map(row).collect()).unwrap()
    }

    #[test]
    fn between_rows_a_cost_is_between_theirs_and_beyond_them_there_is_none() {
        let table = table(&[
            (conv(8, 8), 1.0),
            (conv(8, 16), 2.0),
            (conv(16, 8), 3.0),
            (conv(16, 16), 6.0),
            (conv(32, 16), 9.0),
            (depthwise(8), 0.5),
            (depthwise(24), 1.5),
        ]);
        let grid = WidthGrid::new(&table, Measured::Latency, |measured| 0.05 * measured.value);
        let value = |op: TableOp| grid.value(&op, 16).map(|value| value.value);
        assert_eq!(value(conv(8, 16)), Some(2.0));
        assert_eq!(value(conv(8, 12)), Some(1.5));
        assert_eq!(value(conv(12, 8)), Some(2.0));
        assert_eq!(value(conv(12, 12)), Some(3.0), "both widths");
        assert_eq!(value(conv(24, 16)), Some(7.5));
        assert_eq!(value(depthwise(16)), Some(1.0), "whose widths are one");
        // Beyond the rows, or where a corner is missing.
        for op in [conv(4, 8), conv(8, 24), conv(24, 12), depthwise(32), TableOp { stride: 2, ..conv(8, 12) }] {
            assert_eq!(value(op), None, "{op}");
        }
        let grows: Vec<f64> = (8..=16).map(|input| value(conv(input, 13)).unwrap()).collect();
        assert!(grows.windows(2).all(|pair| pair[1] > pair[0]), "{grows:?}");
        let std = |op: TableOp| grid.value(&op, 16).unwrap().std;
        assert!(std(conv(8, 12)) > std(conv(8, 16)), "a jump may be anywhere");
    }
}
