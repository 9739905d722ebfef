//! `ofa target fit`: models fitted to a target's table of operators, or to networks measured whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use hw_targets::manifest::{FittedEntry, Manifest, NetworkFitEntry, QuantityEntry};
use hw_targets::model::fitted::is_plain_block;
use hw_targets::model::limited::{DEFAULT_EXTRAPOLATION, LimitedModel};
use hw_targets::model::{CostModel, FittedModel, NetworkFit, TableModel, difference_of_sums};
use hw_targets::networks::Networks;
use hw_targets::own::Existing;
use hw_targets::table::measured;
use hw_targets::table::{OpKey, OpTable};
use hw_targets::table_op::TableOp;
use hw_targets::target::Target;
use network::op::Workload;
use network::units::Measured;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::space::SearchSpace;

use crate::error::{Error, Result, Within};
use crate::target::agreement::{CheckedNetworks, one_number_error, uninformative};
use crate::target::keep::library_for;
use crate::target::work_list::operators;

/// Random networks that sums are compared on.
const NETWORKS: usize = 1000;
/// The models made here do not decide it: the target that keeps them states the error common to all its answers.
const COMMON_REL: f64 = 0.0;
/// What a table or a file of networks may measure.
const QUANTITIES: [Measured; 2] = [Measured::Latency, Measured::Energy];

/// What is asked of a fit to operators.
#[derive(Clone, Copy, Debug, Default)]
pub struct FitWishes<'a> {
    /// The space whose networks and operators the model is judged on.
    pub space: Option<&'a SearchSpace>,
    /// The target whose terms stand in for those that the table never exercised.
    pub transfer: Option<&'a Target>,
    /// Doublings outside the ranges up to which the model answers; [`DEFAULT_EXTRAPOLATION`] if not given.
    pub extrapolation: Option<f64>,
}

/// A model of one quantity fitted to a table.
#[derive(Clone, Debug)]
pub struct OperatorFit {
    /// The quantity.
    pub quantity: Measured,
    /// The model.
    pub model: FittedModel,
    /// Doublings outside its ranges up to which it answers.
    pub limit: f64,
    /// How its sums agree with the table's, where a space was given and the table covers networks of it wholly.
    pub sums: Option<Sums>,
    /// What of a space it answers for, where one was given.
    pub coverage: Option<Coverage>,
    stated_limit: Option<f64>,
}

/// Sums over the fit against sums over the table, on random networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Networks that the table covers wholly, of 1000 random ones.
    pub networks: usize,
    /// Mean absolute relative difference.
    pub mape: f64,
}

/// Who answers for the distinct operators of a space; where a table tells network resolutions apart, an operator counts
/// once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Distinct operators of the space.
    pub operators: usize,
    /// Those the table has.
    pub measured: usize,
    /// Those the table lacks and the model answers for within its range.
    pub inside: usize,
    /// Those the table lacks and the model answers for outside of its range, or with transferred terms.
    pub outside: usize,
    /// Those the table lacks and that are so far outside that the model refuses them.
    pub refused: usize,
    /// Those that neither the table nor the model has anything to say about.
    pub uncovered: usize,
}

/// Fits every quantity that the target's table has.
///
/// # Errors
/// [`Error::NoTable`]; [`hw_targets::error::HwError::NoFit`] for a table without blocks or with too few, with what is
/// missing;
/// [`Error::NothingToTransfer`].
pub fn fit_operators(target: &Target, wishes: FitWishes<'_>) -> Result<Vec<OperatorFit>> {
    let name = || target.name().to_owned();
    let table = target.table().ok_or_else(|| Error::NoTable { target: name() })?;
    let fit = |quantity| -> Result<OperatorFit> {
        let rows = measured(table, quantity, |_| true);
        let mut model = FittedModel::fit(&rows, COMMON_REL)?;
        if let Some(other) = wishes.transfer {
            transfer(&mut model, quantity, other, &rows)?;
        }
        let limit = wishes.extrapolation.unwrap_or(DEFAULT_EXTRAPOLATION);
        let (mut sums, mut coverage) = (None, None);
        if let Some(space) = wishes.space {
            let exact = TableModel::new(Arc::new(table.clone()), quantity, COMMON_REL);
            sums = compare_sums(table, &exact, &model, space)?;
            coverage = Some(cover(table, &exact, &model, limit, space)?);
        }
        Ok(OperatorFit { quantity, model, limit, sums, coverage, stated_limit: wishes.extrapolation })
    };
    let known = QUANTITIES.into_iter().filter(|quantity| table.has(*quantity));
    known.map(|quantity| fit(quantity).within(|| format!("the {quantity} of {}", name()))).collect()
}

