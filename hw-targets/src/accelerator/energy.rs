//! How often each storage is accessed under a mapping, and what that costs.
//!
//! The counts follow the analysis of reuse in Chen, Emer & Sze (ISCA 2016, Section VI): what a level delivers is the
//! product of the reuse at the levels above it. In closed form, per image and group, for `C` channels, `M` filters of
//! `R` × `S`, an output of `E` × `F`, a padded input of width `W`, `N` images, and a [`Mapping`] in its letters:
//!
//! - DRAM: `M·C·R·S·⌈N/n⌉·⌈E/e⌉/N` weights, `C·rows·W·⌈M/m⌉` inputs (`rows` counts the overlap of strips),
//!   `M·E·F` outputs;
//! - global buffer: `C·rows·W·⌈M/pt⌉` inputs, `2·M·E·F·(b − 1)` partial sums with `b = ⌈C/qr⌉`; weights bypass it;
//! - array: `M·C·R·S·E·⌈N/n⌉/N` weights, `C·R·E·W·⌈M/p⌉` inputs, `M·E·F·(R·⌈C/q⌉ − b)` partial sums;
//! - register file: one weight and one input for each multiply-accumulate, and a read and a write of each partial sum
//!   that is not the first one in its PE.

use super::description::{Accelerator, AccessEnergy, Sparsity};
use super::layer::{Entries, Layer};
use super::mapping::Mapping;

/// Bits of the word to which energies refer.
const WORD: f64 = 16.0;

/// Energy by storage level, of one kind of data or of all; unit: one 16-bit multiply-accumulate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LevelEnergy {
    /// Off-chip memory.
    pub dram: f64,
    /// Memory on the chip that all PEs share.
    pub global_buffer: f64,
    /// Transfers to PEs and between them.
    pub array: f64,
    /// The PE's own memory.
    pub register_file: f64,
}

impl LevelEnergy {
    /// All levels together.
    pub fn total(&self) -> f64 {
        self.dram + self.global_buffer + self.array + self.register_file
    }

    fn plus(self, other: Self) -> Self {
        Self {
            dram: self.dram + other.dram,
            global_buffer: self.global_buffer + other.global_buffer,
            array: self.array + other.array,
            register_file: self.register_file + other.register_file,
        }
    }
}

/// Energy of one image's share of a layer; unit: one 16-bit multiply-accumulate.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerEnergy {
    /// The layer's name.
    pub name: String,
    /// Images computed together.
    pub images: u64,
    /// Multiply-accumulates of one image, skipped ones included.
    pub macs: f64,
    /// Multiply-accumulates that are carried out.
    pub computation: f64,
    /// Reading the input.
    pub ifmap: LevelEnergy,
    /// Partial sums, and writing the output.
    pub ofmap: LevelEnergy,
    /// Reading the weights.
    pub weight: LevelEnergy,
    /// How the layer is laid out on the accelerator.
    pub mapping: Mapping,
}

impl LayerEnergy {
    /// Computation and all data.
    pub fn total(&self) -> f64 {
        self.computation + self.levels().total()
    }

    /// All data by level.
    pub fn levels(&self) -> LevelEnergy {
        self.ifmap.plus(self.ofmap).plus(self.weight)
    }
}

/// Energy of one image on a network; unit: one 16-bit multiply-accumulate.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkEnergy {
    /// Its layers in order.
    pub layers: Vec<LayerEnergy>,
}

impl NetworkEnergy {
    /// All layers together.
    pub fn total(&self) -> f64 {
        self.sum(LayerEnergy::total)
    }

    /// The sum of one number over the layers.
    pub fn sum(&self, of: impl Fn(&LayerEnergy) -> f64) -> f64 {
        self.layers.iter().map(of).sum()
    }

    /// All data of all layers by level.
    pub fn levels(&self) -> LevelEnergy {
        self.layers.iter().fold(LevelEnergy::default(), |sum, layer| sum.plus(layer.levels()))
    }
}

