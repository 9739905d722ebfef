//! Several networks in int8 whose filters are parts of each other's, as graphs over one file of filters: each graph takes
//! the first filters and channels of a shared tensor, and has scales and biases of its own, in which its batch norms are.

use std::collections::HashMap;

use network::integer::IntegerNetwork;

use super::int8::model;
use super::nested::Nested;
use super::weight_file::{Tensor, WeightFile};
use crate::int8::{SharedFilter, SharedFilters};

/// One of several networks in int8.
#[derive(Clone, Copy, Debug)]
pub struct Int8Slice<'n> {
    /// Its name.
    pub name: &'n str,
    /// Rounded with the filters that it shares.
    pub network: &'n IntegerNetwork,
    /// Those filters, one for each layer; none where a layer has no weights, or its own.
    pub filters: &'n [Option<SharedFilter>],
    /// What its file says of itself.
    pub facts: &'n [(String, String)],
}

/// Graphs of `slices` over one file of filters that they call `file`; they read and make what those of
/// [`int8_network_model`](super::int8_network_model) do.
pub fn nested_int8_models(file: &str, shared: &SharedFilters<'_>, slices: &[Int8Slice<'_>]) -> Nested {
    let mut filters = WeightFile::new(file);
    let mut own = 0;
    let mut graph = |slice: &Int8Slice<'_>| {
        let mut known = HashMap::new();
        model(slice.name, slice.network, slice.facts, |graph, layer| {
            let is_weighted = slice.network.layers[layer].layer.is_weighted();
            let Some(filter) = slice.filters[layer].as_ref() else {
                own += usize::from(is_weighted);
                return None;
            };
            let (shape, values) = shared.tensor(filter.tensor);
            let tensor = Tensor { at: filter.tensor, shape, is_int8: true };
            let numbers = || values.iter().map(|value| *value as u8).collect();
            let name = format!("{}.weight.part", slice.network.layers[layer].name);
            Some(filters.part(graph, &mut known, &tensor, numbers, &name, &filter.shape))
        })
    };
    let graphs = slices.iter().map(&mut graph).collect();
    Nested { weights: filters.bytes, graphs, own }
}

#[cfg(test)]
mod tests {
    use network::execute::run_folded;
    use network::folded::Folded;
    use network::integer::{Numbers, Runner};
    use network::published;
    use network::shape::NetworkShape;
    use network::weights::{Array, Weights};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::file::walk;
    use super::*;
    use crate::int8::tests::ranges_of;
    use crate::int8::{Pixels, quantise_with, reading_pixels};
    use crate::parts::tests::part_of;

    fn of_pixels(shape: &NetworkShape, weights: &Weights) -> (Folded, Pixels) {
        reading_pixels(Folded::new(shape, weights), &[0.49, 0.48, 0.45], &[0.25, 0.24, 0.26])
    }

    /// Its batch norms' scales times `factor`, every second one.
    fn with_other_norms(weights: &Weights, shape: &NetworkShape, factor: f32) -> Weights {
        let is_norm = |name: &str| weights.get(&name.replace(".weight", ".running_var")).is_some();
        let change = |(name, array): (&String, &Array)| {
            let mut array = array.clone();
            if name.ends_with(".weight") && is_norm(name) {
                array.values.iter_mut().step_by(2).for_each(|value| *value *= factor);
            }
            (name.clone(), array)
        };
        Weights::new(shape, weights.arrays().iter().map(change).collect()).unwrap()
    }

    #[test]
    fn parts_share_their_filters_in_int8_and_keep_their_signal() {
        let (wide, narrow) = (published::mobilenet_v1(50, 32, 6), published::mobilenet_v1(25, 32, 6));
        let whole = with_other_norms(&Weights::random(&wide, 1), &wide, -0.7);
        let part = part_of(&whole, &narrow);
        let shared = SharedFilters::new(&[(&wide, &whole)]);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let image = || (0..wide.input().elements()).map(|_| rng.random::<u8>()).collect();
        let images: Vec<Vec<u8>> = std::iter::repeat_with(image).take(4).collect();
        let mut sizes = Vec::new();
        // Norms of a part's own are in its scales; with the other sign they need filters of their own.
        for (factor, alone) in [(1.0, 1), (1.7, 1), (-1.0, 20)] {
            let own = with_other_norms(&part, &narrow, factor);
            let networks = [(&wide, &whole), (&narrow, &own)].map(|(shape, weights)| {
                let (folded, pixels) = of_pixels(shape, weights);
                let numbers = |image: &Vec<u8>| -> Vec<f32> {
                    image.iter().map(|byte| f32::from(*byte) - f32::from(pixels.offset)).collect()
                };
                let reals: Vec<Vec<f32>> = images.iter().map(numbers).collect();
                let filters = shared.of(&folded, weights);
                let ranges = ranges_of(&folded, &reals);
                let network = quantise_with(&folded, pixels.scale(), &ranges, |_| false, &filters).unwrap();
                let runner = Runner::new(&network);
                let (mut signal, mut noise) = (0.0, 0.0);
                for (image, real) in images.iter().zip(&reals) {
                    let area = shape.input().area() as usize;
                    let turned = |at: usize| (image[at % 3 * area + at / 3] ^ 128) as i8;
                    let got = runner.run_real(&(0..image.len()).map(turned).collect::<Vec<i8>>());
                    for (got, expected) in got.iter().zip(run_folded(&folded, real)) {
                        signal += f64::from(expected).powi(2);
                        noise += f64::from(got - expected).powi(2);
                    }
                }
                let decibels = 10.0 * (signal / noise).log10();
                assert!(decibels > 20.0, "{factor} {decibels}");
                (shape, network, filters)
            });
            let slices = [0, 1].map(|at| {
                let (_, network, filters) = &networks[at];
                Int8Slice { name: "it", network, filters, facts: &[] }
            });
            let nested = nested_int8_models("weights.bin", &shared, &slices);
            // The layer that normalises pixels is nobody's part.
            assert!(nested.own > alone && nested.own < alone + 12, "{factor} {}", nested.own);
            sizes.push(nested.weights.len());
            for ((shape, network, _), graph) in networks.iter().zip(&nested.graphs) {
                let macs: u64 = network.layers.iter().map(|layer| layer.layer.macs().0).sum();
                assert_eq!(walk(graph), (vec![1, i64::from(shape.output().channels)], macs));
            }
            let filters = |network: &IntegerNetwork| -> usize {
                let of = |numbers: &Numbers| match numbers {
                    Numbers::Int8(weights) => weights.values.len(),
                    _ => 0,
                };
                network.layers.iter().map(|layer| of(&layer.numbers)).sum()
            };
            let all = filters(&networks[0].1);
            assert!(nested.weights.len() < all + 64 * 40, "{} {all}", nested.weights.len());
            // Its own filters are the narrow one's alone, in its graph.
            assert_eq!(nested.graphs[1].len() > nested.graphs[0].len(), factor < 0.0);
        }
        assert_eq!(sizes[0], sizes[1]);
    }
}
