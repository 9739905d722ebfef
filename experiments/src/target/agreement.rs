//! How well a target's sums agree with networks measured whole, and the affine correction that brings them closest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hw_targets::error::HwError;
use hw_targets::networks::{MeasuredNetwork, Networks};
use hw_targets::samples::{Sample, check_networks};
use hw_targets::target::Target;
use network::op::Workload;
use network::units::{Measured, PerMeasured};
use predictors::rank::{kendall_tau_b, spearman};
use search::arch_file::ArchFile;
use search::error::SearchError;
use search::space::SearchSpace;
use storage::file::Place;

use crate::error::{Error, Result};
use crate::folders::spaces;
use crate::target::cost::value_in;

/// Agreement of computed with measured values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Mean absolute relative error, relative to the measured value.
    pub mape: f64,
    /// Mean relative error: how far the computed values lie above the measured ones.
    pub bias: f64,
    /// Largest absolute error, in SI units.
    pub max_error: f64,
    /// Share of networks within 5 % of the measured value.
    pub within_5: f64,
    /// Share of networks within 10 %.
    pub within_10: f64,
    /// Rank correlation; `None` where it is undefined.
    pub spearman: Option<f64>,
    /// Kendall's τ-b; `None` where it is undefined.
    pub kendall: Option<f64>,
}

/// measured ≈ scale × computed + offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Without unit, above zero.
    pub scale: f64,
    /// In SI units.
    pub offset: f64,
}

impl Affine {
    /// Beyond a factor of ten either way a line bridges units or devices, and corrects nothing.
    const MAX_SCALE: f64 = 10.0;
    /// Mean error that is left, at most, where a correction is kept.
    const MAX_ERROR: f64 = 0.5;
}

/// One quantity of a target against measured networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// The quantity.
    pub quantity: Measured,
    /// Networks that were compared.
    pub networks: usize,
    /// As the target answers.
    pub as_is: Agreement,
    /// The correction fitted to all networks, and the agreement when each network is corrected by a fit to all others;
    /// `None` if it was not asked for, or too few or too equal networks leave it open.
    pub corrected: Option<(Affine, Agreement)>,
    /// Measured over computed in the middle network.
    pub ratio: f64,
    /// Mean absolute relative error of the one number that fits all networks best.
    pub one_number: f64,
}

/// Mean error from which on it matters whether an answer tells networks apart; below it they may be nearly equal.
const TELLING: f64 = 0.02;
/// Part of the error of one number for all networks, that an answer which tells them apart stays under.
const PART_LEFT: f64 = 0.9;

/// What is wrong with answers that are `error` off in the mean where one number for all is `one_number` off.
pub(crate) fn uninformative(error: f64, one_number: f64) -> Option<String> {
    (error > TELLING && error > PART_LEFT * one_number).then(|| {
        format!(
            "is {:.0} % off in the mean, and one number for all networks {:.0} %: do the rows belong to these networks, \
             and to one device?",
            100.0 * error,
            100.0 * one_number
        )
    })
}

/// Mean absolute relative error of the number that fits all of `values` best.
pub(crate) fn one_number_error(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The median weighted by 1/value minimises relative errors.
    let half = sorted.iter().map(|value| 1.0 / value).sum::<f64>() / 2.0;
    let mut weight = 0.0;
    let best = sorted.iter().find(|value| {
        weight += 1.0 / **value;
        weight >= half
    });
    let Some(best) = best else { return 0.0 };
    sorted.iter().map(|value| (best - value).abs() / value).sum::<f64>() / sorted.len() as f64
}

impl Validation {
    /// Why the correction is none to be kept, if it is none.
    pub fn objection(&self) -> Option<String> {
        let (line, judged) = self.corrected?;
        let far = [line.scale, self.ratio].into_iter().find(|factor| factor.max(1.0 / factor) > Affine::MAX_SCALE);
        if let Some(factor) = far {
            let unit = self.quantity.column();
            let words = "more than a correction is for: is it another device, or is";
            return Some(format!(
                "measured {} is {factor:.5} × computed, {words} {unit} in another unit?",
                self.quantity
            ));
        }
        let error = judged.mape;
        if error > Affine::MAX_ERROR {
            return Some(format!("corrected {} is still {:.0} % off in the mean", self.quantity, 100.0 * error));
        }
        uninformative(error, self.one_number).map(|words| format!("corrected {} {words}", self.quantity))
    }
}

/// Measured networks looked over: what is wrong with them as a whole has been refused.
#[derive(Clone, Debug)]
pub struct CheckedNetworks<'a> {
    file: &'a Networks,
    distinct: Vec<DistinctNetwork>,
    warnings: Vec<String>,
}

