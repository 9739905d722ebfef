//! The search for the layout of a layer ([`Mapping`]) with the least energy: complete, over all sizes that differ.

use super::description::Accelerator;
use super::energy::Counter;
use super::layer::Layer;
use super::mapping::Mapping;
use crate::error::HwError;

/// The smallest size for every possible number of parts of `total`, from 1 up.
///
/// Every count depends on a size only through the number of parts, `⌈total/size⌉`, and a smaller size needs less room.
/// So a search over these sizes is complete.
fn sizes(total: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(1), move |size| {
        let parts = total.div_ceil(*size);
        (parts > 1).then(|| total.div_ceil(parts - 1))
    })
}

/// The mapping with the least energy; `m` is as large as fits. The first of equally good ones.
pub(super) fn search(layer: &Layer, accelerator: &Accelerator, counter: &Counter<'_>) -> Result<Mapping, HwError> {
    let room = Room::new(layer, accelerator)?;
    let mut best: Option<(f64, Mapping)> = None;
    let mut judge = |mapping: Mapping| {
        let total = counter.total(&mapping);
        if best.as_ref().is_none_or(|(least, _)| total < *least) {
            best = Some((total, mapping));
        }
        total
    };
    let mut least = f64::INFINITY;
    for images in sizes(layer.images) {
        for rows in sizes(layer.out_size[0]) {
            let sets = accelerator.sets(layer.filter_size[0], rows);
            if sets == 0 {
                break;
            }
            for channels in sizes(layer.channels) {
                let most_filters = room.filters(channels).min(layer.filters);
                if most_filters == 0 {
                    break;
                }
                for channel_sets in sizes(layer.channels.div_ceil(channels)).take_while(|count| *count <= sets) {
                    let resident = room.resident_filters(images, rows, channels * channel_sets);
                    if resident == 0 {
                        break;
                    }
                    let mapping = |filters: u64, filter_sets: u64| Mapping {
                        images,
                        rows,
                        filters,
                        channels,
                        channel_sets,
                        filter_sets,
                        resident_filters: resident,
                    };
                    // More filters in a PE and more sets only ever save energy, so that the largest of both bounds it.
                    let most_sets = sets / channel_sets;
                    let fewest = |total: u64, most: u64| total.div_ceil(total.div_ceil(most));
                    let filters = fewest(layer.filters, most_filters);
                    let filter_sets = fewest(layer.filters.div_ceil(filters), most_sets);
                    let widest = mapping(filters, filter_sets);
                    if filters * filter_sets <= resident {
                        least = judge(widest).min(least);
                    } else if counter.total(&widest) < least {
                        for filters in sizes(layer.filters).take_while(|size| *size <= most_filters.min(resident)) {
                            let most_sets = most_sets.min(resident / filters);
                            let filter_sets = fewest(layer.filters.div_ceil(filters), most_sets);
                            least = judge(mapping(filters, filter_sets)).min(least);
                        }
                    }
                }
            }
        }
    }
    match best {
        Some((_, mapping)) => Ok(mapping),
        // One row, one channel and one filter have their place, so one image's strip is what has not.
        None => Err(room.unmappable("a strip of one row does not fit its global buffer", "a larger one")),
    }
}

/// The capacities of an accelerator, as one layer uses them.
struct Room<'a> {
    layer: &'a Layer,
    accelerator: &'a Accelerator,
}

impl<'a> Room<'a> {
    fn new(layer: &'a Layer, accelerator: &'a Accelerator) -> Result<Self, HwError> {
        let room = Self { layer, accelerator };
        let [height, width] = layer.filter_size;
        if accelerator.sets(height, 1) == 0 {
            let problem = format!("a filter of {height} rows is higher than its array of PEs");
            return Err(room.unmappable(&problem, "an array at least that high"));
        }
        if room.filters(1) == 0 {
            let problem = format!("a row of {width} weights and inputs does not fit its register file");
            return Err(room.unmappable(&problem, "a larger one"));
        }
        Ok(room)
    }

    /// How many filters fit a register file beside `channels` rows of input.
    fn filters(&self, channels: u64) -> u64 {
        let row = channels * self.layer.filter_size[1];
        let free = self.accelerator.register_bits().saturating_sub(row * self.layer.ifmap.bits);
        free / (row * self.layer.filter.bits + self.layer.ofmap.bits)
    }

    /// Of how many of the layer's filters the partial sums fit the global buffer beside a strip of `channels` channels.
    fn resident_filters(&self, images: u64, rows: u64, channels: u64) -> u64 {
        let layer = self.layer;
        let strip = layer.input_rows(rows) * layer.padded_width;
        let used =
            images.saturating_mul(channels.min(layer.channels)).saturating_mul(strip).saturating_mul(layer.ifmap.bits);
        let sums = images.saturating_mul(rows * layer.out_size[1]).saturating_mul(layer.ofmap.bits);
        (self.accelerator.buffer_bits().saturating_sub(used) / sums).min(layer.filters)
    }

