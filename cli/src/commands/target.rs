//! `ofa target`.

mod compare;
mod energy;
mod fit;
#[cfg(feature = "torch")]
mod measure;
mod template;

use std::path::Path;

use anyhow::Result;
use experiments::{spaces, targets};
use hw_targets::cost::{CostValue, NetworkCost};
use hw_targets::library::{Kept, Origin};
use hw_targets::networks::Networks;
use hw_targets::schema;
use hw_targets::target::Target;
use hw_targets::units::Quantity;
use serde_json::{Map, Value, json};

use crate::args::{SchemaOf, TargetCommand};
use crate::output::Output;

pub(crate) fn run(command: TargetCommand, output: &mut Output) -> Result<()> {
    match command {
        TargetCommand::List => list(output),
        TargetCommand::Show { target } => show(&targets::find(&target)?, output),
        TargetCommand::Cost { target, space, subnets, extrapolate } => {
            let target = targets::find_reaching(&target, extrapolate)?;
            let costs = targets::cost(&target, &spaces::find(&space)?, &subnets)?;
            if output.is_json() {
                return costs.iter().try_for_each(|cost| output.json(&Value::Object(targets::cost_json(cost))));
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
        TargetCommand::Add { table, name, manifest } => {
            kept(&targets::add(&table, &name, manifest.as_deref())?, output)
        }
        #[cfg(feature = "torch")]
        TargetCommand::Measure(args) => measure::run(&args, output),
        #[cfg(not(feature = "torch"))]
        TargetCommand::Measure(_) => super::no_torch("timing operators"),
        TargetCommand::Import { layout, path, name, device } => {
            match targets::import(&layout, &path, device.as_deref(), &name)? {
                Kept::Target(target) => kept(&target, output),
                Kept::Networks { file, networks } => kept_networks(&name, &file, &networks, output),
            }
        }
        TargetCommand::Fit(args) => fit::run(&args, output),
        TargetCommand::Validate { target, networks, space, correct, keep } => {
            let space = space.map(|space| spaces::find(&space)).transpose()?;
            let networks = targets::networks(&networks)?;
            compare::validate(&targets::find(&target)?, &networks, space.as_ref(), correct, keep.as_deref(), output)
        }
        TargetCommand::Diff { a, b, space } => {
            let space = space.map(|space| spaces::find(&space)).transpose()?;
            compare::diff(&targets::find(&a)?, &targets::find(&b)?, space.as_ref(), output)
        }
        TargetCommand::Template { space, target, out, models } => {
            let target = target.map(|target| targets::find(&target)).transpose()?;
            template::run(&spaces::find(&space)?, target.as_ref(), (out.as_deref(), models.as_deref()), output)
        }
        TargetCommand::Schema { of } => {
            let schema = if of == SchemaOf::Row { schema::table_row() } else { schema::manifest() };
            output.line(format!("{schema:#}"))
        }
    }
}

fn list(output: &mut Output) -> Result<()> {
    let entries = targets::list();
    let names = |quantities: &[Quantity]| quantities.iter().map(|quantity| quantity.name()).collect::<Vec<_>>();
    if output.is_json() {
        return entries.iter().try_for_each(|entry| {
            let shipped = entry.origin == Origin::Shipped;
            output.json(&match &entry.state {
                Ok(target) => json!({
                    "name": entry.name, "shipped": shipped, "device": device(target), "knows": names(&target.known()),
                    "memory": memory_json(target),
                }),
                Err(error) => json!({"name": entry.name, "shipped": shipped, "error": error}),
            })
        });
    }
    let row = |entry: &targets::TargetEntry| {
        let origin = if entry.origin == Origin::Shipped { "shipped" } else { "yours" };
        let (knows, memory, device) = match &entry.state {
            Ok(target) => (names(&target.known()).join(", "), memory_words(target), device(target)),
            Err(error) => ("-".to_owned(), String::new(), format!("cannot be read: {error}")),
        };
        vec![entry.name.clone(), origin.to_owned(), knows, memory, device]
    };
    output.table(&["target", "origin", "knows", "memory", "device"], entries.iter().map(row).collect())
}

fn device(target: &Target) -> String {
    target.manifest().device.clone().unwrap_or_default()
}

/// What a device has for a network, by the quantity that it limits.
const MEMORIES: [(Quantity, &str); 2] = [(Quantity::PeakMemory, "SRAM"), (Quantity::Flash, "flash")];

/// `320 KiB SRAM, 1 MiB flash`; empty where neither is stated.
fn memory_words(target: &Target) -> String {
    let memories = MEMORIES.into_iter().filter_map(|(of, name)| Some(format!("{} {name}", target.capacity(of)?)));
    memories.collect::<Vec<_>>().join(", ")
}

fn memory_json(target: &Target) -> Map<String, Value> {
    let memories =
        MEMORIES.into_iter().filter_map(|(of, _)| Some((of.json_key().to_owned(), target.capacity(of)?.0.into())));
    memories.collect()
}

/// The fields of its manifest that a person wants to read, in order.
fn facts(target: &Target) -> Vec<(&'static str, String)> {
    let manifest = target.manifest();
    let fields = [
        ("device", &manifest.device),
        ("system on chip", &manifest.soc),
        ("processing unit", &manifest.processing_unit),
        ("runtime", &manifest.runtime),
        ("runtime version", &manifest.runtime_version),
        ("precision", &manifest.precision),
        ("clock", &manifest.clock),
        ("measured by", &manifest.measured_by),
        ("date", &manifest.date),
        ("source", &manifest.source),
        ("licence", &manifest.licence),
    ];
    let mut facts: Vec<(&str, String)> =
        fields.into_iter().filter_map(|(label, value)| Some((label, value.clone()?))).collect();
    facts.extend(manifest.threads.map(|threads| ("threads", threads.to_string())));
    facts.extend(manifest.batch.map(|batch| ("batch", batch.to_string())));
    facts
}

fn show(target: &Target, output: &mut Output) -> Result<()> {
    let notes: Vec<&String> = target.manifest().notes.iter().chain(target.notes()).collect();
    let bundles: Vec<&str> = target.default_bundles().iter().map(|entry| entry.bundle.as_str()).collect();
    if output.is_json() {
        let mut answers = Map::new();
        for quantity in [Quantity::Energy, Quantity::Latency] {
            let (Some((method, scope, grade)), Some(words)) =
                (target.provenance(quantity), target.explanation(quantity))
            else {
                continue;
            };
            let answer = json!({
                "method": method.name(), "scope": scope.name(), "grade": grade.name(), "explanation": words,
            });
            answers.insert(quantity.name().to_owned(), answer);
        }
        let facts: Map<String, Value> =
            facts(target).into_iter().map(|(label, value)| (label.replace(' ', "_"), value.into())).collect();
        return output.json(&json!({
            "name": target.name(),
            "facts": facts,
            "answers": answers,
            "network_resolutions": target.network_resolutions(),
            "derived_power_w": target.derived_power(),
            "memory": memory_json(target),
            "bundles": bundles,
            "notes": notes,
        }));
    }
    let mut rows = vec![("target".to_owned(), target.name().to_owned())];
    rows.extend(facts(target).into_iter().map(|(label, value)| (label.to_owned(), value)));
    for quantity in [Quantity::Energy, Quantity::Latency] {
        let answer = match (target.provenance(quantity), target.explanation(quantity)) {
            (Some((method, scope, grade)), Some(words)) => {
                format!("{words} [{method}, scope {scope}, grade {grade}]")
            }
            _ => "not known".to_owned(),
        };
        rows.push((quantity.name().to_owned(), answer));
    }
    let memory = memory_words(target);
    if !memory.is_empty() {
        rows.push(("memory".to_owned(), memory));
    }
    if let Some(sizes) = target.network_resolutions() {
        let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
        rows.push(("networks of".to_owned(), format!("{} px", sizes.join(", "))));
    }
    rows.push(("bundles".to_owned(), bundles.join(", ")));
    rows.extend(notes.into_iter().map(|note| ("note".to_owned(), note.clone())));
    output.rows(&rows)
}

/// How each quantity is answered, for whoever reads a number of it.
fn explain(target: &Target, output: &Output) {
    for quantity in [Quantity::Energy, Quantity::Latency] {
        if let Some(words) = target.explanation(quantity) {
            output.say(words);
        }
    }
}

/// How many networks have costs that fitted models had a part in, and how many of those models left their ranges.
fn say_fitted(costs: &[NetworkCost], output: &Output) {
    for quantity in [Quantity::Energy, Quantity::Latency] {
        let of = |cost: &NetworkCost| if quantity == Quantity::Energy { cost.energy } else { cost.latency };
        let values: Vec<CostValue> = costs.iter().filter_map(of).collect();
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
    target.warnings().iter().for_each(|warning| output.say(format!("warning: {warning}")));
}

fn kept(target: &Target, output: &mut Output) -> Result<()> {
    remarks(target, output);
    let known: Vec<&str> = target.known().into_iter().map(Quantity::name).collect();
    if output.is_json() {
        let (notes, warnings) = (target.notes(), target.warnings());
        return output.json(&json!({"name": target.name(), "knows": known, "notes": notes, "warnings": warnings}));
    }
    output.line(format!("target {} is kept; it knows {}", target.name(), known.join(", ")))
}

fn kept_networks(name: &str, file: &Path, networks: &Networks, output: &mut Output) -> Result<()> {
    networks.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    let count = networks.rows().len();
    if output.is_json() {
        let path = file.display().to_string();
        return output.json(&json!({"networks": name, "path": path, "count": count, "notes": networks.notes()}));
    }
    output.line(format!("{count} measured networks are kept; compare a target with them: --networks {name}"))
}
