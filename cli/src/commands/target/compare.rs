//! `ofa target validate` and `diff`: targets against measurements, and against each other.

use anyhow::Result;
use experiments::error::Error;
use experiments::target as targets;
use experiments::target::agreement::{self, Affine, Agreement, CheckedNetworks, Validation};
use hw_targets::diff::Difference;
use hw_targets::manifest::Correction;
use hw_targets::networks::Networks;
use hw_targets::target::Target;
use network::units::Measured;
use search::space::SearchSpace;
use serde_json::{Value, json};

use super::Replacement;
use crate::output::{Output, percent};

/// How a corrected target is kept.
pub(crate) struct Keep<'a> {
    /// Under which name.
    pub(super) name: &'a str,
    pub(super) replacement: Replacement,
    /// Whether corrections that nobody would expect are wanted.
    pub(super) implausible: bool,
}

pub(crate) fn validate(
    target: &Target,
    networks: &Networks,
    space: Option<&SearchSpace>,
    correct: bool,
    keep: Option<Keep<'_>>,
    output: &mut Output,
) -> Result<()> {
    networks.notes().iter().for_each(|note| output.say(format!("note: {note}")));
    // Whatever their rows hold.
    agreement::same_batch(target, networks)?;
    let networks = CheckedNetworks::new(networks, space)?;
    networks.warnings().iter().for_each(|warning| output.warn(warning));
    let validations = agreement::validate(target, &networks, correct)?;
    // Kept before anything is printed, so that a refused name leaves no half result.
    let kept = keep.map(|keep| keep_corrected(target, keep, &validations, output)).transpose()?;
    for validation in &validations {
        if output.is_json() {
            output.json(&validation_json(target, validation))?;
        } else {
            output.rows(&validation_rows(validation))?;
        }
    }
    for objection in validations.iter().filter_map(Validation::objection) {
        output.warn(objection);
    }
    for note in validations.iter().filter_map(|validation| known_networks(target, validation.quantity)) {
        output.say(note);
    }
    for validation in validations.iter().filter(|validation| correct && validation.corrected.is_none()) {
        output.say(format!(
            "note: no correction of {}: it takes four networks whose computed costs differ, and costs that grow with them",
            validation.quantity
        ));
    }
    let Some(kept) = kept else { return Ok(()) };
    output.say(format!("target {} is kept with the correction", kept.name()));
    output.next(&super::front_of(&kept, None))
}

/// What to know where networks stand behind the answers already: they may be the ones that are compared.
fn known_networks(target: &Target, quantity: Measured) -> Option<String> {
    let entry = target.manifest().entry(quantity)?;
    let fit = entry.network_fit.as_ref().map(|fit| (fit.networks, fit.loo_mape));
    let fit = fit.or(entry.per_mac.as_ref().map(|fit| (fit.left_out.len(), fit.loo_mape)));
    let fit = fit.map(|(networks, error)| ("fitted to", networks, error));
    let correction = entry.correction.map(|correction| ("corrected on", correction.networks, correction.mape));
    let said = |(how, networks, error): (&str, usize, f64)| {
        format!("{how} {networks} networks (each judged without itself: {} off in the mean)", percent(error))
    };
    let known: Vec<String> = fit.into_iter().chain(correction).map(said).collect();
    (!known.is_empty()).then(|| {
        let (name, known) = (target.name(), known.join(" and "));
        format!("note: {name}'s {quantity} was {known}; how it agrees with these says nothing of others")
    })
}

fn keep_corrected(
    target: &Target,
    Keep { name, replacement, implausible }: Keep<'_>,
    validations: &[Validation],
    output: &Output,
) -> Result<Target, Error> {
    if let Some(problem) = validations.iter().find_map(Validation::objection).filter(|_| !implausible) {
        return Err(Error::NotKept { problem });
    }
    let corrections: Vec<(Measured, Correction)> = validations.iter().filter_map(stored).collect();
    if corrections.is_empty() {
        return Err(Error::NoCorrection);
    }
    let kept = targets::keep::keep_corrected(target, name, &corrections, replacement.existing)?;
    replacement.say(output);
    Ok(kept)
}

fn stored(validation: &Validation) -> Option<(Measured, Correction)> {
    let (line, judged) = validation.corrected?;
    let (scale, offset) = (line.scale, line.offset * validation.quantity.json_scale());
    let correction = Correction { scale, offset, networks: validation.networks, mape: judged.mape };
    Some((validation.quantity, correction))
}

fn agreement_json(quantity: Measured, agreement: &Agreement) -> Value {
    json!({
        "mape": agreement.mape,
        "bias": agreement.bias,
        "max_error": agreement.max_error * quantity.json_scale(),
        "within_5": agreement.within_5,
        "within_10": agreement.within_10,
        "spearman": agreement.spearman,
        "kendall": agreement.kendall,
    })
}

