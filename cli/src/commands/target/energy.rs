//! `ofa target energy`: analytic energy on a row-stationary accelerator.

use anyhow::Result;
use experiments::error::Error;
use experiments::folders::spaces;
use experiments::target::accelerators;
use hw_targets::accelerator::{Accelerator, LayerEnergy, LevelEnergy, NetworkEnergy, Sparsity};
use network::units::{Joules, Quantity};
use serde_json::{Map, Value, json};

use crate::args::EnergyArgs;
use crate::output::Output;

/// The kinds of energy, as columns and as JSON keys.
const PARTS: [&str; 4] = ["computation", "ifmap", "ofmap", "weight"];

pub(crate) fn run(args: &EnergyArgs, output: &mut Output) -> Result<()> {
    let accelerator = Accelerator::find(&args.accelerator).map_err(Error::from)?;
    if let (Some(space), Some(subnets)) = (&args.space, &args.subnets) {
        let space = spaces::find(space)?;
        let networks = accelerators::energy_of_subnets(&accelerator, &space, subnets, args.batch.unwrap_or(1))?;
        print_subnets(&networks, &accelerator, output)?;
        say_zeros_unknown(&accelerator, output);
    } else if let Some(layers) = &args.layers {
        print_layers(&accelerators::energy_of_layers(&accelerator, layers, args.batch)?, &accelerator, output)?;
    }
    let device = match accelerator.device() {
        "" => String::new(),
        words => format!(" ({words})"),
    };
    output.say(format!(
        "energy per image on {}{device} in 16-bit multiply-accumulates, from counted accesses: convolutions and fully \
         connected layers only; nothing of it is measured [simulated, grade D]",
        accelerator.name()
    ));
    accelerator.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    Ok(())
}

fn print_layers(network: &NetworkEnergy, accelerator: &Accelerator, output: &mut Output) -> Result<()> {
    if output.is_json() {
        for layer in &network.layers {
            output.json(&Value::Object(layer_json(layer)))?;
        }
        let mut total = network_json(network, accelerator);
        total.insert("layer".into(), "total".into());
        return output.json(&Value::Object(total));
    }
    let mut header = vec!["layer", "batch"];
    header.extend(PARTS);
    header.extend(["total", "dram", "global buffer", "array", "register file", "mapping"]);
    let mut rows: Vec<Vec<String>> = network.layers.iter().map(layer_row).collect();
    let mut total = vec!["total".to_owned(), String::new()];
    total.extend(parts(network).map(number));
    total.push(number(network.total()));
    total.extend(levels(&network.levels()).map(|(_, energy)| number(energy)));
    total.extend(accelerator.unit_joules().map(|unit| joules(unit * network.total())));
    rows.push(total);
    output.table(&header, rows)
}

fn layer_row(layer: &LayerEnergy) -> Vec<String> {
    let mapping: Vec<String> =
        layer.mapping.letters().iter().map(|(letter, value)| format!("{letter}{value}")).collect();
    let mut row = vec![layer.name.clone(), layer.images.to_string()];
    row.extend(layer_parts(layer).map(number));
    row.push(number(layer.total()));
    row.extend(levels(&layer.levels()).map(|(_, energy)| number(energy)));
    row.push(mapping.join(" "));
    row
}

fn print_subnets(networks: &[NetworkEnergy], accelerator: &Accelerator, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return networks.iter().try_for_each(|network| {
            let mut object = network_json(network, accelerator);
            let layers = network.layers.iter().map(|layer| Value::Object(layer_json(layer)));
            object.insert("layers".into(), layers.collect());
            output.json(&Value::Object(object))
        });
    }
    let mut header = PARTS.to_vec();
    header.push("total");
    header.extend(accelerator.unit_joules().map(|_| "energy"));
    let row = |network: &NetworkEnergy| {
        let mut row = parts(network).map(number).to_vec();
        row.push(number(network.total()));
        row.extend(accelerator.unit_joules().map(|unit| joules(unit * network.total())));
        row
    };
    output.table(&header, networks.iter().map(row).collect())
}

/// Keys in the order of the table; energies in 16-bit multiply-accumulates per image.
fn layer_json(layer: &LayerEnergy) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("layer".into(), layer.name.clone().into());
    object.insert("batch".into(), layer.images.into());
    // Counts are whole and exact below 2^53.
    object.insert("macs".into(), (layer.macs as u64).into());
    object.extend(PARTS.map(str::to_owned).into_iter().zip(layer_parts(layer).map(Value::from)));
    object.insert("total".into(), layer.total().into());
    object.insert("levels".into(), levels_json(&layer.levels()));
    let mapping: Map<String, Value> =
        layer.mapping.letters().iter().map(|(letter, value)| ((*letter).to_owned(), (*value).into())).collect();
    object.insert("mapping".into(), mapping.into());
    object
}

fn network_json(network: &NetworkEnergy, accelerator: &Accelerator) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("accelerator".into(), accelerator.name().into());
    object.insert("macs".into(), (network.sum(|layer| layer.macs) as u64).into());
    object.extend(PARTS.map(str::to_owned).into_iter().zip(parts(network).map(Value::from)));
    object.insert("total".into(), network.total().into());
    object.insert("levels".into(), levels_json(&network.levels()));
    if let Some(unit) = accelerator.unit_joules() {
        let key = Quantity::Energy.json_key();
        object.insert(key.into(), (unit * network.total() * Quantity::Energy.json_scale()).into());
    }
    object
}

fn levels_json(energy: &LevelEnergy) -> Value {
    levels(energy).into_iter().map(|(level, energy)| (level.to_owned(), json!(energy))).collect()
}

fn layer_parts(layer: &LayerEnergy) -> [f64; 4] {
    [layer.computation, layer.ifmap.total(), layer.ofmap.total(), layer.weight.total()]
}

fn parts(network: &NetworkEnergy) -> [f64; 4] {
    let mut sum = [0.0; 4];
    for layer in &network.layers {
        sum.iter_mut().zip(layer_parts(layer)).for_each(|(sum, part)| *sum += part);
    }
    sum
}

fn levels(energy: &LevelEnergy) -> [(&'static str, f64); 4] {
    [
        ("dram", energy.dram),
        ("global_buffer", energy.global_buffer),
        ("array", energy.array),
        ("register_file", energy.register_file),
    ]
}

fn number(energy: f64) -> String {
    format!("{energy:.3e}")
}

fn joules(energy: f64) -> String {
    Joules(energy).to_string()
}

fn say_zeros_unknown(accelerator: &Accelerator, output: &Output) {
    if accelerator.sparsity() != Sparsity::None {
        output.say("zeros of weights and activations are not known here and counted as if there were none");
    }
}
