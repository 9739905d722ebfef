//! What `ofa search` shows of one search: six lines, and with `-v` all that they follow from.

use anyhow::Result;
use experiments::search::report::{AdditivePart, FoundSubnet, SearchHeader, SearchReport};
use hw_targets::cost::{CostValue, Method};
use hw_targets::target::Target;
use network::units::{Joules, Measured, Quantity};
use search::nsga2::Objective;

use super::blocks;
use crate::drawing::{Axis, scatter};
use crate::output::{Output, percent, share};

/// Rows of a front that are shown to people; programs get all of it.
const SHOWN: usize = 20;

/// The subnets found; `files` says what was written, or how to have it written.
pub(super) fn print(report: &SearchReport, files: &str, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return report.found.iter().try_for_each(|found| output.json(&report.json(found)));
    }
    if report.front.is_some() {
        return print_front(report, output);
    }
    let header = &report.header;
    let mut rows = vec![row("task", task(header))];
    for (rank, found) in report.found.iter().enumerate() {
        if rank > 0 {
            rows.push(row("", String::new()));
        }
        rows.push(row("top-1", top1(found)));
        rows.extend(cost(header, found).map(|words| row("cost", words)));
        rows.push(row("size", size(header, found)));
        if output.is_verbose() {
            rows.extend(provenance(header, found));
        }
    }
    rows.push(row("files", files.to_owned()));
    if output.is_verbose() {
        rows.push(row("search", search_words(report)));
    }
    output.rows(&rows)
}

fn row(label: &str, value: String) -> (String, String) {
    (label.to_owned(), value)
}

/// What the networks tell apart, and where they are from.
fn task(header: &SearchHeader) -> String {
    let of = header.images.as_ref().map_or(String::new(), |images| format!(" of {images}"));
    let from = match &header.bundle {
        Some(bundle) => format!("bundle {bundle}"),
        None => format!("space {}", header.space.id()),
    };
    format!("{} classes{of}; {from}", header.space.classes())
}

/// `89.77 % ± 0.54 predicted`, or where the error is not known `89.77 % predicted, ± 0.01 (between models)`.
fn top1(found: &FoundSubnet) -> String {
    let spread = found.spread.map_or(String::new(), |spread| format!(", {}", between_models(spread)));
    let predicted = match found.error {
        Some(error) => format!("{} ± {:.2} predicted", percent(found.top1), 100.0 * error),
        None => format!("{} predicted{spread}", percent(found.top1)),
    };
    match found.verified {
        Some(verified) => {
            let measured = share(verified.top1, verified.images);
            format!("{measured} measured on {} held-out images; {predicted}", verified.images)
        }
        None => predicted,
    }
}

fn between_models(spread: f64) -> String {
    format!("± {:.2} (between models)", 100.0 * spread)
}

/// What is known of the device, each quantity with its interval and its budget.
fn cost(header: &SearchHeader, found: &FoundSubnet) -> Option<String> {
    let of = |quantity| {
        let limit = header.budget.limit(quantity);
        limit.map_or(String::new(), |limit| format!(" of {}", quantity.format(limit)))
    };
    let mut costs = Vec::new();
    for quantity in Measured::ALL {
        let Some(cost) = found.cost.measured(quantity) else { continue };
        let factor = cost.factor.map_or(String::new(), |factor| format!(", ×/÷ {factor}"));
        let batch = if cost.batch == 1 { String::new() } else { format!(" per batch of {}", cost.batch) };
        let outside = if cost.outside > 0 { ", extrapolated" } else { "" };
        costs.push(format!(
            "{}{batch}{} (± {}{factor}, grade {}{outside})",
            quantity.format(cost.value),
            of(quantity.into()),
            quantity.format(cost.sigma()),
            cost.grade
        ));
    }
    for quantity in [Quantity::Flash, Quantity::PeakMemory] {
        if header.budget.limit(quantity).is_some() {
            let value = quantity.format(found.cost.value(quantity).unwrap_or(f64::NAN));
            costs.push(format!("{} {value}{} (int8)", quantity.name(), of(quantity)));
        }
    }
    (!costs.is_empty()).then(|| costs.join("; "))
}

/// MACs, parameters, and what the weights take as whole numbers of 8 bits.
fn size(header: &SearchHeader, found: &FoundSubnet) -> String {
    let of = |quantity: Quantity, value: String| match header.budget.limit(quantity) {
        Some(limit) => format!("{value} of {}", quantity.format(limit)),
        None => value,
    };
    format!(
        "{} MACs, {} parameters, {} in int8; {} px",
        of(Quantity::Macs, found.cost.macs.to_string()),
        of(Quantity::Params, found.cost.params.to_string()),
        found.cost.flash,
        found.arch.resolution()
    )
}

/// Where the numbers come from, what bounds them, and the subnet itself.
fn provenance(header: &SearchHeader, found: &FoundSubnet) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for quantity in Measured::ALL {
        let (Some(cost), Some(target)) = (found.cost.measured(quantity), &header.target) else { continue };
        rows.push(row(quantity.name(), cost_words(quantity, cost)));
        rows.extend(equivalence(header, target, quantity).map(|words| row("", words)));
        rows.extend(target.explanation(quantity).map(|words| row("", words.to_owned())));
    }
    if let Some(AdditivePart { score, bound }) = found.additive {
        let words = format!(
            "no subnet here beats {} by the additive model, which gives this one {}",
            percent(bound),
            percent(score)
        );
        rows.push(row("bound", words));
    }
    if let Some(spread) = found.spread.filter(|_| found.error.is_some()) {
        rows.push(row("models", between_models(spread)));
    }
    rows.extend(blocks::rows(header, found));
    rows
}

