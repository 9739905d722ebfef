//! `ofa target measure`: a table of the machine at hand.
//!
//! Every operator that a space can produce is run by LibTorch as it would be deployed ([`supernet::network`]) and timed
//! in visits ([`crate::instruments`]); with them, some whole networks, so that it can be said how far sums of operators are
//! from networks. All of it is one job with one order of visits: whatever the machine does meanwhile happens to both.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use hw_targets::cost::{Method, Statistic};
use hw_targets::library::TargetLibrary;
use hw_targets::manifest::{Manifest, TABLE_SCHEMA};
use hw_targets::networks::MeasuredNetwork;
use hw_targets::table::{Measurement, OpKey, OpTable, Row};
use hw_targets::table_op::TableOp;
use network::op::Workload;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::network::Network;
use tch::Device;

use crate::doctor::processor_name;
use crate::error::{Error, Result};
use crate::folders::digest::fnv1a;
use crate::folders::names;
use crate::instruments::counters::counter_of;
use crate::instruments::local::Local;
use crate::instruments::nvml::Nvml;
use crate::instruments::result::{Timing, TimingSettings};
use crate::instruments::scheduler::time_works;
use crate::target::work_list::operators_at;
use crate::torch::{MeasureRequest, MeasuredTarget};
use storage::file::Place;

/// Measures and keeps the table as the user's own target; a measurement that was killed is gone on with. `progress` is
/// told the visits so far, the works settled, and all works.
///
/// # Errors
/// A reserved or impossible name; [`Error::NotOffered`], [`Error::Interrupted`],
/// [`Error::OtherMeasurements`]; files that cannot be written.
pub(crate) fn measure_target(
    job: &MeasureRequest<'_>,
    device: Device,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize, usize),
) -> Result<MeasuredTarget> {
    let library = TargetLibrary::of_user();
    let folder = library.own_folder(job.name)?;
    let timing = TimingSettings { precision: job.precision, seed: job.seed, ..TimingSettings::default() };
    let resolutions = if job.resolutions.is_empty() { job.space.resolutions() } else { &job.resolutions };
    if let Some(&got) = resolutions.iter().find(|resolution| !job.space.resolutions().contains(resolution)) {
        let (space, offered) = (job.space.id().to_string(), job.space.resolutions().to_vec());
        return Err(Error::NotOffered { space, got, offered });
    }
    let operators: BTreeSet<TableOp> =
        operators_at(job.space, resolutions)?.iter().map(|(op, _)| *OpKey::new(op, None).op()).collect();
    let operators: Vec<TableOp> = operators.into_iter().collect();
    let archs = networks(job.space, resolutions, job.networks, job.seed);
    let workloads: Vec<Workload> = archs.iter().map(|arch| job.space.lower(arch)).collect();
    let words = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => format!("CPU, {}", threads(job.threads)),
    };
    let all = operators.len() + workloads.len();
    let header = format!("{all} works of {}: {operators:?} {archs:?} on {words}, {:?}", job.space.id(), timing);
    // The operators by themselves would make a line of many pages.
    let header = format!("{} {words} {:016x}", job.space.id(), fnv1a(header.bytes().map(u64::from)));
    let prepare = |work: usize| {
        let runnable = match operators.get(work) {
            Some(op) => Network::deployed(&[op.op()], device),
            None => Network::deployed(&workloads[work - operators.len()].ops, device),
        };
        let image = runnable.image();
        move || runnable.run(&image)
    };
    let counter = counter_of(device);
    let journal = folder.join(names::MEASURING_JOURNAL);
    let mut told = |visits, settled| progress(visits, settled, all);
    let local = Local { prepare, counter: counter.as_deref() };
    let timings = time_works(all, &local, &timing, (&journal, &header), stop, &mut told)?;
    let (of_operators, of_networks) = timings.split_at(operators.len());
    let scope = counter.as_ref().map(|counter| counter.scope());
    let row = |(at, (op, timing)): (usize, (&TableOp, &Timing))| Row {
        key: OpKey::new(op, None),
        latency: Some(measurement(timing.seconds, Some(timing.std), timing)),
        energy: timing.joules.map(|joules| measurement(joules, None, timing)),
        energy_method: timing.joules.map(|_| Method::Measured),
        energy_scope: scope.filter(|_| timing.joules.is_some()),
        source_key: None,
        place: Place::Row(at as u64 + 1),
    };
    let rows = operators.iter().zip(of_operators).enumerate().map(row).collect();
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_owned(),
        device: match device {
            Device::Cuda(index) => Nvml::name(index),
            _ => Some(processor_name()),
        },
        processing_unit: Some(words),
        runtime: Some("LibTorch, batch norm folded, channels last".to_owned()),
        runtime_version: Some(supernet::device::LIBTORCH_VERSION.to_owned()),
        precision: Some("fp32".to_owned()),
        threads: u32::try_from(job.threads).ok(),
        batch: Some(1),
        measured_by: Some(format!("ofa {} target measure", env!("CARGO_PKG_VERSION"))),
        composition: Some("sum".to_owned()),
        ..Manifest::default()
    };
    let table = OpTable::from_rows(&folder.join(names::TABLE), rows)?;
    let target = library.add_measured(job.name, manifest, table)?;
    let network = |(at, (arch, timing)): (usize, (&ArchSpec, &Timing))| MeasuredNetwork {
        place: Place::Row(at as u64 + 1),
        subnet: job.space.to_subnet_json(arch).to_string(),
        space: Some(job.space.id().to_string()),
        latency: Some(measurement(timing.seconds, Some(timing.std), timing)),
        energy: timing.joules.map(|joules| measurement(joules, None, timing)),
    };
    let networks: Vec<MeasuredNetwork> = archs.iter().zip(of_networks).enumerate().map(network).collect();
    let networks = if networks.is_empty() { None } else { Some(library.add_networks(job.name, networks)?) };
    std::fs::remove_file(&journal).map_err(|source| Error::Write { source })?;
    let unsettled = timings.iter().filter(|timing| !timing.is_settled).count();
    Ok(MeasuredTarget { target, operators: operators.len(), unsettled, networks, folder })
}

fn measurement(value: f64, std: Option<f64>, timing: &Timing) -> Measurement {
    Measurement { std, count: Some(timing.runs), statistic: Some(Statistic::Median), ..Measurement::of(value) }
}

/// `count` distinct random subnets, evenly over the resolutions.
fn networks(space: &SearchSpace, resolutions: &[u32], count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found: Vec<ArchSpec> = Vec::new();
    // A space may have fewer than that.
    for turn in 0..100 * count {
        if found.len() == count {
            break;
        }
        let arch = space.sample_at(resolutions[turn % resolutions.len()], &mut rng);
        if !found.contains(&arch) {
            found.push(arch);
        }
    }
    found
}

fn threads(count: usize) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}
