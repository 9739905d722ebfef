//! `ofa target`.

mod compare;
mod energy;
mod fit;
mod list;
mod measure;
mod template;

use std::path::Path;

use anyhow::Result;
use experiments::folders::bundle::Bundle;
use experiments::folders::spaces;
use experiments::target as targets;
use experiments::target::range::QuantityRange;
use hw_targets::cost::{CostValue, NetworkCost};
use hw_targets::library::Kept;
use hw_targets::networks::Networks;
use hw_targets::own::Existing;
use hw_targets::schema;
use hw_targets::target::Target;
use network::units::{Measured, Quantity};
use serde_json::{Value, json};

use crate::args::{SchemaOf, TargetCommand};
use crate::next::{self, SearchIn, Words};
use crate::output::Output;

pub(crate) fn run(command: TargetCommand, output: &mut Output) -> Result<()> {
    match command {
        TargetCommand::List => list::list(output),
        TargetCommand::Show { target } => list::show(&targets::list::find(&target)?, output),
        TargetCommand::Cost { target, space, subnets, extrapolate } => {
            let target = targets::list::find_reaching(&target, extrapolate)?;
            let costs = targets::cost::cost(&target, &spaces::find(&space)?, &subnets)?;
            if output.is_json() {
                return costs.iter().try_for_each(|cost| output.json(&Value::Object(targets::cost::cost_json(cost))));
            }
            let quantities: Vec<Quantity> = target.known();
            let header: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
            let rows = costs.iter().map(|cost| {
                let cell = |quantity: &Quantity| match (cost.value(*quantity), cost.sigma(*quantity)) {
                    (Some(value), Some(0.0)) => quantity.format(value),
                    (Some(value), Some(sigma)) => format!("{} ± {}", quantity.format(value), quantity.format(sigma)),
                    _ => "-".to_owned(),
                };
                quantities.iter().map(cell).collect()
            });
            output.table(&header, rows.collect())?;
            explain(&target, output);
            say_fitted(&costs, output);
            Ok(())
        }
        TargetCommand::Energy(args) => energy::run(&args, output),
        TargetCommand::Add { table, name, manifest, replace } => {
            let replacement = Replacement::new(replace, Some(&name));
            let target = targets::keep::add(&table, &name, manifest.as_deref(), replacement.existing)?;
            replacement.say(output);
            kept(&target, output)
        }
        TargetCommand::Measure(args) => measure::run(&args, output),
        TargetCommand::Import { layout, path, name, device, replace } => {
            let replacement = Replacement::new(replace, Some(&name));
            let imported = targets::keep::import(&layout, &path, device.as_deref(), &name, replacement.existing)?;
            replacement.say(output);
            match imported {
                Kept::Target(target) => kept(&target, output),
                Kept::Networks { file, networks } => kept_networks(&name, &file, &networks, output),
            }
        }
        TargetCommand::Fit(args) => fit::run(&args, output),
        TargetCommand::Validate { target, networks, space, correct, keep, replace, implausible } => {
            let replacement = Replacement::new(replace, keep.as_deref());
            let space = space.map(|space| spaces::find(&space)).transpose()?;
            let networks = targets::list::networks(&networks)?;
            compare::validate(
                &targets::list::find(&target)?,
                &networks,
                space.as_ref(),
                correct,
                keep.as_deref().map(|name| compare::Keep { name, replacement, implausible }),
                output,
            )
        }
        TargetCommand::Rm { name } => {
            let held = targets::keep::remove(&name)?;
            said(&json!({"removed": name, "held": held}), format!("target {name} is removed ({held})"), output)
        }
        TargetCommand::Rename { old, new } => {
            let holds = targets::keep::rename(&old, &new)?;
            said(&json!({"renamed": old, "to": new, "holds": holds}), format!("target {old} is now {new}"), output)
        }
        TargetCommand::Range { target, space } => {
            let target = targets::list::find(&target)?;
            range(&target, &targets::range::range(&target, &spaces::find(&space)?)?, output)
        }
        TargetCommand::Diff { a, b, space } => {
            let space = space.map(|space| spaces::find(&space)).transpose()?;
            compare::diff(&targets::list::find(&a)?, &targets::list::find(&b)?, space.as_ref(), output)
        }
        TargetCommand::Template { space, target, out, models } => {
            let target = target.map(|target| targets::list::find(&target)).transpose()?;
            template::run(&spaces::find(&space)?, target.as_ref(), (out.as_deref(), models.as_deref()), output)
        }
        TargetCommand::Schema { of } => {
            let schema = if of == SchemaOf::Row { schema::table_row() } else { schema::manifest() };
            if output.is_json() { output.json(&schema) } else { output.line(format!("{schema:#}")) }
        }
    }
}

