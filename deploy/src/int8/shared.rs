//! Filters rounded once for several networks.
//!
//! Subnets of one supernet take the first filters and channels of its weights, each behind batch norms of its own. Folded into
//! the filters these would make all of them different; so the filters are rounded without batch norms, row by row, and the
//! factor of each row goes into the scale by which its numbers are made real: w·γ/σ = q · (s·|γ|/σ), with the sign of γ in q.

use network::folded::{Folded, FoldedLayer};
use network::shape::NetworkShape;
use network::weights::{Array, Weights};

use super::filters::{finest, round};
use crate::parts::{Parts, rows};

/// A row whose numbers are further from a multiple of another's than this, as a fraction of its largest, is none.
const TOLERANCE: f64 = 1e-5;

/// Filters of networks that others are parts of.
pub struct SharedFilters<'a> {
    parts: Parts<'a>,
    /// One for each of the parts.
    rounded: Vec<Rounded>,
}

/// A tensor in int8.
#[derive(Clone)]
struct Rounded {
    values: Vec<i8>,
    /// One for each row.
    scales: Vec<f32>,
    /// 1 or -1 for each row: what its numbers were multiplied by before they were rounded.
    signs: Vec<f64>,
}

/// What a layer takes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedFilter {
    /// Which tensor.
    pub tensor: usize,
    /// How many rows and columns, and the window.
    pub shape: Vec<usize>,
    /// Those numbers.
    pub values: Vec<i8>,
    /// What each row's numbers are multiplied by, batch norm included; above 0 but for rows of nothing.
    pub scales: Vec<f32>,
}

impl<'a> SharedFilters<'a> {
    /// Of networks with their weights.
    pub fn new(wholes: &[(&NetworkShape, &'a Weights)]) -> Self {
        let parts = Parts::of(&wholes.iter().map(|(_, weights)| *weights).collect::<Vec<_>>());
        let mut signs: Vec<Vec<f64>> = (0..parts.len()).map(|at| vec![1.0; parts.array(at).shape[0]]).collect();
        for (shape, weights) in wholes {
            for folded in &Folded::new(shape, weights).layers {
                let Some((unfolded, at)) = unfolded(folded, weights).and_then(|of| Some((of, parts.place_of(of)?)))
                else {
                    continue;
                };
                if let Some(factors) = factors(folded, unfolded) {
                    signs[at].iter_mut().zip(factors).for_each(|(sign, factor)| *sign = 1_f64.copysign(factor));
                }
            }
        }
        let rounded = signs.into_iter().enumerate().map(|(at, signs)| Rounded::new(parts.array(at), signs)).collect();
        SharedFilters { parts, rounded }
    }

    /// What each layer of `network` takes, whose unfolded weights are `weights`: nothing where it has none, or where they
    /// are not those of the shared ones, row by row times a number.
    pub fn of(&self, network: &Folded, weights: &Weights) -> Vec<Option<SharedFilter>> {
        network.layers.iter().map(|folded| self.of_layer(folded, unfolded(folded, weights)?)).collect()
    }

    fn of_layer(&self, folded: &FoldedLayer, unfolded: &Array) -> Option<SharedFilter> {
        let tensor = self.parts.place_of(unfolded)?;
        let Rounded { values, scales, signs } = &self.rounded[tensor];
        let factors = factors(folded, unfolded)?;
        if factors.iter().zip(signs).any(|(factor, sign)| factor * sign < 0.0) {
            return None;
        }
        let scales = factors.iter().zip(scales).map(|(factor, scale)| (factor.abs() * f64::from(*scale)) as f32);
        let whole = &self.parts.array(tensor).shape;
        let values = rows(values, whole, &unfolded.shape).flatten().copied().collect();
        Some(SharedFilter { tensor, shape: unfolded.shape.clone(), values, scales: scales.collect() })
    }

    /// Shape and numbers of a tensor.
    pub fn tensor(&self, at: usize) -> (&[usize], &[i8]) {
        (&self.parts.array(at).shape, &self.rounded[at].values)
    }
}

impl Rounded {
    fn new(array: &Array, signs: Vec<f64>) -> Self {
        let of_row = (array.values.len() / signs.len().max(1)).max(1);
        let scales: Vec<f32> = array.values.chunks(of_row).map(|row| finest(row).unwrap_or(1.0)).collect();
        let rows = array.values.chunks(of_row).zip(&scales).zip(&signs);
        let values =
            rows.flat_map(|((row, scale), sign)| row.iter().map(move |value| round(value * *sign as f32, *scale)));
        Rounded { values: values.collect(), scales, signs }
    }
}

/// The weights that a folded layer was made of.
fn unfolded<'w>(folded: &FoldedLayer, weights: &'w Weights) -> Option<&'w Array> {
    weights.get(&format!("{}.weight", folded.name)).filter(|array| array.shape.len() > 1)
}

/// What each row of a folded layer's filters is of the unfolded one, if it is a multiple of it.
fn factors(folded: &FoldedLayer, unfolded: &Array) -> Option<Vec<f64>> {
    let values = &folded.weight.as_ref()?.values;
    let of_row = (values.len() / unfolded.shape[0].max(1)).max(1);
    let factor = |(row, of): (&[f32], &[f32])| {
        let dot = |a: &[f32]| a.iter().zip(of).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let size = dot(of);
        let factor = if size > 0.0 { dot(row) / size } else { 0.0 };
        let largest = row.iter().fold(0_f64, |most, value| most.max(f64::from(value.abs())));
        let apart = |(value, of): (&f32, &f32)| (f64::from(*value) - factor * f64::from(*of)).abs();
        row.iter().zip(of).all(|pair| apart(pair) <= TOLERANCE * largest).then_some(factor)
    };
    let is_alike = values.len() == unfolded.values.len();
    is_alike.then(|| values.chunks(of_row).zip(unfolded.values.chunks(of_row)).map(factor).collect()).flatten()
}