/// `49.2 mJ ± 23.1 mJ, ×/÷ 1.6 (derived_power on fitted, grade C, scope above_idle)`.
fn cost_words(quantity: Measured, cost: &CostValue) -> String {
    let factor = cost.factor.map_or(String::new(), |factor| format!(", ×/÷ {factor}"));
    let batch = if cost.batch == 1 { String::new() } else { format!(" per batch of {}", cost.batch) };
    let mut basis = if cost.basis == cost.method { String::new() } else { format!(" on {}", cost.basis) };
    if cost.fitted && ![cost.method, cost.basis].contains(&Method::Fitted) {
        basis.push_str(", in part fitted");
    }
    let outside = match cost.outside {
        0 => String::new(),
        1 => "; 1 operator is outside the fitted range".to_owned(),
        count => format!("; {count} operators are outside the fitted range"),
    };
    format!(
        "{} ± {}{factor}{batch} ({}{basis}, grade {}, scope {}{outside})",
        quantity.format(cost.value),
        quantity.format(cost.sigma()),
        cost.method,
        cost.grade,
        cost.scope,
    )
}

/// Where energy is latency times a power: what the budget amounts to.
fn equivalence(header: &SearchHeader, target: &Target, quantity: Measured) -> Option<String> {
    let budget = Joules(header.budget.limit(Quantity::Energy).filter(|_| quantity == Measured::Energy)?);
    Some(format!("{budget} ≡ {} here", target.latency_equivalent(budget)?))
}

fn search_words(report: &SearchReport) -> String {
    let resolutions: Vec<String> = report.resolutions.iter().map(u32::to_string).collect();
    let all = if report.exhaustive { ", which is every subnet that fits" } else { "" };
    format!(
        "{} evaluations, all distinct{all}, in {:.1} s; resolutions {}, seed {}",
        report.evaluations,
        report.seconds,
        resolutions.join(", "),
        report.header.seed,
    )
}

/// What a front is drawn along: the cost that it was asked for by.
fn across(report: &SearchReport) -> Option<Quantity> {
    let along = report.header.objectives.iter().find_map(|objective| match objective {
        Objective::Cost(quantity) => Some(*quantity),
        _ => None,
    });
    report.grid_step.map(|(quantity, _)| quantity).or(along)
}

fn print_front(report: &SearchReport, output: &mut Output) -> Result<()> {
    let known = |quantity: Quantity| match quantity {
        Quantity::Flash | Quantity::PeakMemory => {
            report.header.budget.limit(quantity).is_some()
                || report.header.objectives.contains(&Objective::Cost(quantity))
        }
        _ => report.found.first().is_some_and(|found| found.cost.value(quantity).is_some()),
    };
    let quantities: Vec<Quantity> = Quantity::ALL.into_iter().filter(|quantity| known(*quantity)).collect();
    let exact = report.grid_step.is_some();
    let mut header = vec!["top-1"];
    header.extend(exact.then_some("at most"));
    header.extend(quantities.iter().map(|quantity| quantity.name()));
    header.push("resolution");
    let row = |found: &FoundSubnet| {
        let cost = |quantity: &Quantity| quantity.format(found.cost.value(*quantity).unwrap_or(f64::NAN));
        let mut row = vec![percent(found.top1)];
        row.extend(found.additive.filter(|_| exact).map(|part| percent(part.bound)));
        row.extend(quantities.iter().map(cost));
        row.push(format!("{} px", found.arch.resolution()));
        row
    };
    let count = report.found.len();
    let places = (0..SHOWN.min(count)).map(|place| place * (count - 1) / (SHOWN.min(count) - 1).max(1));
    output.table(&header, places.map(|place| row(&report.found[place])).collect())?;
    if let Some(quantity) = across(report).filter(|quantity| quantities.contains(quantity)) {
        output.line("")?;
        let cost = |found: &FoundSubnet| found.cost.value(quantity).unwrap_or(f64::NAN);
        let points: Vec<(f64, f64)> = report.found.iter().map(|found| (cost(found), found.top1)).collect();
        let across = Axis { name: quantity.name(), write: &|value| quantity.format(value) };
        let drawn = scatter(&points, &across, &Axis { name: "top-1", write: &percent });
        drawn.iter().try_for_each(|line| output.line(line))?;
    }
    let all = if count > SHOWN {
        format!("{SHOWN} of the {count} subnets of the front; --format json prints all. ")
    } else {
        String::new()
    };
    let volume = report.front.as_ref().and_then(|front| front.hypervolume);
    let volume = volume.map_or_else(String::new, |volume| format!("; hypervolume {volume:.6}"));
    output.say(format!("{all}Predicted top-1, {}{volume}", task(&report.header)));
    if output.is_verbose() {
        output.say(search_words(report));
    }
    if let Some((quantity, step)) = report.grid_step {
        output.say(format!(
            "certified: no subnet of that {} has a higher prediction than `at most` says; costs counted in steps of {}",
            quantity.name(),
            quantity.format(step)
        ));
    }
    Ok(())
}