    fn unmappable(&self, problem: &str, need: &'static str) -> HwError {
        HwError::Unmappable {
            layer: self.layer.name().to_owned(),
            accelerator: self.accelerator.name().to_owned(),
            problem: problem.to_owned(),
            need,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use storage::failure::Failure;

    use super::super::{Accelerator, Layer, estimate};
    use super::*;

    const TINY: &str = "{schema: ofa.accelerator/1, name: tiny, dataflow: row-stationary, processing_elements: 12,
        register_file_bytes: RF, global_buffer_bytes: GLB, sparsity: SPARSITY,
        energy: {mac: 1, register_file: 1, array: ARRAY, global_buffer: 6, dram: 200}}";

    fn layer(images: u64, channels: u64, filters: u64, filter: u64, out: u64, stride: u64) -> Layer {
        let size = (out - 1) * stride + filter;
        let line = format!(
            "1,{size},{size},{channels},{images},0,16,{filter},{filter},{channels},{filters},0,16,\
             {out},{out},{filters},{images},0,16,{stride},{stride},0,0,0,0"
        );
        Layer::parse_file("line".as_ref(), &line).unwrap().remove(0)
    }

    /// Every mapping, one by one.
    fn brute_force(layer: &Layer, accelerator: &Accelerator) -> f64 {
        let counter = Counter::new(layer, accelerator);
        let room = Room { layer, accelerator };
        let mut least = f64::INFINITY;
        for images in 1..=layer.images {
            for rows in 1..=layer.out_size[0] {
                let sets = accelerator.sets(layer.filter_size[0], rows);
                for channels in 1..=layer.channels {
                    for channel_sets in 1..=sets {
                        let resident_filters = room.resident_filters(images, rows, channels * channel_sets);
                        for filters in 1..=room.filters(channels).min(resident_filters) {
                            for filter_sets in 1..=(sets / channel_sets).min(resident_filters / filters) {
                                let mapping = Mapping {
                                    images,
                                    rows,
                                    filters,
                                    channels,
                                    channel_sets,
                                    filter_sets,
                                    resident_filters,
                                };
                                least = least.min(counter.total(&mapping));
                            }
                        }
                    }
                }
            }
        }
        least
    }

    #[test]
    fn sizes_are_the_smallest_for_their_number_of_parts() {
        assert_eq!(sizes(10).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 10]);
        assert_eq!(sizes(1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_cannot_be_mapped_says_why() {
        let check = |layer: &Layer, words: &str| {
            let tiny =
                TINY.replace("RF", "64").replace("GLB", "1024").replace("SPARSITY", "none").replace("ARRAY", "2");
            let tiny = Accelerator::parse("tiny.yaml".as_ref(), &tiny).unwrap();
            let error = estimate(layer, &tiny).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.hint().is_some());
        };
        check(&layer(1, 1, 1, 13, 1, 1), "higher than its array");
        check(&layer(1, 8, 8, 12, 40, 1), "global buffer");
        let wide = "1,1,40,1,1,0,16,1,40,1,1,0,16,1,1,1,1,0,16,1,1,0,0,0,0";
        check(&Layer::parse_file("line".as_ref(), wide).unwrap()[0], "register file");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// The pruned search finds what trying everything finds, whatever the energies favour.
        #[test]
        fn pruning_loses_nothing(
            (images, channels, filters) in (1u64..5, 1u64..9, 1u64..12),
            (filter, out, stride) in (1u64..4, 1u64..8, 1u64..4),
            (register, buffer) in (16u64..128, 256u64..4096),
            (sparsity, array) in (prop::sample::select(vec!["none", "significance-map"]), 0u64..5),
        ) {
            let tiny = TINY.replace("RF", &register.to_string()).replace("GLB", &buffer.to_string());
            let tiny = tiny.replace("SPARSITY", sparsity).replace("ARRAY", &array.to_string());
            let tiny = Accelerator::parse("tiny.yaml".as_ref(), &tiny).unwrap();
            let layer = layer(images, channels, filters, filter, out, stride);
            let least = brute_force(&layer, &tiny);
            match estimate(&layer, &tiny) {
                Ok(energy) => {
                    let found = energy.total() - energy.computation;
                    prop_assert!((found / least - 1.0).abs() < 1e-12, "{found} {least} {:?}", energy.mapping);
                }
                Err(_) => prop_assert!(least.is_infinite()),
            }
        }
    }
}
