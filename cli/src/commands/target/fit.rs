//! `ofa target fit`.

use anyhow::Result;
use experiments::folders::spaces;
use experiments::target as targets;
use experiments::target::agreement::CheckedNetworks;
use experiments::target::fit::{self as target_fit, Coverage, FitWishes, OperatorFit, WholeFit};
use hw_targets::manifest::RangeEntry;
use hw_targets::model::NetworkFit;
use hw_targets::model::features::OpClass;
use hw_targets::model::fitted::{ClassFit, Range};
use hw_targets::networks::Networks;
use hw_targets::target::Target;
use network::units::Measured;
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::args::TargetFitArgs;
use crate::output::{Output, percent};

pub(crate) fn run(args: &TargetFitArgs, output: &mut Output) -> Result<()> {
    let space = args.space.as_deref().map(spaces::find).transpose()?;
    if let Some(networks) = &args.networks {
        return whole(args, &targets::list::networks(networks)?, space.as_ref(), output);
    }
    // Clap lets nothing through that has neither.
    let target = targets::list::find(args.target.as_deref().unwrap_or_default())?;
    operators(args, &target, space.as_ref(), output)
}

fn operators(args: &TargetFitArgs, target: &Target, space: Option<&SearchSpace>, output: &mut Output) -> Result<()> {
    let transfer = args.transfer.as_deref().map(targets::list::find).transpose()?;
    let wishes = FitWishes { space, transfer: transfer.as_ref(), extrapolation: args.extrapolation };
    let fits = target_fit::fit_operators(target, wishes)?;
    // Kept before anything is printed, so that a refused name leaves no half result.
    let replacement = super::Replacement::new(args.replace, args.keep.as_deref());
    let keep = |name| target_fit::keep_operators(target, name, &fits, replacement.existing);
    let kept = args.keep.as_deref().map(keep).transpose()?;
    replacement.say(output);
    for fit in &fits {
        if output.is_json() {
            output.json(&operators_json(target, fit, space, kept.as_ref()))?;
        } else {
            print_operators(fit, space, output)?;
        }
    }
    let how = "its table answers first, the model for what the table lacks";
    say_kept(kept.as_ref(), how, args.space.as_deref(), output)
}

fn print_operators(fit: &OperatorFit, space: Option<&SearchSpace>, output: &mut Output) -> Result<()> {
    let quantity = fit.quantity;
    output.line(format!("{quantity}, fitted to the table's operators"))?;
    let header = ["class", "rows", "coefficients", "leave-one-out", "error of one", "measured shapes"];
    let row = |(class, fit): (&OpClass, &ClassFit)| {
        vec![
            class.name().to_owned(),
            fit.rows.to_string(),
            fit.coefficients.len().to_string(),
            fit.loo_mape.map_or("too few rows".to_owned(), percent),
            percent(fit.rel_error),
            range_words(*class, &fit.range),
        ]
    };
    output.table(&header, fit.model.classes.iter().map(row).collect())?;
    if let Some(transfer) = &fit.model.transfer {
        let terms = if transfer.terms.is_empty() { "nothing".to_owned() } else { transfer.terms.join(", ") };
        output.line(format!("from {} × {:.4}: {terms}; half of it counts as error", transfer.from, transfer.ratio))?;
    }
    if let Some(space) = space {
        output.line(match fit.sums {
            Some(sums) => format!(
                "sums over {} random networks of {} that the table covers: {} from the table's own",
                sums.networks,
                space.id(),
                percent(sums.mape)
            ),
            None => format!("the table covers no whole network of {} to compare sums on", space.id()),
        })?;
    }
    if let (Some(coverage), Some(space)) = (&fit.coverage, space) {
        output.line(coverage_words(coverage, space, fit.limit))?;
    }
    Ok(())
}

/// Only what a class has: channels inside blocks, kernels of convolutions, sizes of maps.
fn range_words(class: OpClass, range: &Range) -> String {
    let pair = |[least, most]: [u32; 2]| if least == most { format!("{least}") } else { format!("{least}–{most}") };
    let (size, kernel) = (format!("{} px", pair(range.in_size)), format!("k{}", pair(range.kernel)));
    let channels = match class {
        OpClass::Pool => pair(range.in_channels),
        OpClass::Block => {
            format!("{} → {} → {}", pair(range.in_channels), pair(range.mid_channels), pair(range.out_channels))
        }
        _ => format!("{} → {}", pair(range.in_channels), pair(range.out_channels)),
    };
    let words = match class {
        OpClass::Linear => vec![channels],
        OpClass::Pool | OpClass::Pointwise => vec![size, channels],
        OpClass::Block | OpClass::Dense => vec![size, channels, kernel],
    };
    words.join(", ")
}

fn coverage_words(coverage: &Coverage, space: &SearchSpace, limit: f64) -> String {
    let Coverage { operators, measured, inside, outside, refused, uncovered } = coverage;
    format!(
        "of the {operators} operators of {} the table has {measured}; the model answers for {inside} within its range \
         and {outside} outside, not for {refused} more than {limit} doublings outside and {uncovered} it has no terms \
         for",
        space.id()
    )
}

