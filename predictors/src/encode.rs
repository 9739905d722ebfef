//! Architectures as 0/1 features, in layouts that are written down.
//!
//! Every layout is a row of one-hot groups; a block that depth drops is all zero, and depth is not encoded otherwise
//! (`once-for-all` §4.1). Choices are numbered in ascending order. With `i` counting blocks over all stages at their
//! deepest:
//!
//! | layout | order of the groups |
//! |---|---|
//! | [`Layout::Blocks`] | for each block: kernel sizes, then expand ratios; last the resolutions, in the order of the encoder's list |
//! | [`Layout::Tutorial`] | kernel sizes of every block, expand ratios of every block, then eight resolutions: 112, 128, … 224 |
//! | [`Layout::Library`] | the resolutions, in the order of the encoder's list; kernel sizes of every block, expand ratios of every block |
//!
//! `Tutorial` is that of the published `ofa/acc_predictor.pth` (60 + 60 + 8 features for the MobileNetV3 spaces),
//! `Library` that of `ofa.nas.accuracy_predictor`. At most 2 Σ depth + 1 of the features are one, so an architecture is
//! passed on as the list of those ([`ActiveRows`]) and a model's first layer is a sum of rows.

use search::arch::{ArchSpec, BlockSpec};
use search::space::{SearchSpace, SpaceId};

use crate::error::{PredictorError, Result};

/// Order of the one-hot groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// This project's own: block by block, for any space.
    Blocks,
    /// The published tutorial predictor's.
    Tutorial,
    /// The published library predictor's.
    Library,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 3] = [Layout::Blocks, Layout::Tutorial, Layout::Library];

    /// Its name in predictor files.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Blocks => "blocks",
            Layout::Tutorial => "ofa-tutorial",
            Layout::Library => "ofa-library",
        }
    }

    /// The layout of that name.
    pub(crate) fn from_name(name: &str) -> Option<Layout> {
        Layout::ALL.into_iter().find(|layout| layout.name() == name)
    }
}

/// Resolutions that have a column in [`Layout::Tutorial`].
pub(crate) const TUTORIAL_RESOLUTIONS: [u32; 8] = [112, 128, 144, 160, 176, 192, 208, 224];

/// What a feature stands for; blocks count over all stages at their deepest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Block `block` of stage `stage` is there and has the `choice`-th kernel size.
    Kernel {
        /// Stage from 0.
        stage: usize,
        /// Block over all stages from 0.
        block: usize,
        /// Position in the stage's ascending list of kernel sizes.
        choice: usize,
    },
    /// Block `block` of stage `stage` is there and has the `choice`-th expand ratio.
    Expand {
        /// Stage from 0.
        stage: usize,
        /// Block over all stages from 0.
        block: usize,
        /// Position in the stage's ascending list of expand ratios.
        choice: usize,
    },
    /// The input has this resolution.
    Resolution(u32),
}

/// Many architectures as the ascending positions of their ones, row after row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveRows {
    indices: Vec<u32>,
    ends: Vec<usize>,
}

impl ActiveRows {
    /// Adds an architecture by the positions of its ones, ascending.
    pub(crate) fn push(&mut self, active: impl IntoIterator<Item = u32>) {
        self.indices.extend(active);
        self.ends.push(self.indices.len());
    }

    /// Number of architectures.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Positions of the ones of architecture `row`, ascending.
    pub fn row(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.indices[start..self.ends[row]]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.len()).map(|row| self.row(row))
    }

    /// The chosen rows, in the order given.
    pub fn select(&self, rows: &[usize]) -> ActiveRows {
        let mut chosen = ActiveRows::default();
        for &row in rows {
            chosen.indices.extend_from_slice(self.row(row));
            chosen.ends.push(chosen.indices.len());
        }
        chosen
    }
}

/// Turns architectures of one space into features of one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchEncoder {
    layout: Layout,
    space: SpaceId,
    resolutions: Vec<u32>,
    /// Column of `resolutions[i]`.
    resolution_columns: Vec<u32>,
    stages: Vec<StageColumns>,
    features: Vec<Feature>,
}

/// Where a stage's blocks have their columns.
#[derive(Clone, Debug, PartialEq)]
struct StageColumns {
    kernels: Vec<u32>,
    expands: Vec<u32>,
    /// First kernel and first expand column of each block.
    blocks: Vec<(u32, u32)>,
}