/// What becomes of a target of the name that something new is kept under.
struct Replacement {
    existing: Existing,
    /// What is lost, to be said once it is.
    lost: Option<String>,
}

impl Replacement {
    fn new(replace: bool, name: Option<&str>) -> Replacement {
        let lost = name.filter(|_| replace).and_then(|name| {
            let held = targets::keep::holds(name)?;
            Some(format!("note: replaced target {name} ({held})"))
        });
        let existing = if replace { Existing::Replaced } else { Existing::Stays };
        Replacement { existing, lost }
    }

    fn say(self, output: &Output) {
        self.lost.into_iter().for_each(|lost| output.say(lost));
    }
}

fn said(value: &Value, words: String, output: &mut Output) -> Result<()> {
    if output.is_json() { output.json(value) } else { output.line(words) }
}

fn range(target: &Target, ranges: &[QuantityRange], output: &mut Output) -> Result<()> {
    if output.is_json() {
        return ranges.iter().try_for_each(|range| output.json(&targets::range::range_json(target, range)));
    }
    let row = |range: &QuantityRange| {
        let words = |value: f64| range.quantity.format(value);
        let values = [range.cheapest, range.median, range.dearest].map(words);
        [vec![range.quantity.name().to_owned()], values.to_vec()].concat()
    };
    output.table(&["quantity", "cheapest", "median", "most expensive"], ranges.iter().map(row).collect())?;
    output.say("of the smallest and the largest network at each resolution, and 1000 random ones");
    explain(target, output);
    Ok(())
}

/// How each quantity is answered, for whoever reads a number of it.
fn explain(target: &Target, output: &Output) {
    for quantity in Measured::ALL {
        if let Some(words) = target.explanation(quantity) {
            output.say(words);
        }
    }
}

/// How many networks have costs that fitted models had a part in, and how many of those models left their ranges.
fn say_fitted(costs: &[NetworkCost], output: &Output) {
    for quantity in Measured::ALL {
        let values: Vec<&CostValue> = costs.iter().filter_map(|cost| cost.measured(quantity)).collect();
        let fitted = values.iter().filter(|value| value.fitted).count();
        let outside = values.iter().filter(|value| value.outside > 0).count();
        if fitted > 0 {
            output.say(format!(
                "note: {quantity} of {fitted} of {} networks is fitted, of {outside} outside of what was measured",
                values.len()
            ));
        }
    }
}

/// What reading the target's files had to say.
fn remarks(target: &Target, output: &Output) {
    target.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    target.warnings().iter().for_each(|warning| output.warn(warning));
}

fn kept(target: &Target, output: &mut Output) -> Result<()> {
    remarks(target, output);
    let known: Vec<&str> = target.known().into_iter().map(Quantity::name).collect();
    if output.is_json() {
        let (notes, warnings) = (target.notes(), target.warnings());
        return output.json(&json!({"name": target.name(), "knows": known, "notes": notes, "warnings": warnings}));
    }
    output.line(format!("target {} is kept; it knows {}", target.name(), known.join(", ")))?;
    output.next(&front_of(target, None))
}

/// The front of a target of the user's own, along the first that it knows of the device; its range in a space that nobody
/// has trained a supernet of.
fn front_of(target: &Target, space: Option<&str>) -> Words {
    if let Some(space) = space.filter(|space| Bundle::find(space).is_err()) {
        return next::range(target.name(), space);
    }
    let along = [Quantity::Latency, Quantity::Energy].into_iter().find(|quantity| target.knows(*quantity));
    next::front(&SearchIn::DefaultOf { space }, Some(target.name()), along.unwrap_or(Quantity::Macs))
}

fn kept_networks(name: &str, file: &Path, networks: &Networks, output: &mut Output) -> Result<()> {
    networks.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    networks.warnings().iter().for_each(|warning| output.warn(warning));
    let count = networks.rows().len();
    if output.is_json() {
        let path = file.display().to_string();
        return output.json(&json!({"networks": name, "path": path, "count": count, "notes": networks.notes()}));
    }
    output.line(format!("{count} measured networks are kept; compare a target with them: --networks {name}"))
}
