//! How well a target's sums agree with networks measured whole, and the affine correction that brings them closest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hw_targets::networks::Networks;
use hw_targets::target::Target;
use network::op::Workload;
use network::units::{Measured, PerMeasured};
use predictors::rank::{kendall_tau_b, spearman};
use search::arch_file::ArchFile;
use search::error::SearchError;
use search::space::SearchSpace;

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
}

/// Compares `target` with every quantity that both it and `networks` know. The networks are of `space`; without it, of
/// the space that each row names.
///
/// # Errors
/// A row without a space or of a network that is none of it, with its line; an operator that the target lacks; another
/// batch size; nothing to compare.
pub fn validate(
    target: &Target,
    networks: &Networks,
    space: Option<&SearchSpace>,
    correct: bool,
) -> Result<Vec<Validation>> {
    let batch = target.manifest().batch.unwrap_or(1);
    if batch != networks.batch() {
        let path = networks.path().to_path_buf();
        return Err(Error::OtherBatch { path, measured: networks.batch(), target: batch });
    }
    let distinct = distinct(networks, space)?;
    let mut validations = Vec::new();
    for quantity in [Measured::Latency, Measured::Energy].into_iter().filter(|known| target.knows(known.quantity())) {
        let (mut computed, mut measured) = (Vec::new(), Vec::new());
        for network in &distinct {
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
        });
    }
    if validations.is_empty() {
        return Err(Error::NothingMeasured { path: networks.path().to_path_buf() });
    }
    Ok(validations)
}

/// A network with what was measured of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctNetwork {
    /// The network as operators.
    pub workload: Workload,
    /// Everything that was measured, in seconds and joules.
    measured: PerMeasured<Vec<f64>>,
}

impl DistinctNetwork {
    /// Mean of what was measured in `quantity`, in SI units.
    pub fn measured(&self, quantity: Measured) -> Option<f64> {
        let values = &self.measured[quantity];
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

/// The different networks of a file, in order of appearance: one that was measured again counts once, with the mean, or
/// leaving it out would leave it in.
///
/// # Errors
/// A row without a space or of a network that is none of it, with its line.
pub fn distinct(networks: &Networks, space: Option<&SearchSpace>) -> Result<Vec<DistinctNetwork>> {
    let mut places: HashMap<Workload, usize> = HashMap::new();
    let mut distinct: Vec<DistinctNetwork> = Vec::new();
    for (workload, row) in workloads(networks, space)?.into_iter().zip(networks.rows()) {
        let place = *places.entry(workload).or_insert_with_key(|workload| {
            let workload = workload.clone();
            distinct.push(DistinctNetwork { workload, measured: PerMeasured::default() });
            distinct.len() - 1
        });
        for quantity in Measured::ALL {
            distinct[place].measured[quantity].extend(row.measurement(quantity).map(|measured| measured.value));
        }
    }
    Ok(distinct)
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
}
