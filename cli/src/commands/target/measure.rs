//! `ofa target measure`.

use anyhow::Result;
use experiments::folders::spaces;
use experiments::target as targets;
use experiments::torch::{self, MeasureRequest};
use serde_json::json;

use crate::args::MeasureArgs;
use crate::interrupt::stop_flag;
use crate::output::Output;

pub(crate) fn run(args: &MeasureArgs, output: &mut Output) -> Result<()> {
    let space = spaces::find(&args.space)?;
    let replacement = super::Replacement::new(args.replace, Some(&args.name));
    targets::keep::check_free(&args.name, replacement.existing)?;
    let threads = args.threads as usize;
    experiments::threads::set(threads);
    let request = MeasureRequest {
        name: &args.name,
        space: &space,
        resolutions: args.resolutions.clone(),
        networks: args.networks as usize,
        device: args.device,
        threads,
        precision: args.precision,
        seed: args.seed,
    };
    let bar = output.progress(0, "{bar:40} {pos}/{len} settled, {msg} visits, {elapsed}");
    let measured = torch::measure_target(&request, &stop_flag(), &mut |visits, settled, all| {
        bar.set_length(all as u64);
        bar.set_position(settled as u64);
        bar.set_message(visits.to_string());
    })?;
    bar.finish_and_clear();
    replacement.say(output);
    if measured.unsettled > 0 {
        output.say(format!(
            "note: {} times are less certain than asked for: the machine was busy, or its clock is not steady",
            measured.unsettled
        ));
    }
    super::remarks(&measured.target, output);
    let folder = measured.folder.display();
    output.say(format!("target {} with {} operators, in {folder}", args.name, measured.operators));
    match &measured.networks {
        Some(networks) => {
            output.say(format!(
                "{} networks measured whole, in {}; below, how sums of operators agree with them",
                networks.rows().len(),
                networks.path().display()
            ));
            super::compare::validate(&measured.target, networks, Some(&space), true, None, output)?;
            output.say(format!(
                "note: target {0} keeps the sums as they are; `ofa target validate {0} --networks {0} --correct --keep {0}-2` \
                 keeps them corrected",
                args.name
            ));
            Ok(())
        }
        None if output.is_json() => output.json(&json!({"target": args.name, "operators": measured.operators})),
        None => Ok(()),
    }?;
    output.next(&super::front_of(&measured.target, Some(&args.space)))
}