/// What an entry of one tensor costs to keep in DRAM, to move on the chip and to read in a PE, in words.
struct Words {
    stored: f64,
    moved: f64,
    read: f64,
}

impl Words {
    /// `executed` is the fraction of multiply-accumulates that are carried out.
    fn new(entries: Entries, sparsity: Sparsity, executed: f64) -> Self {
        let bits = entries.bits as f64;
        match sparsity {
            Sparsity::None => Self { stored: bits / WORD, moved: bits / WORD, read: bits / WORD },
            Sparsity::SignificanceMap => {
                let moved = (entries.density * bits + 1.0) / WORD;
                // A PE looks at both flags of every operation, and at the values of those that it carries out.
                Self { stored: moved.min(bits / WORD), moved, read: (executed * bits + 1.0) / WORD }
            }
        }
    }
}

/// Counts the accesses of one layer on one accelerator.
pub(super) struct Counter<'a> {
    layer: &'a Layer,
    energy: AccessEnergy,
    executed: f64,
    ifmap: Words,
    filter: Words,
    ofmap: Words,
}

impl<'a> Counter<'a> {
    pub(super) fn new(layer: &'a Layer, accelerator: &Accelerator) -> Self {
        let sparsity = accelerator.sparsity();
        let executed = match sparsity {
            Sparsity::None => 1.0,
            // Zeros of weights and inputs fall independently of each other (Asilomar 2017, Section III).
            Sparsity::SignificanceMap => layer.ifmap.density * layer.filter.density,
        };
        Self {
            layer,
            energy: accelerator.energy,
            executed,
            ifmap: Words::new(layer.ifmap, sparsity, executed),
            filter: Words::new(layer.filter, sparsity, executed),
            ofmap: Words::new(layer.ofmap, sparsity, executed),
        }
    }

    /// What of the energy differs from mapping to mapping.
    pub(super) fn total(&self, mapping: &Mapping) -> f64 {
        let [ifmap, ofmap, weight] = self.data(mapping);
        ifmap.total() + ofmap.total() + weight.total()
    }

    /// Energy under a mapping that fits.
    pub(super) fn energy(&self, mapping: Mapping) -> LayerEnergy {
        let layer = self.layer;
        let [ifmap, ofmap, weight] = self.data(&mapping);
        // A multiplier's energy grows with both widths (arXiv:1611.05128, Section 2).
        let multiply = self.energy.mac * (layer.filter.bits as f64 / WORD) * (layer.ifmap.bits as f64 / WORD);
        LayerEnergy {
            name: layer.name().to_owned(),
            images: layer.images,
            macs: layer.macs(),
            computation: layer.macs() * self.executed * multiply,
            ifmap,
            ofmap,
            weight,
            mapping,
        }
    }