impl<'a> CheckedNetworks<'a> {
    /// The networks of `file`. They are of `space`; without it, of the space that each row names.
    ///
    /// # Errors
    /// A row without a space or of a network that is none of it, with its line; values that cannot be what they claim
    /// to be.
    pub fn new(file: &'a Networks, space: Option<&SearchSpace>) -> Result<Self> {
        let workloads = workloads(file, space)?;
        let samples: Vec<Sample> = workloads.iter().zip(file.rows()).map(sample).collect();
        let mut warnings = [check_networks(&samples, file.path())?, file.warnings().to_vec()].concat();
        let distinct = distinct(file, workloads);
        for quantity in Measured::ALL {
            warnings.extend(repeats(&distinct, file, quantity)?);
        }
        Ok(Self { file, distinct, warnings })
    }

    /// The file they were read from.
    pub fn file(&self) -> &Networks {
        self.file
    }

    /// The different networks, in order of appearance.
    pub fn distinct(&self) -> &[DistinctNetwork] {
        &self.distinct
    }

    /// What is odd about them, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn sample((workload, row): (&Workload, &MeasuredNetwork)) -> Sample {
    let value = |quantity| row.measurement(quantity).map(|measured| measured.value);
    Sample {
        place: row.place,
        words: format!("a network of {} MACs", workload.macs().0),
        work: workload.macs().0 as f64,
        latency: value(Measured::Latency),
        energy: value(Measured::Energy),
        energy_method: None,
    }
}

/// Factor between two measurements of one network beyond which they are not of one device under one set of conditions.
const REPEATS_APART: f64 = 2.0;
/// Difference between them that is worth a word.
const REPEATS_DIFFER: f64 = 0.1;

/// A sentence about networks that were measured several times, if their values differ.
///
/// # Errors
/// [`HwError::Defect`] for values too far apart.
fn repeats(distinct: &[DistinctNetwork], file: &Networks, quantity: Measured) -> Result<Option<String>> {
    let (mut differ, mut worst): (usize, Option<(f64, String)>) = (0, None);
    for network in distinct {
        let mut values = network.measured[quantity].clone();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let [(least, here), .., (most, there)] = values.as_slice() else { continue };
        let factor = most / least;
        if factor <= 1.0 + REPEATS_DIFFER {
            continue;
        }
        let (least, most) = (quantity.format(*least), quantity.format(*most));
        let words = format!("{least} in {here} and {most} in {there}");
        if factor > REPEATS_APART {
            let problem = format!("the {quantity} of one network is {words}: that is not one device in one state");
            let path = file.path().to_path_buf();
            let op = format!("a network of {} MACs", network.workload.macs().0);
            return Err(HwError::Defect { path, place: *there, op, problem }.into());
        }
        differ += 1;
        if worst.as_ref().is_none_or(|(largest, _)| factor > *largest) {
            worst = Some((factor, words));
        }
    }
    Ok(worst.map(|(_, words)| {
        format!("the {quantity} of {differ} networks differs between rows, whose mean counts: {words}")
    }))
}

/// Refuses networks measured in batches of another size than `target` answers for.
///
/// # Errors
/// [`Error::OtherBatch`].
pub fn same_batch(target: &Target, networks: &Networks) -> Result<()> {
    let (answers, measured) = (target.manifest().batch.unwrap_or(1), networks.batch());
    if answers == measured {
        return Ok(());
    }
    Err(Error::OtherBatch { path: networks.path().to_path_buf(), measured, target: answers })
}

/// Compares `target` with every quantity that both it and `networks` know.
///
/// # Errors
/// An operator that the target lacks; another batch size; nothing to compare.
pub fn validate(target: &Target, networks: &CheckedNetworks, correct: bool) -> Result<Vec<Validation>> {
    let file = networks.file();
    same_batch(target, file)?;
    let mut validations = Vec::new();
    for quantity in [Measured::Latency, Measured::Energy].into_iter().filter(|known| target.knows(known.quantity())) {
        let (mut computed, mut measured) = (Vec::new(), Vec::new());
        for network in networks.distinct() {
            let Some(value) = network.measured(quantity) else { continue };
            computed.push(value_in(target, quantity, &network.workload)?.value);
            measured.push(value);
        }
        if measured.is_empty() {
            continue;
        }
        let corrected = if correct { correction(&computed, &measured) } else { None };
        validations.push(Validation {
            quantity,
            networks: measured.len(),
            as_is: Agreement::of(&computed, &measured),
            corrected,
            ratio: middle_ratio(&computed, &measured),
            one_number: one_number_error(&measured),
        });
    }
    if validations.is_empty() {
        return Err(Error::NothingMeasured { path: file.path().to_path_buf() });
    }
    Ok(validations)
}