impl ArchEncoder {
    /// An encoder for architectures of `space` at `resolutions` (those the predictor is trained on, in column order).
    ///
    /// # Errors
    /// [`PredictorError::NoResolution`], or [`PredictorError::BadResolution`] for one that comes twice, that `space`
    /// does not offer, or that has no column in [`Layout::Tutorial`].
    pub fn new(layout: Layout, space: &SearchSpace, resolutions: &[u32]) -> Result<ArchEncoder> {
        check_resolutions(layout, space, resolutions)?;
        let columns: &[u32] = if layout == Layout::Tutorial { &TUTORIAL_RESOLUTIONS } else { resolutions };
        let mut features = Vec::new();
        let mut stages: Vec<StageColumns> = space
            .stages()
            .iter()
            .map(|stage| StageColumns {
                kernels: stage.kernels.clone(),
                expands: stage.expands.clone(),
                blocks: vec![(0, 0); stage.max_depth()],
            })
            .collect();
        let first_resolution = |features: &mut Vec<Feature>| {
            let first = features.len();
            features.extend(columns.iter().map(|&resolution| Feature::Resolution(resolution)));
            first
        };
        let first_resolution = match layout {
            Layout::Blocks => {
                for_blocks(&mut stages, |stage, block, columns, own| {
                    own.0 = add_kernels(&mut features, stage, block, columns.0);
                    own.1 = add_expands(&mut features, stage, block, columns.1);
                });
                first_resolution(&mut features)
            }
            Layout::Tutorial | Layout::Library => {
                let early = (layout == Layout::Library).then(|| first_resolution(&mut features));
                for_blocks(&mut stages, |stage, block, columns, own| {
                    own.0 = add_kernels(&mut features, stage, block, columns.0);
                });
                for_blocks(&mut stages, |stage, block, columns, own| {
                    own.1 = add_expands(&mut features, stage, block, columns.1);
                });
                early.unwrap_or_else(|| first_resolution(&mut features))
            }
        };
        let resolution_columns = resolutions
            .iter()
            .map(|resolution| {
                let column = columns.iter().position(|column| column == resolution).unwrap_or_default();
                (first_resolution + column) as u32
            })
            .collect();
        Ok(ArchEncoder {
            layout,
            space: space.id().clone(),
            resolutions: resolutions.to_vec(),
            resolution_columns,
            stages,
            features,
        })
    }

    /// Its layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The space whose architectures it encodes.
    pub fn space(&self) -> &SpaceId {
        &self.space
    }

    /// Resolutions it knows, in column order.
    pub fn resolutions(&self) -> &[u32] {
        &self.resolutions
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.features.len()
    }

    /// The feature of an input of `resolution`.
    ///
    /// # Panics
    /// If it is not one of [`ArchEncoder::resolutions`].
    pub(crate) fn resolution_column(&self, resolution: u32) -> usize {
        let known = self.resolutions.iter().position(|&known| known == resolution);
        self.resolution_columns[known.expect("a known resolution")] as usize
    }

    /// The features of a block, counted from 0 within its stage: of its kernel size and of its expand ratio.
    ///
    /// # Panics
    /// If the space has no such block.
    pub(crate) fn block_columns(&self, stage: usize, block: usize, settings: BlockSpec) -> (usize, usize) {
        let stage = &self.stages[stage];
        let (kernels, expands) = stage.blocks[block];
        let kernel = kernels + place(&stage.kernels, settings.kernel);
        (kernel as usize, (expands + place(&stage.expands, settings.expand)) as usize)
    }

    /// What each feature stands for.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The ones of `arch`, ascending.
    ///
    /// # Errors
    /// As [`ArchEncoder::encode`].
    pub fn active(&self, arch: &ArchSpec) -> Result<Vec<u32>> {
        let mut indices = Vec::new();
        self.push(arch, &mut indices)?;
        Ok(indices)
    }

