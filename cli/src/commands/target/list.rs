//! `ofa target list` and `ofa target show`: what there is, and what stands behind its numbers.

use anyhow::Result;
use experiments::target::list::{self as targets, TargetEntry};
use hw_targets::cost::Method;
use hw_targets::library::Origin;
use hw_targets::target::{Standing, Target};
use network::units::{Measured, Quantity};
use serde_json::{Map, Value, json};

use crate::output::Output;

/// What a device has for a network, by the quantity that it limits.
const MEMORIES: [(Quantity, &str); 2] = [(Quantity::PeakMemory, "SRAM"), (Quantity::Flash, "flash")];
/// Columns of a terminal that the list keeps within.
const WIDTH: usize = 160;

/// One row for each quantity of a target that stands on something, and one for its memories.
pub(super) fn list(output: &mut Output) -> Result<()> {
    let entries = targets::list();
    if output.is_json() {
        return entries.iter().try_for_each(|entry| output.json(&entry_json(entry)));
    }
    let header = ["target", "what", "how", "from", "grade", "scope", "left out", "common", "by"];
    let mut rows: Vec<Vec<String>> = entries.iter().flat_map(entry_rows).collect();
    fit_last(&header, &mut rows);
    output.table(&header, rows)?;
    output.say(
        "left out: mean error of a block or network when fitted without it; common: error that all networks share; \
         energies of different scope are not comparable",
    );
    Ok(())
}

/// Cuts the last column so that a row has at most [`WIDTH`] characters.
fn fit_last(header: &[&str], rows: &mut [Vec<String>]) {
    let length = |text: &str| text.chars().count();
    let last = header.len() - 1;
    let widest = |at: usize| rows.iter().map(|row| length(&row[at])).max().unwrap_or(0).max(length(header[at]));
    let others: usize = (0..last).map(|at| widest(at) + 2).sum();
    let room = WIDTH.saturating_sub(others).max(20);
    for cell in rows.iter_mut().filter_map(|row| row.last_mut()).filter(|cell| length(cell) > room) {
        *cell = cell.chars().take(room - 1).chain(['…']).collect();
    }
}

/// Who measured, after the batch that the numbers are for, if it is more than one image: the end of a row may be cut.
fn by(target: &Target, measured_by: &str) -> String {
    match target.batch() {
        1 => measured_by.to_owned(),
        batch => format!("per batch of {batch}; {measured_by}"),
    }
}

fn entry_rows(entry: &TargetEntry) -> Vec<Vec<String>> {
    let name = match entry.origin {
        Origin::Shipped => entry.name.clone(),
        Origin::Own(_) => format!("{} (yours)", entry.name),
    };
    let row = |cells: [String; 8]| [vec![name.clone()], cells.to_vec()].concat();
    let empty = String::new;
    let target = match &entry.state {
        Ok(target) => target,
        Err(error) => {
            let error = format!("cannot be read: {error}");
            return vec![row([empty(), empty(), empty(), empty(), empty(), empty(), empty(), error])];
        }
    };
    let manifest = target.manifest();
    let mut rows: Vec<Vec<String>> = Measured::ALL
        .into_iter()
        .filter_map(|quantity| {
            let standing = target.standing(quantity)?;
            Some(row([
                quantity.name().to_owned(),
                how(&standing),
                from(target, quantity, &standing),
                standing.grade.to_string(),
                standing.scope.to_string(),
                standing.left_out.map_or(empty(), |error| format!("{:.1} %", 100.0 * error)),
                common(&standing),
                by(target, manifest.measured_by(quantity).or(manifest.source.as_deref()).unwrap_or_default()),
            ]))
        })
        .collect();
    let memory = memory_words(target);
    if !memory.is_empty() {
        let by = manifest.source.clone().unwrap_or_default();
        rows.push(row(["memory".to_owned(), memory, empty(), empty(), empty(), empty(), empty(), by]));
    }
    rows
}

/// `fitted on measured`.
fn how(standing: &Standing) -> String {
    match standing.basis {
        basis if basis == standing.method => standing.method.to_string(),
        basis => format!("{} on {basis}", standing.method),
    }
}