/// A network with what was measured of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctNetwork {
    /// The network as operators.
    pub workload: Workload,
    /// Everything that was measured, in seconds and joules, with where it stands.
    measured: PerMeasured<Vec<(f64, Place)>>,
}

impl DistinctNetwork {
    /// Mean of what was measured in `quantity`, in SI units.
    pub fn measured(&self, quantity: Measured) -> Option<f64> {
        let values = &self.measured[quantity];
        (!values.is_empty()).then(|| values.iter().map(|(value, _)| value).sum::<f64>() / values.len() as f64)
    }
}

/// The different networks of a file, in order of appearance: one that was measured again counts once, with the mean, or
/// leaving it out would leave it in.
fn distinct(networks: &Networks, workloads: Vec<Workload>) -> Vec<DistinctNetwork> {
    let mut places: HashMap<Workload, usize> = HashMap::new();
    let mut distinct: Vec<DistinctNetwork> = Vec::new();
    for (workload, row) in workloads.into_iter().zip(networks.rows()) {
        let place = *places.entry(workload).or_insert_with_key(|workload| {
            let workload = workload.clone();
            distinct.push(DistinctNetwork { workload, measured: PerMeasured::default() });
            distinct.len() - 1
        });
        for quantity in Measured::ALL {
            distinct[place].measured[quantity]
                .extend(row.measurement(quantity).map(|measured| (measured.value, row.place)));
        }
    }
    distinct
}

/// The networks of a file as operators, in its order. They are of `space`; without it, of the space that each row names.
///
/// # Errors
/// A row without a space or of a network that is none of it, with its line.
fn workloads(networks: &Networks, space: Option<&SearchSpace>) -> Result<Vec<Workload>> {
    let mut known: HashMap<String, SearchSpace> = HashMap::new();
    let mut workloads = Vec::with_capacity(networks.rows().len());
    for row in networks.rows() {
        let at = |problem: SearchError| Error::in_file(networks.path(), problem.at(row.place.to_string()));
        let file = ArchFile::from_json(&row.subnet).map_err(at)?;
        let space = match (space, row.space.as_deref().or(file.space())) {
            (Some(space), _) => space,
            (None, Some(name)) => match known.entry(name.to_owned()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(spaces::find(name)?),
            },
            (None, None) => {
                let (path, place) = (networks.path().to_path_buf(), row.place.to_string());
                return Err(Error::NoSpace { path, place });
            }
        };
        workloads.push(space.parse_workload(&file).map_err(at)?);
    }
    Ok(workloads)
}