    /// The ones of every architecture.
    ///
    /// # Errors
    /// [`PredictorError::OtherSpace`] and [`PredictorError::UnknownResolution`].
    pub fn encode<'a>(&self, archs: impl IntoIterator<Item = &'a ArchSpec>) -> Result<ActiveRows> {
        let mut rows = ActiveRows::default();
        for arch in archs {
            self.push(arch, &mut rows.indices)?;
            rows.ends.push(rows.indices.len());
        }
        Ok(rows)
    }

    /// The kernel sizes and expand ratios of every block at its deepest: what a predictor file says about its space.
    pub(crate) fn choices(&self) -> Vec<(&[u32], &[u32])> {
        self.stages
            .iter()
            .flat_map(|stage| stage.blocks.iter().map(|_| (&stage.kernels[..], &stage.expands[..])))
            .collect()
    }

    fn push(&self, arch: &ArchSpec, indices: &mut Vec<u32>) -> Result<()> {
        if arch.space() != &self.space {
            return Err(PredictorError::OtherSpace {
                what: "the subnet".to_owned(),
                got: arch.space().to_string(),
                expected: self.space.to_string(),
            });
        }
        let known = self.resolutions.iter().position(|&resolution| resolution == arch.resolution());
        let resolution = self.resolution_columns[known.ok_or_else(|| PredictorError::UnknownResolution {
            got: arch.resolution(),
            known: self.resolutions.clone(),
        })?];
        let blocks = self.stages.iter().zip(arch.stages()).flat_map(|(stage, spec)| {
            stage.blocks.iter().zip(&spec.blocks).map(move |(columns, block)| (stage, columns, block))
        });
        match self.layout {
            Layout::Blocks => {
                for (stage, columns, block) in blocks {
                    indices.push(columns.0 + place(&stage.kernels, block.kernel));
                    indices.push(columns.1 + place(&stage.expands, block.expand));
                }
                indices.push(resolution);
            }
            Layout::Tutorial | Layout::Library => {
                indices.extend((self.layout == Layout::Library).then_some(resolution));
                indices.extend(
                    blocks.clone().map(|(stage, columns, block)| columns.0 + place(&stage.kernels, block.kernel)),
                );
                indices.extend(blocks.map(|(stage, columns, block)| columns.1 + place(&stage.expands, block.expand)));
                indices.extend((self.layout == Layout::Tutorial).then_some(resolution));
            }
        }
        Ok(())
    }
}

fn check_resolutions(layout: Layout, space: &SearchSpace, resolutions: &[u32]) -> Result<()> {
    if resolutions.is_empty() {
        return Err(PredictorError::NoResolution);
    }
    let bad = |got, problem: String, offered: &[u32]| {
        Err(PredictorError::BadResolution { got, problem, offered: offered.to_vec() })
    };
    for (index, &got) in resolutions.iter().enumerate() {
        if resolutions[..index].contains(&got) {
            return bad(got, "is given twice".to_owned(), resolutions);
        }
        if layout == Layout::Tutorial && !TUTORIAL_RESOLUTIONS.contains(&got) {
            return bad(got, "has no column in the tutorial layout".to_owned(), &TUTORIAL_RESOLUTIONS);
        }
        if !space.resolutions().contains(&got) {
            return bad(got, format!("is not offered by space `{}`", space.id()), space.resolutions());
        }
    }
    Ok(())
}

/// Position of a setting among the choices: an architecture's settings are always offered by its space.
fn place(choices: &[u32], value: u32) -> u32 {
    choices.iter().position(|&choice| choice == value).expect("an architecture holds only settings of its space") as u32
}

fn for_blocks(stages: &mut [StageColumns], mut visit: impl FnMut(usize, usize, (usize, usize), &mut (u32, u32))) {
    let mut block = 0;
    for (index, stage) in stages.iter_mut().enumerate() {
        let choices = (stage.kernels.len(), stage.expands.len());
        for own in &mut stage.blocks {
            visit(index, block, choices, own);
            block += 1;
        }
    }
}

fn add_kernels(features: &mut Vec<Feature>, stage: usize, block: usize, choices: usize) -> u32 {
    let first = features.len() as u32;
    features.extend((0..choices).map(|choice| Feature::Kernel { stage, block, choice }));
    first
}

