//! A run for each point of a sweep.
//!
//! Parameters are what was asked: `target`, `bundle`, `space`, `predictor`, `budget` and each ceiling in numbers, `method`,
//! `seed`. Numbers are called, and mean, what they do in `sweep.parquet`. A point whose budget nothing fits ended like any
//! other, since that is a result; its tag `ofa.status` says `infeasible`.

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::report::tracking::run::{Experiment, Row, Run, Status, name_of, written};
use crate::stages::network::NetworkResult;
use crate::sweep::folder::{self, SweepFolder};
use crate::sweep::networks;
use crate::sweep::plan::SweepPlan;
use crate::sweep::point::Method;
use crate::sweep::table::{self, LIMITS, NUMBERS};

/// The runs of the sweep in `folder`, as far as it is computed.
///
/// # Errors
/// A folder that cannot be read.
pub fn of_sweep(plan: &SweepPlan, folder: &SweepFolder) -> Result<Experiment> {
    let name = name_of(folder.path());
    let rows = table::rows(plan, folder)?;
    let (networks, _) = networks::results(plan, folder, &rows)?;
    let runs = rows.iter().map(|row| run(&name, row, networks.get(&row.number), folder)).collect();
    Ok(Experiment { name, runs })
}

fn run(experiment: &str, row: &table::Row<'_>, network: Option<&NetworkResult>, folder: &SweepFolder) -> Run {
    let (point, record, key) = (&row.planned.point, &row.record, &row.planned.key);
    let words = point.to_string();
    let mut run = Run::new(experiment, &words, &["point", key, &words]);
    run.status = if record.status == folder::Status::Failed { Status::Failed } else { Status::Finished };
    run.ended = written(&folder.path_of(key));
    run.started = run.ended.saturating_sub((record.seconds * 1000.0).round() as u64);
    run.set(&json!({
        "target": point.target, "bundle": row.bundle(), "space": row.space(), "predictor": point.predictor,
        "budget": point.budget.to_string(), "method": point.method.name(), "seed": point.seed,
        "is_baseline": matches!(point.method, Method::Baseline(_)),
    }));
    let limit = |(quantity, name): (_, &str)| {
        let limit = row.planned.budget.limit(quantity)? * quantity.json_scale();
        Some((format!("{name}_limit"), Value::from(limit)))
    };
    run.set(&LIMITS.into_iter().filter_map(limit).collect::<Map<_, _>>().into());
    let mut numbers: Map<String, Value> =
        NUMBERS.iter().map(|(name, path)| ((*name).to_owned(), row.number_at(path).into())).collect();
    numbers.insert("seconds".to_owned(), record.seconds.into());
    let tags = [
        ("ofa.status", record.status.name().to_owned()),
        ("ofa.point", row.number.to_string()),
        ("ofa.key", key.clone()),
    ];
    run.tags.extend(tags.map(|(name, value)| (name.to_owned(), value)));
    if !record.message.is_empty() {
        run.tags.insert("ofa.message".to_owned(), record.message.clone());
    }
    if !record.result["subnet"].is_null() {
        run.tags.insert("ofa.subnet".to_owned(), record.result["subnet"].to_string());
    }
    if let Some(network) = network {
        numbers.insert("measured_top1".to_owned(), network.measured.top1.into());
        numbers.insert("measured_top1_std".to_owned(), network.measured.std_error.into());
        for (quantity, name) in LIMITS {
            let after = network.refined["costs"][quantity.json_key()]["after"].clone();
            numbers.insert(format!("refined_{name}"), after);
        }
        run.tags.insert("ofa.network".to_owned(), network.folder.clone());
        run.tags.insert("ofa.part".to_owned(), network.measured.part.clone());
    }
    let mut told = Row::at(0, run.ended);
    told.add("", &numbers.into());
    run.rows.push(told);
    run
}