/// Measured over computed, the middle one.
fn middle_ratio(computed: &[f64], measured: &[f64]) -> f64 {
    let mut ratios: Vec<f64> = computed.iter().zip(measured).map(|(c, m)| m / c).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

impl Agreement {
    /// Of two equally long lists; measured values are above zero.
    pub fn of(computed: &[f64], measured: &[f64]) -> Self {
        let n = measured.len() as f64;
        let relative: Vec<f64> = computed.iter().zip(measured).map(|(c, m)| (c - m) / m).collect();
        // Rounding in the sum does not decide which side of a bound a network is on.
        let within =
            |bound: f64| relative.iter().filter(|error| error.abs() <= bound * (1.0 + 1e-12)).count() as f64 / n;
        Self {
            mape: relative.iter().map(|error| error.abs()).sum::<f64>() / n,
            bias: relative.iter().sum::<f64>() / n,
            max_error: computed.iter().zip(measured).map(|(c, m)| (c - m).abs()).fold(0.0, f64::max),
            within_5: within(0.05),
            within_10: within(0.10),
            spearman: spearman(computed, measured),
            kendall: kendall_tau_b(computed, measured),
        }
    }
}

/// Sums of a least-squares line through points weighted by 1/measured², which makes errors relative.
#[derive(Clone, Copy, Default)]
struct LineSums {
    w: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl LineSums {
    fn add(&mut self, x: f64, y: f64, sign: f64) {
        let w = sign / (y * y);
        self.w += w;
        self.x += w * x;
        self.y += w * y;
        self.xx += w * x * x;
        self.xy += w * x * y;
    }

    fn line(&self) -> Option<Affine> {
        let determinant = self.w * self.xx - self.x * self.x;
        if determinant <= 1e-12 * self.w * self.xx {
            return None;
        }
        let scale = (self.w * self.xy - self.x * self.y) / determinant;
        let offset = (self.y - scale * self.x) / self.w;
        (scale > 0.0 && scale.is_finite() && offset.is_finite()).then_some(Affine { scale, offset })
    }
}

/// The line by relative least squares, and the agreement when it is fitted without the network it corrects.
fn correction(computed: &[f64], measured: &[f64]) -> Option<(Affine, Agreement)> {
    if measured.len() < 4 {
        return None;
    }
    let mut all = LineSums::default();
    computed.iter().zip(measured).for_each(|(x, y)| all.add(*x, *y, 1.0));
    let corrected = computed.iter().zip(measured).map(|(x, y)| {
        let mut others = all;
        others.add(*x, *y, -1.0);
        others.line().map(|line| line.scale * x + line.offset)
    });
    let corrected = corrected.collect::<Option<Vec<f64>>>()?;
    Some((all.line()?, Agreement::of(&corrected, measured)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_what_it_says() {
        let agreement = Agreement::of(&[1.05, 1.9, 3.6, 4.0], &[1.0, 2.0, 3.0, 4.0]);
        assert!((agreement.mape - (0.05 + 0.05 + 0.2) / 4.0).abs() < 1e-12);
        assert!((agreement.bias - (0.05 - 0.05 + 0.2) / 4.0).abs() < 1e-12);
        assert_eq!((agreement.within_5, agreement.within_10), (0.75, 0.75));
        assert!((agreement.max_error - 0.6).abs() < 1e-12);
        assert_eq!((agreement.spearman, agreement.kendall), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn a_line_is_found_and_judged_without_the_judged() {
        let computed: Vec<f64> = (1..=20).map(f64::from).collect();
        let measured: Vec<f64> = computed.iter().map(|x| 1.25 * x + 0.5).collect();
        let (line, agreement) = correction(&computed, &measured).unwrap();
        assert!((line.scale - 1.25).abs() < 1e-9 && (line.offset - 0.5).abs() < 1e-9, "{line:?}");
        assert!(agreement.mape < 1e-9 && agreement.within_5 == 1.0);
        // Noise that a line cannot explain is not explained away.
        let noisy: Vec<f64> =
            measured.iter().enumerate().map(|(at, y)| y * if at % 2 == 0 { 1.1 } else { 0.9 }).collect();
        let (_, honest) = correction(&computed, &noisy).unwrap();
        assert!(honest.mape > 0.09, "{honest:?}");
        assert_eq!(correction(&[1.0; 8], &noisy[..8]), None, "equal networks leave the line open");
        assert_eq!(correction(&computed[..3], &measured[..3]), None);
    }

    #[test]
    fn a_correction_that_bridges_units_or_leaves_half_open_is_none_to_keep() {
        let validation = |scale: f64, ratio: f64, mape: f64| {
            let agreement = Agreement { mape, ..Agreement::of(&[1.0, 2.0], &[1.0, 2.0]) };
            let corrected = Some((Affine { scale, offset: 0.0 }, agreement));
            Validation {
                quantity: Measured::Latency,
                networks: 30,
                as_is: agreement,
                corrected,
                ratio,
                one_number: 0.3,
            }
            .objection()
        };
        assert_eq!(validation(0.2, 0.2, 0.05), None);
        assert!(validation(1.1e-3, 1.1e-3, 0.01).unwrap().contains("another unit"));
        assert!(validation(1.0, 1e3, 0.01).unwrap().contains("another unit"), "an offset hides the factor");
        assert!(validation(1.0, 1.0, 10.38).unwrap().contains("1038 %"));
        assert!(validation(1.0, 1.0, 0.28).unwrap().contains("one number for all networks 30 %"));
        assert_eq!(validation(1.0, 1.0, 0.2), None);
    }

    #[test]
    fn one_number_is_the_best_that_does_not_look_at_the_network() {
        let values = [1.0, 8.0, 1.1, 8.8, 1.2];
        let error = one_number_error(&values);
        let tried = (5..100).map(|tenths| {
            let number = f64::from(tenths) / 10.0;
            values.iter().map(|value: &f64| (number - value).abs() / value).sum::<f64>() / 5.0
        });
        assert!((tried.fold(f64::INFINITY, f64::min) - error).abs() < 1e-9, "{error}");
        assert_eq!((one_number_error(&[2.0; 4]), one_number_error(&[])), (0.0, 0.0));
        assert_eq!(uninformative(0.015, 0.01), None, "networks that cost nearly the same");
    }
}