fn add_expands(features: &mut Vec<Feature>, stage: usize, block: usize, choices: usize) -> u32 {
    let first = features.len() as u32;
    features.extend((0..choices).map(|choice| Feature::Expand { stage, block, choice }));
    first
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use search::arch_file::ArchFile;
    use serde_json::Value;
    use storage::failure::Failure;

    use super::*;
    use crate::testing::{sample_known, shared, space};

    fn encoder(layout: Layout, space: &SearchSpace) -> ArchEncoder {
        let known: &[u32] = match layout {
            Layout::Tutorial => &[160, 176, 192, 208, 224],
            _ => space.resolutions(),
        };
        ArchEncoder::new(layout, space, known).unwrap()
    }

    /// The published predictor's features of sixty-one architectures.
    #[test]
    fn tutorial_layout_is_the_published_one() {
        let Some(shared) = shared() else { return };
        let space = space("mbv3-w1.2");
        let encoder = encoder(Layout::Tutorial, &space);
        assert_eq!(encoder.width(), 128);
        let golden = std::fs::read_to_string(shared.join("golden/ofa-accuracy-predictor/golden.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let archs = golden["archs"].as_array().unwrap().iter().chain([&golden["published_anchor"]]);
        let mut checked = 0;
        for entry in archs {
            let genome = serde_json::json!({"ks": entry["ks"], "e": entry["e"], "d": entry["d"], "r": entry["r"]});
            let arch = space.parse(&ArchFile::from_value(genome).unwrap()).unwrap();
            let expected: Vec<u32> = serde_json::from_value(entry["feature_nonzero"].clone()).unwrap();
            assert_eq!(encoder.active(&arch).unwrap(), expected);
            checked += 1;
        }
        assert!(checked >= 51, "only {checked} architectures");
    }

    #[test]
    fn every_layout_tells_architectures_apart() {
        for (layout, name) in [
            (Layout::Blocks, "mcu-cifar"),
            (Layout::Blocks, "fbnet-cifar"),
            (Layout::Library, "proxyless-w1.3"),
            (Layout::Tutorial, "mbv3-w1.2"),
        ] {
            let space = space(name);
            let encoder = encoder(layout, &space);
            let archs: HashSet<_> = sample_known(&space, &encoder, 500, 1).into_iter().collect();
            let rows: HashSet<_> = archs
                .iter()
                .map(|arch| {
                    let active = encoder.active(arch).unwrap();
                    let blocks: usize = arch.stages().iter().map(|stage| stage.blocks.len()).sum();
                    assert_eq!(active.len(), 2 * blocks + 1);
                    assert!(active.is_sorted_by(|a, b| a < b) && (active[active.len() - 1] as usize) < encoder.width());
                    active
                })
                .collect();
            assert_eq!(rows.len(), archs.len());
        }
    }

    #[test]
    fn widths_follow_the_layouts() {
        let proxyless = space("proxyless-w1.3");
        let known = [128, 160, 192, 224];
        assert_eq!(ArchEncoder::new(Layout::Library, &proxyless, &known).unwrap().width(), 4 + 126);
        let mcu = space("mcu-cifar");
        let blocks = encoder(Layout::Blocks, &mcu);
        assert_eq!(blocks.width(), mcu.max_blocks() * 5 + 3);
        assert_eq!(blocks.features()[blocks.width() - 1], Feature::Resolution(32));
        assert_eq!(blocks.features()[5], Feature::Kernel { stage: 0, block: 1, choice: 0 });
    }

    #[test]
    fn strangers_are_refused() {
        let space = space("mbv3-w1.2");
        let make = |known: &[u32]| ArchEncoder::new(Layout::Tutorial, &space, known);
        assert!(matches!(make(&[]), Err(PredictorError::NoResolution)));
        for (known, odd) in [(&[160, 160][..], 160), (&[160, 128], 128), (&[160, 164], 164)] {
            assert!(matches!(make(known), Err(PredictorError::BadResolution { got, .. }) if got == odd));
        }
        let encoder = make(&[160, 192]).unwrap();
        let arch = space.largest(176).unwrap();
        let error = encoder.active(&arch).unwrap_err();
        assert!(matches!(error, PredictorError::UnknownResolution { got: 176, .. }), "{error}");
        assert_eq!(error.hint().unwrap(), "it was trained on 160, 192");
        let other = crate::testing::space("mcu-cifar").largest(32).unwrap();
        assert!(matches!(encoder.active(&other), Err(PredictorError::OtherSpace { .. })));
    }
}
