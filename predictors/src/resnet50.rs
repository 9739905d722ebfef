//! The published predictor of the once-for-all ResNet50 space, which is known here by its encoding alone: it has no
//! `space.yaml`, so its networks can be judged, but neither costed nor searched.
//!
//! A genome is `{"d": […], "e": […], "w": […], "r": n}` (`once-for-all` §4.2): `d[0]` says whether the stem has its
//! residual block (0: no), `d[1]`… how many blocks each of the four stages has beyond 2, 2, 4 and 2; `e` the expand
//! ratio of each of the 18 blocks of the deepest network; `w` six width indices (stem middle, stem end, four stages).
//!
//! Features, one-hot group after group: the resolutions in the order of the predictor's list; stem block absent,
//! present; three widths for each `w`; three expand ratios for each block, all zero for one that depth drops.

use serde::Deserialize;

use crate::encode::ActiveRows;
use crate::ensemble::{Model, Prediction};
use crate::error::{PredictorError, Result};

/// The space's name.
pub const SPACE: &str = "ofa-resnet50";
/// The name of its features' layout in predictor files.
pub(crate) const LAYOUT: &str = "ofa-library-resnet50";
/// Expand ratios a block may have.
pub(crate) const EXPANDS: [f64; 3] = [0.2, 0.25, 0.35];

/// Blocks of each stage at its deepest and at its shallowest.
const STAGES: [(usize, usize); 4] = [(4, 2), (4, 2), (6, 4), (4, 2)];
const BLOCKS: usize = 18;
const WIDTHS: usize = 6;
const CHOICES: u32 = 3;

/// One network of the space.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet50Genome {
    /// Whether the stem has its residual block.
    stem: bool,
    /// Blocks of each stage.
    depths: [usize; 4],
    /// Position in [`EXPANDS`] for every block of the deepest network.
    expands: [u32; BLOCKS],
    widths: [u32; WIDTHS],
    resolution: u32,
}

#[derive(Deserialize)]
struct Published {
    d: Vec<usize>,
    e: Vec<f64>,
    w: Vec<u32>,
    r: Resolution,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Resolution {
    One(u32),
    List([u32; 1]),
}

impl ResNet50Genome {
    /// Reads genomes, one JSON object per line; empty lines are passed over. `origin` (the file's name) is for errors.
    ///
    /// # Errors
    /// [`PredictorError::Genome`] with the line.
    pub fn read_lines(text: &str, origin: &str) -> Result<Vec<ResNet50Genome>> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(index, line): (usize, &str)| {
            Self::read(line).map_err(|problem| PredictorError::Genome {
                origin: origin.to_owned(),
                line: index + 1,
                problem,
            })
        };
        lines.map(read).collect()
    }

    fn read(line: &str) -> std::result::Result<ResNet50Genome, String> {
        let Published { d, e, w, r } = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let length = |name: &str, got: usize, expected: usize| {
            if got == expected { Ok(()) } else { Err(format!("`{name}` has {got} entries, expected {expected}")) }
        };
        length("d", d.len(), 1 + STAGES.len())?;
        length("e", e.len(), BLOCKS)?;
        length("w", w.len(), WIDTHS)?;
        let more = |stage: usize, least: usize, most: usize| match d[1 + stage] {
            more if more <= most - least => Ok(least + more),
            more => Err(format!("d[{}] is {more}, but this stage has at most {} more blocks", 1 + stage, most - least)),
        };
        let mut depths = [0; 4];
        for (stage, (most, least)) in STAGES.into_iter().enumerate() {
            depths[stage] = more(stage, least, most)?;
        }
        let mut expands = [0; BLOCKS];
        for (block, ratio) in e.iter().enumerate() {
            let place = EXPANDS.iter().position(|known| (known - ratio).abs() < 1e-9);
            expands[block] = place.ok_or_else(|| format!("e[{block}] is {ratio}, none of 0.2, 0.25, 0.35"))? as u32;
        }
        let mut widths = [0; WIDTHS];
        for (place, &width) in w.iter().enumerate() {
            if width >= CHOICES {
                return Err(format!("w[{place}] is {width}, none of 0, 1, 2"));
            }
            widths[place] = width;
        }
        let resolution = match r {
            Resolution::One(resolution) | Resolution::List([resolution]) => resolution,
        };
        Ok(ResNet50Genome { stem: d[0] > 0, depths, expands, widths, resolution })
    }
}

/// Turns genomes into features.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet50Encoder {
    resolutions: Vec<u32>,
}

impl ResNet50Encoder {
    /// An encoder for `resolutions` (those the predictor is trained on, in column order).
    ///
    /// # Errors
    /// [`PredictorError::NoResolution`]; [`PredictorError::BadResolution`] for one that comes twice.
    pub fn new(resolutions: &[u32]) -> Result<ResNet50Encoder> {
        if resolutions.is_empty() {
            return Err(PredictorError::NoResolution);
        }
        for (index, &got) in resolutions.iter().enumerate() {
            if resolutions[..index].contains(&got) {
                let problem = "is given twice".to_owned();
                return Err(PredictorError::BadResolution { got, problem, offered: resolutions.to_vec() });
            }
        }
        Ok(ResNet50Encoder { resolutions: resolutions.to_vec() })
    }