fn validation_json(target: &Target, validation: &Validation) -> Value {
    let quantity = validation.quantity;
    let mut value = agreement_json(quantity, &validation.as_is);
    value["target"] = target.name().into();
    value["quantity"] = quantity.json_key().into();
    value["networks"] = validation.networks.into();
    if let Some((Affine { scale, offset }, judged)) = &validation.corrected {
        let mut corrected = agreement_json(quantity, judged);
        corrected["scale"] = (*scale).into();
        corrected["offset"] = (offset * quantity.json_scale()).into();
        value["corrected"] = corrected;
    }
    value
}

fn validation_rows(validation: &Validation) -> Vec<(String, String)> {
    let quantity = validation.quantity;
    let rank = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let said = |agreement: &Agreement| {
        vec![
            format!("MAPE {}, bias {}", percent(agreement.mape), percent(agreement.bias)),
            format!("within 5 %: {}, within 10 %: {}", percent(agreement.within_5), percent(agreement.within_10)),
            format!("Spearman {}, Kendall {}", rank(agreement.spearman), rank(agreement.kendall)),
            format!("largest error {}", quantity.format(agreement.max_error)),
        ]
    };
    let mut rows = vec![(quantity.name().to_owned(), format!("{} measured networks", validation.networks))];
    rows.extend(said(&validation.as_is).into_iter().map(|words| (String::new(), words)));
    if let Some((Affine { scale, offset }, judged)) = &validation.corrected {
        let (sign, offset) = (if *offset < 0.0 { "−" } else { "+" }, quantity.format(offset.abs()));
        rows.push((
            "corrected".to_owned(),
            format!("measured ≈ {scale:.4} × computed {sign} {offset}, each network judged without itself"),
        ));
        rows.extend(said(judged).into_iter().map(|words| (String::new(), words)));
    }
    rows
}

pub(crate) fn diff(a: &Target, b: &Target, space: Option<&SearchSpace>, output: &mut Output) -> Result<()> {
    for difference in targets::diff::diff(a, b, space)? {
        if difference.scopes.0 != difference.scopes.1 {
            let (first, second) = difference.scopes;
            output.say(format!(
                "note: {} has scope {first} on {} and {second} on {}",
                difference.quantity,
                a.name(),
                b.name()
            ));
        }
        if output.is_json() {
            output.json(&difference_json(a, b, &difference))?;
        } else {
            output.rows(&difference_rows(a, b, &difference))?;
        }
    }
    Ok(())
}

fn difference_json(a: &Target, b: &Target, difference: &Difference) -> Value {
    let quantity = difference.quantity;
    let largest = difference.largest.iter().map(|pair| {
        let scale = quantity.json_scale();
        let mut value =
            json!({"operator": pair.op.to_string(), "a": pair.a * scale, "b": pair.b * scale, "ratio": pair.ratio()});
        if pair.resolution > 0 {
            value["resolution"] = pair.resolution.into();
        }
        value
    });
    json!({
        "a": a.name(),
        "b": b.name(),
        "quantity": quantity.json_key(),
        "scopes": [difference.scopes.0.name(), difference.scopes.1.name()],
        "operators": difference.shared,
        "only_a": difference.alone.0,
        "only_b": difference.alone.1,
        "median_ratio": difference.median,
        "ratio_p10": difference.tenths.0,
        "ratio_p90": difference.tenths.1,
        "log_spread": difference.log_spread,
        "largest": largest.collect::<Vec<_>>(),
    })
}

fn difference_rows(a: &Target, b: &Target, difference: &Difference) -> Vec<(String, String)> {
    let (shared, (only_a, only_b)) = (difference.shared, difference.alone);
    let quantity = difference.quantity;
    let mut rows = vec![
        (
            quantity.name().to_owned(),
            format!("{shared} operators both know; {only_a} only {}, {only_b} only {}", a.name(), b.name()),
        ),
        (
            format!("{} / {}", b.name(), a.name()),
            format!(
                "median {:.3}, 80 % from {:.3} to {:.3}, spread ×/÷ {:.3}",
                difference.median,
                difference.tenths.0,
                difference.tenths.1,
                difference.log_spread.exp()
            ),
        ),
    ];
    rows.extend(difference.largest.iter().map(|pair| {
        let (a, b) = (quantity.format(pair.a), quantity.format(pair.b));
        let network = if pair.resolution > 0 { format!(" at {} px", pair.resolution) } else { String::new() };
        (format!("ratio {:.3}", pair.ratio()), format!("{}{network}: {a} and {b}", pair.op))
    }));
    rows
}