/// `72 operators, 7 networks`.
fn from(target: &Target, quantity: Measured, standing: &Standing) -> String {
    let counted =
        |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}{}", if count > 1 { "s" } else { "" }));
    let power = target.derived_power().filter(|_| quantity == Measured::Energy).map(|watts| format!("× {watts} W"));
    let simulated = (standing.method == Method::Simulated && standing.operators == 0).then(|| "accesses".to_owned());
    let parts = [counted(standing.operators, "operator"), counted(standing.networks, "network"), power, simulated];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `30 %, ×/÷ 1.6`.
fn common(standing: &Standing) -> String {
    let factor = standing.factor.map_or(String::new(), |factor| format!(", ×/÷ {factor}"));
    format!("{:.0} %{factor}", 100.0 * standing.common_rel)
}

/// Who measured the whole target: `latency: …; energy: …` where that was not the same.
fn measured_by(target: &Target) -> Option<String> {
    let manifest = target.manifest();
    let of = |quantity: Measured| Some(format!("{quantity}: {}", manifest.entry(quantity)?.measured_by.as_ref()?));
    let each: Vec<String> = [Measured::Latency, Measured::Energy].into_iter().filter_map(of).collect();
    manifest.measured_by.clone().into_iter().chain(each).reduce(|all, next| format!("{all}; {next}"))
}

fn entry_json(entry: &TargetEntry) -> Value {
    let shipped = entry.origin == Origin::Shipped;
    let target = match &entry.state {
        Ok(target) => target,
        Err(error) => return json!({"name": entry.name, "shipped": shipped, "error": error}),
    };
    let manifest = target.manifest();
    let known: Vec<&str> = target.known().into_iter().map(Quantity::name).collect();
    json!({
        "name": entry.name,
        "shipped": shipped,
        "device": manifest.device.as_deref().unwrap_or_default(),
        "knows": known,
        "memory": memory_json(target),
        "answers": answers_json(target),
        "measured_by": measured_by(target),
        "source": manifest.source,
        "commit": manifest.commit,
        "licence": manifest.licence,
    })
}

/// By quantity: how it is answered, from what, and how far it may be off (fractions).
fn answers_json(target: &Target) -> Map<String, Value> {
    let mut answers = Map::new();
    for quantity in Measured::ALL {
        let (Some(standing), Some(words)) = (target.standing(quantity), target.explanation(quantity)) else {
            continue;
        };
        let entry = target.manifest().entry(quantity);
        let correction = entry.and_then(|entry| entry.correction).map(|correction| {
            json!({"networks": correction.networks, "scale": correction.scale, "left_out": correction.mape})
        });
        let mut answer = json!({
            "method": standing.method.name(),
            "basis": standing.basis.name(),
            "scope": standing.scope.name(),
            "grade": standing.grade.name(),
            "explanation": words,
            "operators": standing.operators,
            "networks": standing.networks,
            "left_out": standing.left_out,
            "correction": correction,
            "common_rel": standing.common_rel,
            "factor": standing.factor,
        });
        if target.batch() != 1 {
            answer["batch"] = target.batch().into();
        }
        answers.insert(quantity.name().to_owned(), answer);
    }
    answers
}

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
    let (manifest, measured_by) = (target.manifest(), measured_by(target));
    let fields = [
        ("device", &manifest.device),
        ("system on chip", &manifest.soc),
        ("processing unit", &manifest.processing_unit),
        ("runtime", &manifest.runtime),
        ("runtime version", &manifest.runtime_version),
        ("precision", &manifest.precision),
        ("clock", &manifest.clock),
        ("measured by", &measured_by),
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

pub(super) fn show(target: &Target, output: &mut Output) -> Result<()> {
    let notes: Vec<&String> = target.manifest().notes.iter().chain(target.notes()).collect();
    let bundles: Vec<&str> = target.default_bundles().iter().map(|entry| entry.bundle.as_str()).collect();
    if output.is_json() {
        let facts: Map<String, Value> =
            facts(target).into_iter().map(|(label, value)| (label.replace(' ', "_"), value.into())).collect();
        return output.json(&json!({
            "name": target.name(),
            "facts": facts,
            "answers": answers_json(target),
            "network_resolutions": target.network_resolutions(),
            "derived_power_w": target.derived_power(),
            "memory": memory_json(target),
            "bundles": bundles,
            "notes": notes,
        }));
    }
    let mut rows = vec![("target".to_owned(), target.name().to_owned())];
    rows.extend(facts(target).into_iter().map(|(label, value)| (label.to_owned(), value)));
    for quantity in Measured::ALL {
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
