//! A subnet as rows of blocks, each with a bar for its part of what the network costs.

use experiments::search::report::{FoundSubnet, SearchHeader};
use network::op::Op;
use network::units::{Measured, Quantity};

use crate::drawing::bar;

/// `stage 1  k5 e4  ██████  0.21 mJ  16 px, 24 channels`: kernel and expand ratio of a block, what it costs of the quantity
/// that the budget limits where the device tells operators apart, MACs otherwise, and the map that it makes.
pub(super) fn rows(header: &SearchHeader, found: &FoundSubnet) -> Vec<(String, String)> {
    let workload = header.space.lower(&found.arch);
    let (quantity, costs) = costs(header, &workload.ops, workload.resolution);
    let most = costs.iter().copied().fold(0.0, f64::max);
    let labels = labels(found, &workload.ops);
    let wide = |words: &dyn Fn(usize) -> usize| (0..costs.len()).map(words).max().unwrap_or(0);
    let said: Vec<String> = costs.iter().map(|cost| quantity.format(*cost)).collect();
    let (settings, amounts) = (wide(&|at| labels[at].1.len()), wide(&|at| said[at].chars().count()));
    let row = |(at, op): (usize, &Op)| {
        let (label, setting) = &labels[at];
        let output = op.output();
        let map = if output.size > 1 { format!("{} px, ", output.size) } else { String::new() };
        let bar = bar(costs[at], most);
        (
            label.clone(),
            format!("{setting:settings$}  {bar}  {:>amounts$}  {map}{} channels", said[at], output.channels),
        )
    };
    workload.ops.iter().enumerate().map(row).collect()
}

/// What each operator costs, and of what.
fn costs(header: &SearchHeader, ops: &[Op], resolution: u32) -> (Quantity, Vec<f64>) {
    let limited = |quantity: &&Measured| header.budget.limit((**quantity).into()).is_some();
    if let (Some(target), Some(quantity)) = (&header.target, Measured::ALL.iter().find(limited)) {
        let each = ops.iter().map(|op| target.cost_in(*quantity, op, resolution).map(|cost| cost.value));
        if let Ok(each) = each.collect::<Result<Vec<f64>, _>>() {
            return ((*quantity).into(), each);
        }
    }
    (Quantity::Macs, ops.iter().map(|op| op.macs().0 as f64).collect())
}

/// What each operator is called, empty where the row above says it, and the settings of a block.
fn labels(found: &FoundSubnet, ops: &[Op]) -> Vec<(String, String)> {
    let stages = found.arch.stages();
    let elastic = stages.iter().enumerate().flat_map(|(stage, spec)| {
        spec.blocks.iter().enumerate().map(move |(at, block)| {
            let label = if at == 0 { format!("stage {}", stage + 1) } else { String::new() };
            (label, format!("k{} e{}", block.kernel, block.expand))
        })
    });
    let is_block = |op: &&Op| matches!(op, Op::InvertedBottleneck(_));
    let fixed = ops.iter().filter(is_block).count() - elastic.clone().count();
    let mut blocks = std::iter::repeat_n(("first".to_owned(), String::new()), fixed).chain(elastic);
    let last = ops.len() - 1;
    let label = |(at, op): (usize, &Op)| match op {
        Op::InvertedBottleneck(_) => blocks.next().unwrap_or_default(),
        Op::Pool(_) => ("pool".to_owned(), String::new()),
        _ if at == 0 => ("stem".to_owned(), String::new()),
        _ if at == last => ("classifier".to_owned(), String::new()),
        _ => ("head".to_owned(), String::new()),
    };
    ops.iter().enumerate().map(label).collect()
}
