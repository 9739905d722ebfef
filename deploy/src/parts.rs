//! Tensors that are the beginnings of others: subnets of one supernet take the first filters and channels of its weights.

use std::collections::HashMap;

use network::weights::{Array, Weights};

/// Tensors of several networks, each kept once.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    arrays: Vec<&'a Array>,
    /// Places of tensors by number of dimensions and first number, which a part and its whole have in common.
    places: HashMap<(usize, u32), Vec<usize>>,
}

impl<'a> Parts<'a> {
    /// All filters of the networks whose weights are `wholes`.
    pub(crate) fn of(wholes: &[&'a Weights]) -> Self {
        let mut parts = Parts::default();
        for weights in wholes {
            weights.arrays().values().filter(|array| array.shape.len() > 1).for_each(|array| parts.add(array));
        }
        parts
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.arrays.len()
    }

    /// The tensor at a place.
    pub(crate) fn array(&self, at: usize) -> &'a Array {
        self.arrays[at]
    }

    fn add(&mut self, array: &'a Array) {
        let places = self.places.entry(key(array)).or_default();
        if !places.iter().any(|at| self.arrays[*at] == array) {
            places.push(self.arrays.len());
            self.arrays.push(array);
        }
    }

    /// The place of the smallest tensor that `array` is the beginning of, if there is one.
    pub(crate) fn place_of(&self, array: &Array) -> Option<usize> {
        let places = self.places.get(&key(array)).map_or(&[][..], Vec::as_slice);
        let fits = places.iter().copied().filter(|at| begins(self.arrays[*at], array));
        fits.min_by_key(|at| self.arrays[*at].values.len())
    }

    /// The same; where there is none, `array` becomes one.
    pub(crate) fn whole_of(&mut self, array: &'a Array) -> usize {
        self.place_of(array).unwrap_or_else(|| {
            self.add(array);
            self.arrays.len() - 1
        })
    }
}

fn key(array: &Array) -> (usize, u32) {
    (array.shape.len(), array.values.first().map_or(0, |value| value.to_bits()))
}

/// Whether `part` is the first rows and columns of `whole`; windows of filters are taken whole.
fn begins(whole: &Array, part: &Array) -> bool {
    whole.shape.len() == part.shape.len()
        && whole.shape[2..] == part.shape[2..]
        && whole.shape[0] >= part.shape[0]
        && whole.shape[1] >= part.shape[1]
        && rows(&whole.values, &whole.shape, &part.shape).eq(rows(&part.values, &part.shape, &part.shape))
}

/// Of every row that a part of shape `part` takes of a tensor of shape `whole`, the numbers that it takes.
pub(crate) fn rows<'v, T>(values: &'v [T], whole: &[usize], part: &[usize]) -> impl Iterator<Item = &'v [T]> {
    let taps: usize = part[2..].iter().product();
    let (of_whole, of_part) = (whole[1] * taps, part[1] * taps);
    (0..part[0]).map(move |row| &values[row * of_whole..][..of_part])
}

#[cfg(test)]
pub(crate) mod tests {
    use network::shape::NetworkShape;

    use super::*;

    /// A narrower network of the first filters and channels of a wider one's.
    pub(crate) fn part_of(wide: &Weights, narrow: &NetworkShape) -> Weights {
        let drawn = Weights::random(narrow, 9);
        let cut = |(name, array): (&String, &Array)| {
            let whole = wide.get(name).unwrap();
            let (columns, taps) =
                (array.shape.get(1).copied().unwrap_or(1), array.shape.iter().skip(2).product::<usize>());
            let of_whole = whole.shape.get(1).copied().unwrap_or(1) * taps;
            let row = |row: usize| whole.values[row * of_whole..][..columns * taps].to_vec();
            let values = (0..array.shape[0]).flat_map(row).collect();
            (name.clone(), Array { shape: array.shape.clone(), values })
        };
        Weights::new(narrow, drawn.arrays().iter().map(cut).collect()).unwrap()
    }
}
