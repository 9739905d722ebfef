//! `ofa network`: networks with absolute shapes, with or without a search space.

use anyhow::Result;
use experiments::error::Error;
use experiments::folders::network_folder::{self, NetworkFolder};
use experiments::{networks, target};
use hw_targets::cost::NetworkCost;
use network::memory::flash;
use network::shape::{NetworkShape, Source};
use network::units::{Bytes, Measured, Quantity};
use serde_json::{Value, json};

use crate::args::NetworkCommand;
use crate::next;
use crate::output::Output;

pub(crate) fn run(command: NetworkCommand, output: &mut Output) -> Result<()> {
    match command {
        NetworkCommand::From { name, seed, classes, out } => {
            let (shape, files) = networks::from_published(&name, classes, seed, &out)?;
            if output.is_json() {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                return output.json(&json!({
                    "network": name, "macs": shape.macs().0, "params": shape.params().0, "files": files,
                }));
            }
            output.line(format!(
                "{name} is in {}: {} MACs, {} parameters, random weights of seed {seed}",
                out.display(),
                shape.macs(),
                shape.params()
            ))?;
            output.next(&next::finetune(&out))
        }
        NetworkCommand::Show { network } => show(&network_folder::read_shape(&network)?, output),
        NetworkCommand::Cost { network, target, extrapolate } => {
            let shape = network_folder::read_shape(&network)?;
            let target = target::list::find_reaching(&target, extrapolate)?;
            let cost = networks::cost(&target, &shape)?;
            if output.is_json() {
                return output.json(&Value::Object(target::cost::cost_json(&cost)));
            }
            for quantity in target.known() {
                output.line(format!("{:12} {}", quantity.name(), value(&cost, quantity)))?;
            }
            for quantity in Measured::ALL {
                if let Some(words) = target.explanation(quantity) {
                    output.say(words);
                }
            }
            Ok(())
        }
        NetworkCommand::Arena { network } => {
            let shape = network_folder::read_shape(&network)?;
            let peak = networks::arena(&shape);
            let weights: Bytes = shape.nodes().iter().map(|node| flash(&node.op)).sum();
            if output.is_json() {
                return output.json(&json!({
                    "peak_memory_bytes": peak.total().0,
                    "activations_bytes": peak.activations.0,
                    "column_buffer_bytes": peak.column_buffer.0,
                    "kernel_buffer_bytes": peak.kernel_buffer.0,
                    "flash_bytes": weights.0,
                }));
            }
            output.line(format!("peak memory of one int8 inference  {}", peak.total()))?;
            output.line(format!("  activations                      {}", peak.activations))?;
            output.line(format!("  column buffer                    {}", peak.column_buffer))?;
            output.line(format!("  kernel buffer                    {}", peak.kernel_buffer))?;
            output.line(format!("flash for its weights              {weights}"))
        }
        NetworkCommand::Check { network } => {
            let folder = NetworkFolder::read(&network)?;
            if let Some(reason) = folder.mixed.first() {
                return Err(Error::FileInFolder { path: network, reason: reason.clone() }.into());
            }
            let tensors = folder.weights.arrays().len();
            if output.is_json() {
                return output.json(&json!({"layers": folder.shape.layers().len(), "tensors": tensors}));
            }
            output.line(format!("{} layers meet, and {tensors} tensors are theirs", folder.shape.layers().len()))
        }
    }
}

fn value(cost: &NetworkCost, quantity: Quantity) -> String {
    match (cost.value(quantity), cost.sigma(quantity)) {
        (Some(value), Some(0.0)) => quantity.format(value),
        (Some(value), Some(sigma)) => format!("{} ± {}", quantity.format(value), quantity.format(sigma)),
        _ => "-".to_owned(),
    }
}

fn show(shape: &NetworkShape, output: &mut Output) -> Result<()> {
    let name = |source: &Source| match source {
        Source::Image => "image".to_owned(),
        Source::Node(at) => shape.nodes()[*at].name.clone(),
    };
    if output.is_json() {
        return output.json(&network::shape_file::to_json(shape, None));
    }
    let rows = shape.nodes().iter().map(|node| {
        let reads: Vec<String> = node.reads.iter().map(name).collect();
        vec![
            node.name.clone(),
            reads.join(", "),
            node.op.to_string(),
            node.op.macs().to_string(),
            node.op.params().to_string(),
        ]
    });
    output.table(&["layer", "reads", "operator", "MACs", "parameters"], rows.collect())?;
    output.say(format!(
        "{} in, {} out, {} MACs, {} parameters",
        shape.input(),
        shape.output(),
        shape.macs(),
        shape.params()
    ));
    Ok(())
}
