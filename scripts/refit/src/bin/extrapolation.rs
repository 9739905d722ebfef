//! How far outside what they were fitted to the shipped targets are asked to go on the shipped spaces.
//!
//! `cargo run --release -p refit --bin extrapolation`: one line for each fitted target, quantity and space, over the
//! distinct operators that the space can produce at all of its resolutions: how many there are, how many of them lie
//! inside the range of their class, up to 1, 2, 3 and 4 doublings outside in their worst dimension, and farther; then the
//! farthest of each class. The default limit (`hw_targets::model::limited::DEFAULT_EXTRAPOLATION`) is chosen by this table.

use std::collections::{BTreeMap, BTreeSet};

use hw_targets::library::{SHIPPED, TargetLibrary};
use hw_targets::manifest::{QuantityEntry, RangeEntry};
use hw_targets::model::features::OpClass;
use hw_targets::model::fitted::{Beyond, Range};
use hw_targets::table::OpKey;
use hw_targets::table_op::TableOp;
use search::dense::{CostTables, DeviceCost};
use search::error::SearchError;
use search::space::SearchSpace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("target quantity space: operators | inside ≤1 ≤2 ≤3 ≤4 >4 doublings | uncovered classes");
    for (name, _) in SHIPPED {
        let target = TargetLibrary::new(None).find(name)?;
        for (quantity, entry) in [("latency", &target.manifest().latency), ("energy", &target.manifest().energy)] {
            let Some(ranges) = entry.as_ref().and_then(ranges) else { continue };
            for space in SearchSpace::builtin_names() {
                report(&format!("{name} {quantity} {space}"), &ranges, &SearchSpace::builtin(space)?)?;
            }
        }
    }
    Ok(())
}

fn ranges(entry: &QuantityEntry) -> Option<BTreeMap<OpClass, Range>> {
    let range = |(class, range): (&String, &RangeEntry)| {
        let RangeEntry { in_size, in_channels, out_channels, mid_channels, kernel } = range.clone();
        Some((OpClass::parse(class)?, Range { in_size, in_channels, out_channels, mid_channels, kernel }))
    };
    match (&entry.fitted, &entry.network_fit) {
        (Some(fitted), _) => {
            Some(fitted.classes.iter().filter_map(|(class, fit)| range((class, &fit.range))).collect())
        }
        (None, Some(fit)) => Some(fit.ranges.iter().filter_map(range).collect()),
        (None, None) => None,
    }
}

fn report(what: &str, ranges: &BTreeMap<OpClass, Range>, space: &SearchSpace) -> Result<(), SearchError> {
    let mut all = BTreeSet::new();
    CostTables::compile(space, space.resolutions(), DeviceCost::default(), |op, _| {
        all.extend(TableOp::of(op).map(|row| *OpKey::new(&row, None).op()));
        Ok(DeviceCost::default())
    })?;
    let mut bins = [0; 6];
    let mut without = BTreeSet::new();
    let mut farthest: BTreeMap<OpClass, (Beyond, TableOp)> = BTreeMap::new();
    for op in &all {
        let Some((class, range)) = OpClass::of(op).and_then(|class| Some((class, ranges.get(&class)?))) else {
            without.insert(OpClass::of(op).map_or("grouped", OpClass::name));
            continue;
        };
        let beyond = range.beyond(op);
        bins[(beyond.doublings.ceil() as usize).min(5)] += 1;
        let worst = farthest.entry(class).or_insert((beyond, *op));
        if beyond.doublings > worst.0.doublings {
            *worst = (beyond, *op);
        }
    }
    let without = without.into_iter().collect::<Vec<_>>().join(",");
    let bins = bins.map(|bin| bin.to_string()).join(" ");
    println!("{what}: {} | {bins} | {without}", all.len());
    for (class, (beyond, op)) in farthest.into_iter().filter(|(_, (beyond, _))| beyond.doublings > 0.0) {
        let Beyond { dimension, value, range: [least, most], doublings } = beyond;
        println!("    {}: {doublings:.2} in {dimension} ({value}; {least} to {most}): {op}", class.name());
    }
    Ok(())
}
