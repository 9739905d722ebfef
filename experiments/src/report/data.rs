//! What a report shows, as JSON: the points of sweeps, what their subnets look like, where their cost goes, and where every
//! number of a device comes from.

use std::collections::BTreeMap;

use hw_targets::target::Target;
use network::op::Op;
use network::units::Measured;
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::sweep::folder::SweepFolder;
use crate::sweep::networks;
use crate::sweep::plan::SweepPlan;
use crate::sweep::table::{self, NUMBERS, Row};

/// The data of a report on `sweeps`, each with its folder.
///
/// # Errors
/// A folder that cannot be read, a target that does not cover what was found on it.
pub fn of_sweeps(sweeps: &[(SweepPlan, SweepFolder)]) -> Result<Value> {
    let sweeps: Vec<(&SweepPlan, &SweepFolder)> = sweeps.iter().map(|(plan, folder)| (plan, folder)).collect();
    of_plans(&sweeps)
}

/// The same of sweeps that belong to others.
///
/// # Errors
/// As [`of_sweeps`].
pub fn of_plans(sweeps: &[(&SweepPlan, &SweepFolder)]) -> Result<Value> {
    let (mut points, mut targets, mut subnets) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (number, (plan, folder)) in sweeps.iter().enumerate() {
        let rows = table::rows(plan, folder)?;
        let (networks, _) = networks::results(plan, folder, &rows)?;
        for row in rows {
            let ground = &plan.grounds[row.planned.ground];
            let name = ground.target.name().to_owned();
            targets.entry(name.clone()).or_insert_with(|| target_json(&ground.target));
            let subnet = match &row.record.result["subnet"] {
                Value::Null => Value::Null,
                subnet => {
                    let key = format!("{name} {subnet}");
                    if !subnets.contains_key(&key) {
                        let arch = ground.inputs.space.parse(&ArchFile::from_value(subnet.clone())?)?;
                        subnets.insert(key.clone(), subnet_json(&ground.inputs.space, &ground.target, &arch, subnet)?);
                    }
                    key.into()
                }
            };
            let mut point = point_json(number, &row, &name, subnet);
            if let Some(network) = networks.get(&row.number) {
                point["network"] = network.folder.as_str().into();
                point["measured_top1"] = network.measured.top1.into();
                point["measured_top1_std"] = network.measured.std_error.into();
                point["measured_part"] = network.measured.part.as_str().into();
            }
            points.push(point);
        }
    }
    let names: Vec<&str> = sweeps.iter().map(|(plan, _)| plan.name.as_str()).collect();
    Ok(json!({
        "sweeps": names, "points": points, "targets": targets, "subnets": subnets, "folders": [],
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

fn point_json(sweep: usize, row: &Row<'_>, target: &str, subnet: Value) -> Value {
    let point = &row.planned.point;
    let mut object = Map::from_iter([
        ("sweep".to_owned(), sweep.into()),
        ("point".to_owned(), row.number.into()),
        ("target".to_owned(), target.into()),
        ("bundle".to_owned(), row.bundle().into()),
        ("predictor".to_owned(), point.predictor.clone().into()),
        ("budget".to_owned(), point.budget.to_string().into()),
        ("method".to_owned(), point.method.name().into()),
        ("seed".to_owned(), point.seed.into()),
        ("status".to_owned(), row.record.status.name().into()),
        ("message".to_owned(), row.record.message.clone().into()),
        ("subnet".to_owned(), subnet),
    ]);
    object.extend(NUMBERS.iter().map(|(name, path)| ((*name).to_owned(), row.number_at(path).into())));
    object.into()
}

/// Where a device's numbers come from.
fn target_json(target: &Target) -> Value {
    let manifest = target.manifest();
    let answers: Map<String, Value> = Measured::ALL
        .into_iter()
        .filter_map(|quantity| {
            let (method, scope, grade) = target.provenance(quantity)?;
            let words = target.explanation(quantity).unwrap_or_default();
            let answer = json!({"method": method.name(), "scope": scope.name(), "grade": grade.name(), "words": words});
            Some((quantity.name().to_owned(), answer))
        })
        .collect();
    json!({
        "device": manifest.device, "source": manifest.source, "licence": manifest.licence, "answers": answers,
        "notes": target.notes(),
    })
}

/// A subnet's blocks, and what each costs.
fn subnet_json(space: &SearchSpace, target: &Target, arch: &ArchSpec, subnet: &Value) -> Result<Value> {
    let workload = space.lower(arch);
    let (mut blocks, mut heads) = (0, 0);
    let names: Vec<String> = workload
        .ops
        .iter()
        .enumerate()
        .map(|(at, op)| match op {
            Op::Pool(_) => "pool".to_owned(),
            Op::InvertedBottleneck(_) => {
                blocks += 1;
                format!("block {blocks}")
            }
            _ if at == 0 => "stem".to_owned(),
            _ if at + 1 == workload.ops.len() => "classifier".to_owned(),
            _ => {
                heads += 1;
                format!("head {heads}")
            }
        })
        .collect();
    let mut costs = Map::new();
    for quantity in Measured::ALL {
        if !target.knows(quantity.into()) {
            continue;
        }
        // What one operator costs is known where operators are what was measured or fitted.
        let of = workload.ops.iter().map(|op| target.cost_in(quantity, op, workload.resolution).map(|cost| cost.value));
        if let Ok(values) = of.collect::<std::result::Result<Vec<f64>, _>>() {
            let scale = quantity.quantity().json_scale();
            costs.insert(quantity.quantity().json_key().to_owned(), values.iter().map(|value| value * scale).collect());
        }
    }
    let macs: Vec<u64> = workload.ops.iter().map(|op| op.macs().0).collect();
    Ok(json!({"json": subnet, "operators": names, "macs": macs, "costs": costs}))
}