    /// Resolutions it knows, in column order.
    pub fn resolutions(&self) -> &[u32] {
        &self.resolutions
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.resolutions.len() + 2 + CHOICES as usize * (WIDTHS + BLOCKS)
    }

    /// The ones of every genome.
    ///
    /// # Errors
    /// [`PredictorError::UnknownResolution`].
    pub fn encode(&self, genomes: &[ResNet50Genome]) -> Result<ActiveRows> {
        let mut rows = ActiveRows::default();
        for genome in genomes {
            let known = self.resolutions.iter().position(|&resolution| resolution == genome.resolution);
            let resolution = known.ok_or_else(|| PredictorError::UnknownResolution {
                got: genome.resolution,
                known: self.resolutions.clone(),
            })?;
            let stem = self.resolutions.len() as u32;
            let widths = stem + 2;
            let expands = widths + CHOICES * WIDTHS as u32;
            let mut active = vec![resolution as u32, stem + u32::from(genome.stem)];
            active
                .extend((widths..).step_by(CHOICES as usize).zip(genome.widths).map(|(first, choice)| first + choice));
            let mut first_block = 0;
            for (depth, (most, _)) in genome.depths.into_iter().zip(STAGES) {
                let blocks = first_block..first_block + depth;
                active.extend(blocks.map(|block| expands + CHOICES * block as u32 + genome.expands[block]));
                first_block += most;
            }
            rows.push(active);
        }
        Ok(rows)
    }
}

/// Accuracy from a genome.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet50Predictor {
    encoder: ResNet50Encoder,
    model: Model,
}

impl ResNet50Predictor {
    pub(crate) fn new(encoder: ResNet50Encoder, model: Model) -> ResNet50Predictor {
        assert_eq!(encoder.width(), model.features, "a model of other features");
        ResNet50Predictor { encoder, model }
    }

    /// The features it reads.
    pub fn encoder(&self) -> &ResNet50Encoder {
        &self.encoder
    }

    /// What makes top-1 of the features.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Top-1 and spread of every genome.
    ///
    /// # Errors
    /// [`PredictorError::UnknownResolution`].
    pub fn predict(&self, genomes: &[ResNet50Genome]) -> Result<Vec<Prediction>> {
        Ok(self.model.predict(&self.encoder.encode(genomes)?))
    }
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;

    const GENOME: &str = r#"{"d":[2,1,0,0,0],"e":[0.2,0.25,0.25,0.35,0.35,0.2,0.2,0.35,0.35,0.35,0.35,0.2,0.25,0.2,0.25,0.2,0.2,0.35],"w":[1,0,1,1,0,0],"r":192}"#;

    #[test]
    fn a_genome_has_the_published_features() {
        let encoder = ResNet50Encoder::new(&[128, 144, 160, 176, 192, 224, 240, 256]).unwrap();
        assert_eq!(encoder.width(), 82);
        let genomes = ResNet50Genome::read_lines(&format!("{GENOME}\n\n"), "file").unwrap();
        let rows = encoder.encode(&genomes).unwrap();
        assert_eq!(rows.row(0), [4, 9, 11, 13, 17, 20, 22, 25, 28, 32, 35, 42, 43, 54, 57, 60, 61, 71, 73]);
        let list = GENOME.replace("192", "[192]");
        assert_eq!(ResNet50Genome::read_lines(&list, "file").unwrap(), genomes);
        assert!(matches!(
            ResNet50Encoder::new(&[128]).unwrap().encode(&genomes),
            Err(PredictorError::UnknownResolution { got: 192, .. })
        ));
    }

    #[test]
    fn what_is_no_genome_is_refused_with_its_line() {
        let refused = |from: &str, to: &str| {
            let text = format!("{GENOME}\n{}", GENOME.replacen(from, to, 1));
            let error = ResNet50Genome::read_lines(&text, "nets.jsonl").unwrap_err();
            assert_eq!(error.kind(), FailureKind::Content);
            let message = error.to_string();
            assert!(message.starts_with("nets.jsonl:2: "), "{message}");
            message
        };
        assert!(refused("[2,1,0,0,0]", "[2,3,0,0,0]").contains("d[1] is 3"));
        assert!(refused("[2,1,0,0,0]", &format!("[2,{},0,0,0]", u64::MAX)).contains("d[1] is"));
        assert!(refused("[2,1,0,0,0]", "[2,1,0,0]").contains("`d` has 4 entries, expected 5"));
        assert!(refused("[0.2,", "[0.3,").contains("e[0] is 0.3"));
        assert!(refused("[1,0,1,1,0,0]", "[1,0,1,1,0,3]").contains("w[5] is 3"));
        assert!(refused("\"r\":192", "\"s\":192").contains("missing field `r`"));
    }
}
