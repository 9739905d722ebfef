//! Search spaces as YAML files (`ofa.space/1`), the shipped ones included.
//!
//! The file holds base widths and a width multiplier; [`SearchSpace::from_yaml`] is the checked door that rounds them.
//! [`SearchSpace::to_yaml`] writes resolved widths (multiplier 1), so reading it back gives an equal space.

use std::sync::Arc;

use network::op::Activation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::names::closest;

use crate::error::SearchError;
use crate::space::{BatchNormSettings, FirstBlock, HeadLayer, SearchSpace, SpaceId, Stage, Stem, make_divisible};

/// Schema word of a space file.
pub(crate) const SPACE_SCHEMA: &str = "ofa.space/1";

const BUILTIN: [(&str, &str); 6] = [
    ("mbv3-w1.0", include_str!("../../spaces/mbv3-w1.0.yaml")),
    ("mbv3-w1.2", include_str!("../../spaces/mbv3-w1.2.yaml")),
    ("proxyless-w1.3", include_str!("../../spaces/proxyless-w1.3.yaml")),
    ("fbnet-imagenet", include_str!("../../spaces/fbnet-imagenet.yaml")),
    ("fbnet-cifar", include_str!("../../spaces/fbnet-cifar.yaml")),
    ("mcu-cifar", include_str!("../../spaces/mcu-cifar.yaml")),
];

/// Keeps every later product of width and expand ratio inside 32 bits.
const MAX_WIDTH: u32 = 16_384;
/// Largest input side that any space may offer and any cost question may use.
pub(crate) const MAX_RESOLUTION: u32 = 4_096;
/// Smallest input side that any space may offer and any cost question may use.
pub(crate) const MIN_RESOLUTION: u32 = 16;

impl SearchSpace {
    /// Names of the shipped spaces.
    pub fn builtin_names() -> Vec<&'static str> {
        BUILTIN.iter().map(|(name, _)| *name).collect()
    }

    /// A shipped space.
    ///
    /// # Errors
    /// [`SearchError::UnknownSpace`], naming the nearest.
    pub fn builtin(name: &str) -> Result<SearchSpace, SearchError> {
        match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => SearchSpace::from_yaml(text),
            None => {
                let known = SearchSpace::builtin_names();
                let nearest = closest(name, &known).unwrap_or(known[0]);
                Err(SearchError::UnknownSpace { got: name.to_owned(), known, nearest })
            }
        }
    }

    /// Reads a space file.
    ///
    /// # Errors
    /// [`SearchError::SpaceSyntax`] (not YAML, unknown or missing key) or [`SearchError::SpaceField`] (a value that
    /// makes no sense, with its path).
    pub fn from_yaml(text: &str) -> Result<SearchSpace, SearchError> {
        let file: SpaceFile = serde_yaml::from_str(text).map_err(|error| {
            let problem = error.to_string();
            SearchError::SpaceSyntax { hint: nearest_key(&problem), problem }
        })?;
        SearchSpace::try_from(file)
    }

    /// The space as a file with resolved widths; `from_yaml` of it gives an equal space.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(&SpaceFile::from(self)).expect("a space has only numbers and words")
    }
}

/// ``unknown field `kernel`, expected one of `width`, …`` → the nearest of the expected ones.
fn nearest_key(problem: &str) -> Option<String> {
    let mut words = problem.split_once("unknown field ")?.1.split('`').skip(1).step_by(2);
    let got = words.next()?;
    let known: Vec<&str> = words.collect();
    closest(got, &known).map(|key| format!("did you mean `{key}`?"))
}

/// The file, word for word.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpaceFile {
    /// `ofa.space/1`.
    schema: String,
    /// What the space is called.
    name: String,
    /// Heights and widths in pixels that a subnet may read: a list, or a range.
    resolutions: ResolutionsFile,
    /// Outputs of the classifier.
    classes: u32,
    /// Multiplies every width below; the product is rounded to a multiple of 8.
    #[serde(default = "one")]
    width_mult: f64,
    /// Share of the classifier's inputs that training leaves out.
    #[serde(default)]
    dropout: f64,
    /// Constants of every batch norm.
    batch_norm: BatchNormFile,
    /// The first convolution.
    stem: StemFile,
    /// The block after it, without choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_block: Option<FirstBlockFile>,
    /// Stages of inverted bottlenecks, with the choices.
    stages: Vec<StageFile>,
    /// 1x1 convolutions or fully connected layers before the classifier.
    head: Vec<HeadFile>,
}