fn operators_json(target: &Target, fit: &OperatorFit, space: Option<&SearchSpace>, kept: Option<&Target>) -> Value {
    let class = |(class, fit): (&OpClass, &ClassFit)| {
        let Range { in_size, in_channels, out_channels, mid_channels, kernel } = fit.range.clone();
        let range = RangeEntry { in_size, in_channels, out_channels, mid_channels, kernel };
        let value = json!({
            "rows": fit.rows,
            "coefficients": fit.coefficients,
            "loo_mape": fit.loo_mape,
            "rel_error": fit.rel_error,
            "range": range,
        });
        (class.name().to_owned(), value)
    };
    let classes: Map<String, Value> = fit.model.classes.iter().map(class).collect();
    let mut value = json!({
        "target": target.name(),
        "quantity": fit.quantity.json_key(),
        "extrapolation": fit.limit,
        "classes": classes,
    });
    if let Some(transfer) = &fit.model.transfer {
        value["transferred"] = json!({"from": transfer.from, "ratio": transfer.ratio, "terms": transfer.terms});
    }
    if let Some(space) = space {
        value["space"] = space.id().to_string().into();
        value["sums"] = fit.sums.map_or(Value::Null, |sums| json!({"networks": sums.networks, "mape": sums.mape}));
    }
    if let Some(Coverage { operators, measured, inside, outside, refused, uncovered }) = fit.coverage {
        value["coverage"] = json!({
            "operators": operators, "measured": measured, "fitted_inside": inside, "fitted_outside": outside,
            "refused": refused, "uncovered": uncovered,
        });
    }
    with_kept(value, kept)
}

fn whole(args: &TargetFitArgs, networks: &Networks, space: Option<&SearchSpace>, output: &mut Output) -> Result<()> {
    networks.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    let checked = CheckedNetworks::new(networks, space)?;
    checked.warnings().iter().for_each(|warning| output.warn(warning));
    let fits = target_fit::fit_networks(&checked, args.extrapolation)?;
    let replacement = super::Replacement::new(args.replace, args.keep.as_deref());
    let keep = |name| target_fit::keep_networks(networks, name, &fits, replacement.existing);
    let kept = args.keep.as_deref().map(keep).transpose()?;
    replacement.say(output);
    for fit in &fits {
        if output.is_json() {
            output.json(&whole_json(networks, fit, kept.as_ref()))?;
        } else {
            output.rows(&whole_rows(networks, fit))?;
        }
    }
    for objection in fits.iter().filter_map(WholeFit::objection) {
        output.warn(objection);
    }
    say_kept(kept.as_ref(), "every answer of it is fitted", args.space.as_deref(), output)
}

fn whole_rows(networks: &Networks, fit: &WholeFit) -> Vec<(String, String)> {
    let (quantity, entry) = (fit.quantity, &fit.entry);
    let row = |label: &str, value: String| (label.to_owned(), value);
    let mut rows = vec![
        row(
            quantity.name(),
            format!("fitted to {} networks measured whole, batch {}", entry.networks, networks.batch()),
        ),
        row(NetworkFit::error_name(entry.networks), percent(entry.loo_mape)),
        row("error of one", percent(entry.rel_error)),
        row("constant", format!("{} per network", quantity.format(fit.constant))),
    ];
    let unit = match quantity {
        Measured::Latency => "s",
        Measured::Energy => "J",
    };
    let weight = |weight: &f64| format!("{weight:.5e} {unit} per count");
    let sized = !entry.by_input_size.is_empty();
    let of_any = |name: &str| if sized { format!("{name}, any size") } else { name.to_owned() };
    rows.extend(entry.coefficients.iter().map(|(name, value)| row(&of_any(name), weight(value))));
    if sized {
        let words = "on top of those at any size; in proportion between these sizes, as at the nearest beyond them";
        rows.push(row("by input size", words.to_owned()));
    }
    for (size, set) in &entry.by_input_size {
        rows.extend(set.iter().map(|(name, value)| row(&format!("{name}, at {size} px"), weight(value))));
    }
    rows
}

fn whole_json(networks: &Networks, fit: &WholeFit, kept: Option<&Target>) -> Value {
    let entry = &fit.entry;
    let value = json!({
        "file": networks.path().display().to_string(),
        "quantity": fit.quantity.json_key(),
        "networks": entry.networks,
        "batch": networks.batch(),
        "loo_mape": entry.loo_mape,
        "error": NetworkFit::error_name(entry.networks),
        "rel_error": entry.rel_error,
        "constant": fit.constant * fit.quantity.json_scale(),
        "coefficients": entry.coefficients,
        "by_input_size": entry.by_input_size,
        "ranges": entry.ranges,
    });
    with_kept(value, kept)
}

fn with_kept(mut value: Value, kept: Option<&Target>) -> Value {
    if let Some(kept) = kept {
        value["kept"] = kept.name().into();
    }
    value
}

fn say_kept(kept: Option<&Target>, how: &str, space: Option<&str>, output: &mut Output) -> Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    output.say(format!("target {} is kept: {how}", kept.name()));
    output.next(&super::front_of(kept, space))
}