/// An energy takes its terms from the other target's energy, or else from its latency: the ratio of the two on plain
/// blocks bridges that as it bridges the devices. The blocks are those of the other target's table, whose shapes its
/// model knows best; where it has none, as the shipped targets, those of the table fitted to.
fn transfer(model: &mut FittedModel, quantity: Measured, other: &Target, rows: &[(TableOp, f64)]) -> Result<()> {
    let of_other = other.fitted_model(quantity).or_else(|| other.fitted_model(Measured::Latency));
    let of_other = of_other.ok_or_else(|| Error::NothingToTransfer { target: other.name().to_owned() })?;
    let theirs = other.table().into_iter().flat_map(|table| table.rows()).map(|row| *row.key.op());
    let mut plain: Vec<TableOp> = theirs.filter(is_plain_block).collect();
    if plain.is_empty() {
        plain = rows.iter().map(|(op, _)| *op).filter(is_plain_block).collect();
    }
    Ok(model.transfer_from(of_other, other.name(), &plain)?)
}

/// Networks are drawn at the resolutions that the table knows; `None` if it covers none of them.
fn compare_sums(table: &OpTable, exact: &TableModel, model: &FittedModel, space: &SearchSpace) -> Result<Option<Sums>> {
    let known = table.network_resolutions();
    let knows = |resolution: &u32| known.as_ref().is_none_or(|known| known.contains(resolution));
    let resolutions: Vec<u32> = space.resolutions().iter().copied().filter(knows).collect();
    if resolutions.is_empty() {
        return Ok(None);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let drawn = (0..NETWORKS).map(|at| space.lower(&space.sample_at(resolutions[at % resolutions.len()], &mut rng)));
    let (networks, mape) = difference_of_sums(exact, model, drawn);
    Ok((networks > 0).then_some(Sums { networks, mape }))
}

fn cover(
    table: &OpTable,
    exact: &TableModel,
    model: &FittedModel,
    limit: f64,
    space: &SearchSpace,
) -> Result<Coverage> {
    let apart = table.network_resolutions().is_some();
    let distinct = |(op, resolution): (TableOp, u32)| (*OpKey::new(&op, None).op(), if apart { resolution } else { 0 });
    let operators: BTreeSet<(TableOp, u32)> = operators(space)?.into_iter().map(distinct).collect();
    let ranges = model.classes.iter().map(|(class, fit)| (*class, fit.range.clone())).collect();
    let limited = LimitedModel { model: Arc::new(model.clone()), ranges, limit };
    let mut coverage = Coverage { operators: operators.len(), ..Coverage::default() };
    for (row, resolution) in &operators {
        let op = &row.op();
        let who = match (exact.cost(op, *resolution), limited.cost(op, *resolution)) {
            (Ok(_), _) => &mut coverage.measured,
            (Err(_), Ok(estimate)) if estimate.outside => &mut coverage.outside,
            (Err(_), Ok(_)) => &mut coverage.inside,
            (Err(_), Err(_)) if model.cost(op, *resolution).is_ok() => &mut coverage.refused,
            (Err(_), Err(_)) => &mut coverage.uncovered,
        };
        *who += 1;
    }
    Ok(coverage)
}

/// Keeps `target` with these models as the user's own target `name`: its table answers first.
///
/// # Errors
/// A reserved or impossible name, a folder that cannot be written.
pub fn keep_operators(target: &Target, name: &str, fits: &[OperatorFit], existing: Existing) -> Result<Target> {
    let entry = |fit: &OperatorFit| {
        let mape = fit.sums.map(|sums| sums.mape);
        (fit.quantity, FittedEntry { extrapolation: fit.stated_limit, ..FittedEntry::of(&fit.model, mape) })
    };
    let models: Vec<(Measured, FittedEntry)> = fits.iter().map(entry).collect();
    Ok(library_for(name, existing)?.keep_fitted(target, name, &models)?)
}

/// A model of one quantity fitted to networks measured whole.
#[derive(Clone, Debug)]
pub struct WholeFit {
    /// The quantity.
    pub quantity: Measured,
    /// Cost of a network on top of its operators, in SI units.
    pub constant: f64,
    /// The model as a target's file holds it.
    pub entry: NetworkFitEntry,
    one_number: f64,
    /// The least that a network cost, in SI units.
    least: f64,
}

impl WholeFit {
    /// Why it is none to be kept, if it is none.
    pub fn objection(&self) -> Option<String> {
        let (quantity, error) = (self.quantity, self.entry.loo_mape);
        if error.is_nan() || error > MAX_ERROR {
            return Some(format!("the fitted {quantity} is {:.0} % off in the mean", 100.0 * error));
        }
        if self.constant > ONLY_CONSTANT * self.least {
            return Some(format!(
                "the fitted {quantity} is {} for every network, next to nothing for its operators: it does not grow with them",
                quantity.format(self.constant)
            ));
        }
        uninformative(error, self.one_number).map(|words| format!("the fitted {quantity} {words}"))
    }
}

/// Mean error of a network, at most, where a fit is kept: beyond it the answers say nothing.
const MAX_ERROR: f64 = 0.5;
/// Part of what the cheapest network costs, up to which a constant leaves something to its operators.
const ONLY_CONSTANT: f64 = 0.98;

/// Fits every quantity that the networks have.
///
/// # Errors
/// [`hw_targets::error::HwError::TooFewNetworks`]; [`hw_targets::error::HwError::NoFit`] for operators without a model.
pub fn fit_networks(networks: &CheckedNetworks, extrapolation: Option<f64>) -> Result<Vec<WholeFit>> {
    let distinct = networks.distinct();
    let mut fits = Vec::new();
    for quantity in QUANTITIES {
        let measured: Vec<(Workload, f64)> = distinct
            .iter()
            .filter_map(|network| Some((network.workload.clone(), network.measured(quantity)?)))
            .collect();
        if measured.is_empty() {
            continue;
        }
        let model = NetworkFit::fit(&measured, COMMON_REL)
            .within(|| format!("the {quantity} of {}", networks.file().path().display()))?;
        let entry = NetworkFitEntry { extrapolation, ..NetworkFitEntry::of(&model) };
        let values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
        fits.push(WholeFit {
            quantity,
            constant: model.constant,
            entry,
            one_number: one_number_error(&values),
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
        });
    }
    Ok(fits)
}

/// Makes the user's own target `name` of models fitted to whole networks; its batch is theirs.
///
/// # Errors
/// As [`keep_operators`]; [`Error::NotKept`] for a fit that is off by more than half in the mean, or by as much as one number for all networks.
pub fn keep_networks(networks: &Networks, name: &str, fits: &[WholeFit], existing: Existing) -> Result<Target> {
    if let Some(problem) = fits.iter().find_map(WholeFit::objection) {
        return Err(Error::NotKept { problem });
    }
    let of = |quantity: Measured| fits.iter().find(move |fit| fit.quantity == quantity);
    let constant = |quantity| of(quantity).map(|fit| fit.constant * quantity.json_scale());
    let entry = |quantity: Measured| {
        let WholeFit { entry, .. } = of(quantity)?;
        Some(QuantityEntry {
            explanation: Some(format!(
                "{quantity} fitted to {} networks measured whole ({} {:.1} %)",
                entry.networks,
                NetworkFit::error_name(entry.networks),
                100.0 * entry.loo_mape
            )),
            method: Some("fitted".to_owned()),
            basis: Some("measured".to_owned()),
            network_fit: Some(entry.clone()),
            ..QuantityEntry::default()
        })
    };
    let manifest = Manifest {
        batch: Some(networks.batch()),
        source: Some(networks.path().display().to_string()),
        composition: Some("sum+const".to_owned()),
        const_latency_ms: constant(Measured::Latency),
        const_energy_mj: constant(Measured::Energy),
        latency: entry(Measured::Latency),
        energy: entry(Measured::Energy),
        ..Manifest::default()
    };
    Ok(library_for(name, existing)?.keep_described(name, manifest, None)?)
}