    /// Input, output and weights.
    fn data(&self, mapping: &Mapping) -> [LevelEnergy; 3] {
        let layer = self.layer;
        let float = |count: u64| count as f64;
        let ([taps_down, taps_across], [out_rows, out_columns]) = (layer.filter_size, layer.out_size);
        let (groups, images) = (float(layer.groups), float(layer.images));
        let macs = layer.macs();
        let weights = groups * float(layer.filters * layer.channels) * float(taps_down) * float(taps_across);
        let outputs = groups * float(layer.filters) * float(out_rows) * float(out_columns);
        let input_row = groups * float(layer.channels) * float(layer.padded_width);

        let strips = out_rows.div_ceil(mapping.rows);
        let last_strip = out_rows - (strips - 1) * mapping.rows;
        let rows = (strips - 1) * layer.input_rows(mapping.rows) + layer.input_rows(last_strip);
        let fetches = float(layer.images.div_ceil(mapping.images)) / images;
        let channel_sets = layer.channels.div_ceil(mapping.channels);
        let passes = channel_sets.div_ceil(mapping.channel_sets);
        let filter_sets = layer.filters.div_ceil(mapping.filters);
        let loads = layer.filters.div_ceil(mapping.resident_filters);
        // Partial sums that leave a PE, for each output.
        let leaving = float(taps_down * channel_sets);

        let cost = &self.energy;
        let (ifmap, filter) = (&self.ifmap, &self.filter);
        // Partial sums are full numbers; only the finished output has zeros.
        let sum_word = float(layer.ofmap.bits) / WORD;
        [
            LevelEnergy {
                dram: cost.dram * input_row * float(rows * loads) * ifmap.stored,
                global_buffer: cost.global_buffer
                    * input_row
                    * float(rows * filter_sets.div_ceil(mapping.filter_sets))
                    * ifmap.moved,
                array: cost.array * input_row * float(taps_down * out_rows) * float(filter_sets) * ifmap.moved,
                register_file: cost.register_file * macs * ifmap.read,
            },
            LevelEnergy {
                dram: cost.dram * outputs * self.ofmap.stored,
                global_buffer: cost.global_buffer * 2.0 * outputs * float(passes - 1) * sum_word,
                array: cost.array * outputs * (leaving - float(passes)) * sum_word,
                register_file: cost.register_file * 2.0 * (macs - outputs * leaving) * self.executed * sum_word,
            },
            LevelEnergy {
                dram: cost.dram * weights * fetches * float(strips) * filter.stored,
                global_buffer: 0.0,
                array: cost.array * weights * fetches * float(out_rows) * filter.moved,
                register_file: cost.register_file * macs * filter.read,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accelerator, Layer, LayerEnergy, estimate};

    fn conv3(maps: u64, zeros: [u64; 3], bits: [u64; 2]) -> Layer {
        let ([input, weight, output], [weight_bits, data_bits]) = (zeros, bits);
        let line = format!(
            "1,13,13,256,{maps},{input},{data_bits},3,3,256,384,{weight},{weight_bits},\
             13,13,384,{maps},{output},{data_bits},1,1,1,1,1,1"
        );
        Layer::parse_file("line".as_ref(), &line).unwrap().remove(0)
    }

    fn on(name: &str, layer: &Layer) -> LayerEnergy {
        estimate(layer, &Accelerator::builtin(name).unwrap()).unwrap()
    }

    #[test]
    fn halving_the_bits_quarters_computation_and_at_least_halves_data() {
        let (full, half) = (conv3(1, [0; 3], [16, 16]), conv3(1, [0; 3], [8, 8]));
        let (full, half) = (on("eyeriss-isca16", &full), on("eyeriss-isca16", &half));
        assert_eq!(half.computation, full.computation / 4.0);
        assert!(half.levels().total() <= full.levels().total() / 2.0);
        let only_weights = on("eyeriss-isca16", &conv3(1, [0; 3], [8, 16]));
        assert_eq!(only_weights.computation, full.computation / 2.0);
    }

    #[test]
    fn zeros_save_energy_only_where_they_are_skipped() {
        let (dense, sparse) = (conv3(1, [0; 3], [16, 16]), conv3(1, [21_632, 442_368, 32_448], [16, 16]));
        assert_eq!(on("eyeriss-isca16", &dense).total(), on("eyeriss-isca16", &sparse).total());
        let (dense, sparse) = (on("eyeriss", &dense), on("eyeriss", &sparse));
        assert_eq!(sparse.computation, dense.computation / 4.0);
        assert!(sparse.total() < 0.5 * dense.total());
        // Without zeros the flags are of no use in DRAM, and left out there.
        assert_eq!(dense.ofmap.dram, 200.0 * 384.0 * 169.0);
        assert_eq!(sparse.ofmap.dram, 200.0 * 384.0 * 169.0 * (0.5 + 1.0 / 16.0));
    }

    #[test]
    fn larger_batches_share_weights() {
        let [one, many] = [1, 16].map(|images| on("eyeriss", &conv3(1, [0; 3], [16, 16]).with_images(images)));
        assert!(many.weight.dram < one.weight.dram / 2.0);
        assert!(many.total() < one.total());
    }
}