fn one() -> f64 {
    1.0
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ResolutionsFile {
    List(Vec<u32>),
    Range(ResolutionRange),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolutionRange {
    /// The smallest.
    from: u32,
    /// The largest.
    to: u32,
    /// From one to the next.
    step: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BatchNormFile {
    /// Weight of the newest batch in running statistics.
    momentum: f64,
    /// Added to variances.
    eps: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StemFile {
    /// Channels of the output.
    width: u32,
    /// Height and width of the kernel.
    kernel: u32,
    /// Stride.
    stride: u32,
    /// `relu`, `relu6`, `hswish` or `none`.
    activation: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FirstBlockFile {
    /// Channels of the output.
    width: u32,
    /// Height and width of the depthwise kernel.
    kernel: u32,
    /// Stride.
    stride: u32,
    /// `relu`, `relu6`, `hswish` or `none`.
    activation: String,
    /// Whether the input is added to the output.
    residual: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StageFile {
    /// Channels of each block's output.
    width: u32,
    /// Stride of the first block; the others have 1.
    stride: u32,
    /// `relu`, `relu6`, `hswish` or `none`.
    activation: String,
    /// Whether blocks have squeeze-excite.
    #[serde(default)]
    squeeze_excite: bool,
    /// Whether a block of expand ratio 1 keeps its first 1x1 convolution.
    #[serde(default)]
    expand_conv_at_one: bool,
    /// Choices: how many blocks.
    depths: Vec<u32>,
    /// Choices of each block: the depthwise kernel's height and width.
    kernels: Vec<u32>,
    /// Choices of each block: channels inside, as a multiple of its input's.
    expands: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    /// Channels of the output.
    width: u32,
    /// `relu`, `relu6`, `hswish` or `none`.
    activation: String,
    /// Whether a batch norm follows.
    batch_norm: bool,
    /// Whether it comes before global pooling, as a 1x1 convolution; after it, it is fully connected.
    before_pool: bool,
}

/// Checks one file; knows the space's name for its messages.
struct Checker<'a> {
    space: &'a str,
    width_mult: f64,
}

impl Checker<'_> {
    fn fail<T>(&self, field: impl Into<String>, problem: impl Into<String>) -> Result<T, SearchError> {
        Err(SearchError::SpaceField {
            space: self.space.to_owned(),
            field: field.into(),
            problem: problem.into(),
            hint: None,
        })
    }

    fn range(&self, field: String, what: &str, got: u32, least: u32, most: u32) -> Result<u32, SearchError> {
        if (least..=most).contains(&got) {
            return Ok(got);
        }
        self.fail(field, format!("{what} {got} is not between {least} and {most}"))
    }

    fn width(&self, field: String, base: u32) -> Result<u32, SearchError> {
        let base = self.range(field.clone(), "width", base, 1, MAX_WIDTH)?;
        self.range(field, "width × width_mult", make_divisible(f64::from(base) * self.width_mult), 1, MAX_WIDTH)
    }

    fn kernel(&self, field: String, kernel: u32) -> Result<u32, SearchError> {
        if kernel % 2 == 1 && kernel <= 31 {
            return Ok(kernel);
        }
        self.fail(field, format!("kernel size {kernel} is not an odd number up to 31"))
    }

    fn activation(&self, field: String, word: &str) -> Result<Activation, SearchError> {
        Activation::parse(word).ok_or_else(|| {
            let known = ["none", "relu", "relu6", "hswish"];
            SearchError::SpaceField {
                space: self.space.to_owned(),
                field,
                problem: format!("there is no activation `{word}`"),
                hint: closest(word, &known).map(|near| format!("did you mean `{near}`? Known: {}", known.join(", "))),
            }
        })
    }

    /// At least one value, each larger than the one before.
    fn ascending(&self, field: &str, values: &[u32]) -> Result<(), SearchError> {
        if values.is_empty() {
            return self.fail(field, "the list is empty");
        }
        match values.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => {
                self.fail(field, format!("{} does not come after {}: list values once, ascending", pair[1], pair[0]))
            }
            None => Ok(()),
        }
    }
}

impl TryFrom<SpaceFile> for SearchSpace {
    type Error = SearchError;

    fn try_from(file: SpaceFile) -> Result<Self, SearchError> {
        let check = Checker { space: &file.name, width_mult: file.width_mult };
        if file.schema != SPACE_SCHEMA {
            return check.fail("schema", format!("schema is `{}`, this version reads `{SPACE_SCHEMA}`", file.schema));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if file.name.is_empty() || !file.name.chars().all(plain) {
            return check.fail("name", "a name has letters, digits, `.`, `_` and `-` only, at least one");
        }
        if !(file.width_mult.is_finite() && file.width_mult > 0.0) {
            return check.fail("width_mult", format!("{} is not a positive number", file.width_mult));
        }
        if !(0.0..1.0).contains(&file.dropout) {
            return check.fail("dropout", format!("{} is not at least 0 and below 1", file.dropout));
        }
        let BatchNormFile { momentum, eps } = file.batch_norm;
        if !(momentum > 0.0 && momentum <= 1.0) {
            return check.fail("batch_norm.momentum", format!("{momentum} is not above 0 and at most 1"));
        }
        if !(eps > 0.0 && eps < 1.0) {
            return check.fail("batch_norm.eps", format!("{eps} is not between 0 and 1"));
        }
        let stem = Stem {
            width: check.width("stem.width".into(), file.stem.width)?,
            kernel: check.kernel("stem.kernel".into(), file.stem.kernel)?,
            stride: check.range("stem.stride".into(), "stride", file.stem.stride, 1, 8)?,
            activation: check.activation("stem.activation".into(), &file.stem.activation)?,
        };
        let first_block = match &file.first_block {
            None => None,
            Some(block) => Some(FirstBlock {
                width: check.width("first_block.width".into(), block.width)?,
                kernel: check.kernel("first_block.kernel".into(), block.kernel)?,
                stride: check.range("first_block.stride".into(), "stride", block.stride, 1, 8)?,
                activation: check.activation("first_block.activation".into(), &block.activation)?,
                residual: block.residual,
            }),
        };
        if file.stages.is_empty() || file.stages.len() > 32 {
            return check.fail("stages", format!("{} stages; a space has 1 to 32", file.stages.len()));
        }
        let stages = file.stages.iter().enumerate().map(|(index, stage)| check_stage(&check, index, stage));
        let head = file.head.iter().enumerate().map(|(index, layer)| {
            Ok(HeadLayer {
                width: check.width(format!("head[{index}].width"), layer.width)?,
                activation: check.activation(format!("head[{index}].activation"), &layer.activation)?,
                batch_norm: layer.batch_norm,
                before_pool: layer.before_pool,
            })
        });
        let space = SearchSpace {
            id: SpaceId(Arc::from(file.name.as_str())),
            resolutions: check_resolutions(&check, &file.resolutions)?,
            stem,
            first_block,
            stages: stages.collect::<Result<_, SearchError>>()?,
            head: head.collect::<Result<_, SearchError>>()?,
            classes: check.range("classes".into(), "number of classes", file.classes, 1, 1_000_000)?,
            dropout: file.dropout,
            batch_norm: BatchNormSettings { momentum, eps },
        };
        if let Some(index) =
            (1..space.head.len()).find(|&i| space.head[i].before_pool && !space.head[i - 1].before_pool)
        {
            return check.fail(format!("head[{index}].before_pool"), "layers before the pool come first");
        }
        Ok(space)
    }
}

fn check_stage(check: &Checker<'_>, index: usize, stage: &StageFile) -> Result<Stage, SearchError> {
    let at = |key: &str| format!("stages[{index}].{key}");
    check.ascending(&at("depths"), &stage.depths)?;
    check.ascending(&at("kernels"), &stage.kernels)?;
    check.ascending(&at("expands"), &stage.expands)?;
    for &depth in &stage.depths {
        check.range(at("depths"), "depth", depth, 1, 32)?;
    }
    for &kernel in &stage.kernels {
        check.kernel(at("kernels"), kernel)?;
    }
    for &expand in &stage.expands {
        check.range(at("expands"), "expand ratio", expand, 1, 32)?;
    }
    if stage.kernels.len() * stage.expands.len() > 250 {
        return check.fail(at("kernels"), "more than 250 pairs of kernel size and expand ratio");
    }
    Ok(Stage {
        width: check.width(at("width"), stage.width)?,
        stride: check.range(at("stride"), "stride", stage.stride, 1, 8)?,
        activation: check.activation(at("activation"), &stage.activation)?,
        squeeze_excite: stage.squeeze_excite,
        expand_conv_at_one: stage.expand_conv_at_one,
        depths: stage.depths.clone(),
        kernels: stage.kernels.clone(),
        expands: stage.expands.clone(),
    })
}

fn check_resolutions(check: &Checker<'_>, file: &ResolutionsFile) -> Result<Vec<u32>, SearchError> {
    let list = match file {
        ResolutionsFile::List(list) => list.clone(),
        ResolutionsFile::Range(ResolutionRange { step: 0, .. }) => {
            return check.fail("resolutions.step", "a step of 0");
        }
        ResolutionsFile::Range(range) if range.to > MAX_RESOLUTION => {
            return check.fail("resolutions.to", format!("resolution {} is above {MAX_RESOLUTION}", range.to));
        }
        ResolutionsFile::Range(range) => (range.from..=range.to).step_by(range.step as usize).collect(),
    };
    check.ascending("resolutions", &list)?;
    if list.len() > 250 {
        return check.fail("resolutions", "more than 250 resolutions");
    }
    for &resolution in &list {
        check.range("resolutions".into(), "resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)?;
    }
    Ok(list)
}

impl From<&SearchSpace> for SpaceFile {
    fn from(space: &SearchSpace) -> Self {
        SpaceFile {
            schema: SPACE_SCHEMA.into(),
            name: space.id.to_string(),
            resolutions: ResolutionsFile::List(space.resolutions.clone()),
            classes: space.classes,
            width_mult: 1.0,
            dropout: space.dropout,
            batch_norm: BatchNormFile { momentum: space.batch_norm.momentum, eps: space.batch_norm.eps },
            stem: StemFile {
                width: space.stem.width,
                kernel: space.stem.kernel,
                stride: space.stem.stride,
                activation: space.stem.activation.name().into(),
            },
            first_block: space.first_block.as_ref().map(|block| FirstBlockFile {
                width: block.width,
                kernel: block.kernel,
                stride: block.stride,
                activation: block.activation.name().into(),
                residual: block.residual,
            }),
            stages: space
                .stages
                .iter()
                .map(|stage| StageFile {
                    width: stage.width,
                    stride: stage.stride,
                    activation: stage.activation.name().into(),
                    squeeze_excite: stage.squeeze_excite,
                    expand_conv_at_one: stage.expand_conv_at_one,
                    depths: stage.depths.clone(),
                    kernels: stage.kernels.clone(),
                    expands: stage.expands.clone(),
                })
                .collect(),
            head: space
                .head
                .iter()
                .map(|layer| HeadFile {
                    width: layer.width,
                    activation: layer.activation.name().into(),
                    batch_norm: layer.batch_norm,
                    before_pool: layer.before_pool,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::failure::Failure;

    use super::*;

    #[test]
    fn every_builtin_reads_and_prints_to_an_equal_space() {
        for name in SearchSpace::builtin_names() {
            let space = SearchSpace::builtin(name).unwrap();
            assert_eq!(&*space.id().0, name);
            assert_eq!(SearchSpace::from_yaml(&space.to_yaml()).unwrap(), space);
        }
    }

    #[test]
    fn an_unknown_space_names_the_nearest() {
        let error = SearchSpace::builtin("mbv3-w1.1").unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().unwrap().contains("mbv3-w1."));
    }

    fn check(from: &str, to: &str, expected: &str) {
        let text = BUILTIN[5].1;
        assert!(text.contains(from), "{from}");
        let error = SearchSpace::from_yaml(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3);
        let message = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn wrong_values_are_named_by_their_path() {
        check("kernels: [3, 5]", "kernels: [3, 4]", "stages[0].kernels");
        check("kernels: [3, 5]", "kernels: [5, 3]", "stages[0].kernels");
        check("kernels: [3, 5]", "kernel: [3, 5]", "did you mean `kernels`?");
        check("depths: [2, 3]", "depths: []", "stages[1].depths");
        check("activation: relu6", "activation: relu66", "did you mean `relu6`?");
        check("ofa.space/1", "ofa.space/9", "schema");
        check("[24, 28, 32]", "[8, 28, 32]", "resolutions");
        check("[24, 28, 32]", "{from: 32, to: 24, step: 4}", "resolutions");
        check("width: 40", "width: 0", "stages[1].width");
        check("dropout: 0.0", "dropout: .nan", "dropout");
        check("width_mult: 1.0", "width_mult: -1", "width_mult");
        check("classes: 10", "classes: 0", "classes");
        check("classes: 10", "classes: ten", "line");
    }
}
