//! The published genome dictionary, `{"ks":[…],"e":[…],"d":[…],"r":…}`: a list with a gene for each block that there may
//! be, one for each that there is, or one number for all.

use serde_json::{Value, json};

use super::arch_file::{ArchFile, kind_of};
use crate::error::SearchError;
use crate::space::SearchSpace;
use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};

impl SearchSpace {
    /// The published genome dictionary; genes of absent blocks are the smallest choice.
    pub fn to_genome_json(&self, arch: &ArchSpec) -> Value {
        let (mut kernels, mut expands, mut depths) = (Vec::new(), Vec::new(), Vec::new());
        for (stage, spec) in self.stages.iter().zip(&arch.stages) {
            depths.push(spec.blocks.len());
            let absent = BlockSpec { kernel: stage.kernels[0], expand: stage.expands[0] };
            for index in 0..stage.max_depth() {
                let block = spec.blocks.get(index).unwrap_or(&absent);
                kernels.push(block.kernel);
                expands.push(block.expand);
            }
        }
        json!({"ks": kernels, "e": expands, "d": depths, "r": arch.resolution})
    }

    /// A width multiplier that a published form states must be this space's: the same genes at another width are another
    /// network.
    pub(super) fn check_width(&self, file: &ArchFile) -> Result<(), SearchError> {
        for key in ["w", "wid", "width_mult"] {
            let Some(value) = file.object.get(key).filter(|value| !value.is_null()) else { continue };
            let Some(width) = value.as_f64() else {
                return Err(self.bad_field(key, format!("expected a width multiplier or null, found {value}")));
            };
            let own = width_of(&self.id.0).unwrap_or(1.0);
            if width == own {
                continue;
            }
            let family = self.id.0.split("-w").next().unwrap_or_default();
            let of_width =
                |name: &&&'static str| name.split("-w").next() == Some(family) && width_of(name) == Some(width);
            let names = Self::builtin_names();
            let other = names.iter().find(of_width);
            let other = other.map_or(String::new(), |name| format!("; space `{name}` has it"));
            return Err(self.bad_field(key, format!("is {width}, and this space's width is {own}{other}")));
        }
        Ok(())
    }

    pub(super) fn parse_genome(&self, file: &ArchFile) -> Result<ArchSpec, SearchError> {
        let resolution = self.read_resolution(file)?;
        let depths = self.genes(file, "d", &[self.stages.len()], "stages")?;
        let depth = |stage: usize| {
            let (value, field) = depths.at(stage);
            self.check_depth(stage, self.whole(value, field.clone())?, field)
        };
        let depths: Vec<usize> = (0..self.stages.len()).map(depth).collect::<Result<_, _>>()?;
        // One gene for each block that there may be, or, in the compact form, for each that there is.
        let lengths = [self.max_blocks(), depths.iter().sum()];
        let (kernels, expands) =
            (self.genes(file, "ks", &lengths, "blocks")?, self.genes(file, "e", &lengths, "blocks")?);
        let mut specs = Vec::with_capacity(depths.len());
        let (mut gene, mut present) = (0, 0);
        for (stage, depth) in depths.into_iter().enumerate() {
            let mut spec = StageSpec { blocks: Vec::with_capacity(depth) };
            for block in 0..depth {
                let place =
                    |genes: &Genes| if genes.length() == Some(lengths[0]) { gene + block } else { present + block };
                let (kernel, kernel_field) = kernels.at(place(&kernels));
                let (expand, expand_field) = expands.at(place(&expands));
                let kernel = self.whole(kernel, kernel_field.clone())?;
                let expand = self.whole(expand, expand_field.clone())?;
                spec.blocks.push(BlockSpec {
                    kernel: self.check_kernel(stage, block, kernel, kernel_field)?,
                    expand: self.check_expand(stage, block, expand, expand_field)?,
                });
            }
            specs.push(spec);
            gene += self.stages[stage].max_depth();
            present += depth;
        }
        self.arch_at_any_resolution(resolution, specs)
    }

    /// The values of `key`: a list of one of the `lengths`, or one value for all of the space's `what`.
    fn genes<'a>(
        &self,
        file: &'a ArchFile,
        key: &'static str,
        lengths: &[usize],
        what: &str,
    ) -> Result<Genes<'a>, SearchError> {
        match file.object.get(key) {
            Some(Value::Array(values)) if lengths.contains(&values.len()) => Ok(Genes::Each { key, values }),
            Some(Value::Array(values)) => {
                let problem = format!("{} values, the space has {} {what}", values.len(), lengths[0]);
                Err(self.bad_field(key, problem))
            }
            Some(value @ Value::Number(_)) => Ok(Genes::All { key, value }),
            Some(other) => {
                let problem =
                    format!("expected a list of {} values or one number, found {}", lengths[0], kind_of(other));
                Err(self.bad_field(key, problem))
            }
            None => Err(self.bad_field(key, format!("`{key}` is missing"))),
        }
    }
}

/// What one key of a genome says.
enum Genes<'a> {
    /// One value for each place.
    Each {
        /// The key.
        key: &'static str,
        /// The values.
        values: &'a [Value],
    },
    /// The same value everywhere.
    All {
        /// The key.
        key: &'static str,
        /// The value.
        value: &'a Value,
    },
}

impl<'a> Genes<'a> {
    /// Number of values; `None` if one stands for all.
    fn length(&self) -> Option<usize> {
        match self {
            Genes::Each { values, .. } => Some(values.len()),
            Genes::All { .. } => None,
        }
    }

    /// The value of a place, and its name in messages.
    fn at(&self, place: usize) -> (&'a Value, String) {
        match self {
            Genes::Each { key, values } => (&values[place], format!("{key}[{place}]")),
            Genes::All { key, value } => (value, (*key).to_owned()),
        }
    }
}

/// The width multiplier in a space's name: 1.2 for `mbv3-w1.2`.
fn width_of(space: &str) -> Option<f64> {
    space.split_once("-w")?.1.parse().ok()
}
