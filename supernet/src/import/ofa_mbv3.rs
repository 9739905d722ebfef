//! Published once-for-all checkpoints (Cai et al. 2020, arXiv:1908.09791): their parameters under this supernet's names.
//!
//! The published networks number blocks through all stages (`blocks.0` is the static first block) and wrap elastic
//! layers, so a name has its last level once in static networks and twice in supernets (`bn.bn.weight`,
//! `conv.conv.weight`, `linear.linear.weight`); the oldest checkpoints say `mobile_inverted_conv` for the inner `conv`.
//! All spellings are accepted. Kernel-transform matrices that are missing are the identity, as in the published loader,
//! so a static network of the largest subnet becomes a supernet. MobileNetV3 and ProxylessNAS spaces share the layout;
//! they differ in the layers after the last stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use search::space::{SearchSpace, make_divisible};
use storage::arrays::{DType, HostArray, TensorFileError};
use storage::failure::{Failure, FailureKind, Setting};
use thiserror::Error;

use super::{read_pth, state_dict};

/// A published checkpoint that does not become weights of the space.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be read as tensors.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A tensor that no layer of the space has.
    #[error("{}: `{key}` is no parameter of space `{space}` ({count} such tensors)", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// First such tensor.
        key: String,
        /// How many there are.
        count: usize,
        /// The space.
        space: String,
    },
    /// A layer's tensor is not in the file.
    #[error("{}: `{key}` {shape:?} is missing, which space `{space}` needs ({count} such tensors)", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// First such tensor, by its published name.
        key: String,
        /// Shape it should have.
        shape: Vec<usize>,
        /// How many there are.
        count: usize,
        /// The space.
        space: String,
    },
    /// A tensor of another shape.
    #[error("{}: `{key}` has shape {got:?}, but space `{space}` needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// Its shape.
        got: Vec<usize>,
        /// The space's.
        expected: Vec<usize>,
        /// The space.
        space: String,
    },
    /// A parameter that is not of floating-point numbers.
    #[error("{}: `{key}` is {got}, but weights are floats", path.display())]
    NotFloat {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// Its element type.
        got: DType,
    },
    /// Two spellings of one parameter.
    #[error("{}: `{first}` and `{second}` are the same parameter", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// A space whose layers the published networks do not have.
    #[error("space `{space}` {reason}, so published once-for-all checkpoints do not fit it")]
    Space {
        /// The space.
        space: String,
        /// What is different.
        reason: String,
    },
}

impl Failure for ImportError {
    fn kind(&self) -> FailureKind {
        match self {
            ImportError::File(error) => error.kind(),
            ImportError::Space { .. } => FailureKind::Usage,
            _ => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ImportError::File(error) => error.hint(),
            ImportError::Shape { .. } | ImportError::UnknownKey { .. } | ImportError::MissingKey { .. } => {
                Some(format!(
                    "choose the space the checkpoint was trained in: width multiplier, depths, kernels, expand ratios and \
                 classes must agree (`{}`)",
                    Setting("space list")
                ))
            }
            ImportError::Space { .. } => {
                Some("mbv3-w1.0, mbv3-w1.2 and proxyless-w1.3 have published checkpoints".into())
            }
            ImportError::NotFloat { .. } | ImportError::Twice { .. } => None,
        }
    }
}

/// One parameter of a supernet of the published layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishedParameter {
    /// Name in this project's files, e.g. `stages.0.1.expand.conv.weight`.
    pub name: String,
    /// Published name in its shortest spelling, e.g. `blocks.2.conv.inverted_bottleneck.conv.weight`.
    pub published: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Whether it is the identity matrix when a checkpoint does not have it.
    pub identity_if_missing: bool,
}

/// Reads the checkpoint at `path` (either container) as float32 weights of the supernet of `space`.
///
/// Only what is under `state_dict` counts, where there is such a key; `num_batches_tracked` counters are ignored.
///
/// # Errors
/// [`ImportError`], naming the file and the tensor.
pub fn import_ofa_mbv3(path: &Path, space: &SearchSpace) -> Result<BTreeMap<String, HostArray>, ImportError> {
    published_layout(space)?;
    rename_published(read_pth(path)?, space, path)
}

/// [`import_ofa_mbv3`] for tensors already read; `path` is named in errors.
///
/// # Errors
/// [`ImportError`], naming the tensor.
pub(crate) fn rename_published(
    tensors: BTreeMap<String, HostArray>,
    space: &SearchSpace,
    path: &Path,
) -> Result<BTreeMap<String, HostArray>, ImportError> {
    let (path, space_name) = (path.to_path_buf(), space.id().to_string());
    let layout = published_layout(space)?;
    let mut by_name: BTreeMap<String, (String, HostArray)> = BTreeMap::new();
    for (inner, key, tensor) in state_dict(tensors) {
        if inner.ends_with("num_batches_tracked") {
            continue;
        }
        let name = shortest_spelling(&inner);
        if let Some((first, _)) = by_name.get(&name) {
            return Err(ImportError::Twice { path, first: first.clone(), second: key });
        }
        by_name.insert(name, (key, tensor));
    }

    let mut weights = BTreeMap::new();
    let mut missing = Vec::new();
    for parameter in layout {
        let array = match by_name.remove(&parameter.published) {
            Some((key, tensor)) if tensor.shape() != parameter.shape => {
                let (got, expected) = (tensor.shape().to_vec(), parameter.shape);
                return Err(ImportError::Shape { path, key, got, expected, space: space_name });
            }
            Some((key, tensor)) => match tensor.to_f32() {
                Some(_) if tensor.dtype() == DType::F32 => tensor,
                Some(values) => HostArray::from_f32(&parameter.shape, &values),
                None => return Err(ImportError::NotFloat { path, key, got: tensor.dtype() }),
            },
            None if parameter.identity_if_missing => identity(parameter.shape[0]),
            None => {
                missing.push(parameter);
                continue;
            }
        };
        weights.insert(parameter.name, array);
    }
    let count = by_name.len();
    if let Some((key, _)) = by_name.into_values().next() {
        return Err(ImportError::UnknownKey { path, key, count, space: space_name });
    }
    let count = missing.len();
    if let Some(first) = missing.into_iter().next() {
        let (key, shape) = (first.published, first.shape);
        return Err(ImportError::MissingKey { path, key, shape, count, space: space_name });
    }
    Ok(weights)
}

/// Every parameter of the supernet of `space`, in network order, under both names.
///
/// # Errors
/// [`ImportError::Space`] if the published networks have no such layers.
pub(crate) fn published_layout(space: &SearchSpace) -> Result<Vec<PublishedParameter>, ImportError> {
    let unfit = |reason: &str| ImportError::Space { space: space.id().to_string(), reason: reason.to_owned() };
    if space.stages().iter().any(|stage| stage.expand_conv_at_one && stage.expands.contains(&1)) {
        return Err(unfit("keeps the expand convolution at ratio 1"));
    }
    let first = space.first_block().ok_or_else(|| unfit("has no static first block"))?;
    let head_names: &[&str] = match space.head().len() {
        1 => &["feature_mix_layer"],
        2 => &["final_expand_layer", "feature_mix_layer"],
        _ => return Err(unfit("has neither one nor two layers before the classifier")),
    };

    let stem = space.stem();
    let mut layout = Layout::default();
    layout.conv_bn("stem", "first_conv", [stem.width, 3, stem.kernel, stem.kernel]);
    layout.conv_bn("first.depthwise", "blocks.0.conv.depth_conv", [stem.width, 1, first.kernel, first.kernel]);
    layout.conv_bn("first.project", "blocks.0.conv.point_linear", [first.width, stem.width, 1, 1]);

    let mut published_index = 1;
    for (stage_index, stage) in space.stages().iter().enumerate() {
        for index in 0..stage.max_depth() {
            let input = if index == 0 { space.stage_in_channels(stage_index) } else { stage.width };
            let mid = make_divisible(f64::from(input * stage.max_expand()));
            let ours = format!("stages.{stage_index}.{index}");
            let theirs = format!("blocks.{published_index}.conv");
            published_index += 1;
            let kernel = stage.max_kernel();
            if stage.max_expand() > 1 {
                layout.conv_bn(&format!("{ours}.expand"), &format!("{theirs}.inverted_bottleneck"), [mid, input, 1, 1]);
            }
            layout.conv_bn(&format!("{ours}.depthwise"), &format!("{theirs}.depth_conv"), [mid, 1, kernel, kernel]);
            for pair in stage.kernels.windows(2).rev() {
                let (small, big) = (pair[0], pair[1]);
                layout.parameters.push(PublishedParameter {
                    name: format!("{ours}.depthwise.transform_{big}to{small}"),
                    published: format!("{theirs}.depth_conv.conv.{big}to{small}_matrix"),
                    shape: vec![(small * small) as usize; 2],
                    identity_if_missing: true,
                });
            }
            if stage.squeeze_excite {
                let squeezed = make_divisible(f64::from(mid / 4));
                for (name, out, input) in [("reduce", squeezed, mid), ("expand", mid, squeezed)] {
                    let (ours, theirs) = (format!("{ours}.se.{name}"), format!("{theirs}.depth_conv.se.fc.{name}"));
                    layout.push(&ours, &theirs, "weight", &[out, input, 1, 1]);
                    layout.push(&ours, &theirs, "bias", &[out]);
                }
            }
            let project = [stage.width, mid, 1, 1];
            layout.conv_bn(&format!("{ours}.project"), &format!("{theirs}.point_linear"), project);
        }
    }

    let mut features = space.stages().last().map_or(first.width, |stage| stage.width);
    for (index, (layer, published)) in space.head().iter().zip(head_names).enumerate() {
        let (ours, shape) = (format!("head.{index}"), [layer.width, features, 1, 1]);
        if layer.batch_norm {
            layout.conv_bn(&ours, published, shape);
        } else {
            layout.push(&ours, published, "conv.weight", &shape);
        }
        features = layer.width;
    }
    for (name, shape) in [("weight", &[space.classes(), features][..]), ("bias", &[space.classes()][..])] {
        layout.push("classifier", "classifier.linear", name, shape);
    }
    Ok(layout.parameters)
}

#[derive(Default)]
struct Layout {
    parameters: Vec<PublishedParameter>,
}

impl Layout {
    fn push(&mut self, ours: &str, theirs: &str, name: &str, shape: &[u32]) {
        self.parameters.push(PublishedParameter {
            name: format!("{ours}.{name}"),
            published: format!("{theirs}.{name}"),
            shape: shape.iter().map(|&size| size as usize).collect(),
            identity_if_missing: false,
        });
    }

    fn conv_bn(&mut self, ours: &str, theirs: &str, shape: [u32; 4]) {
        self.push(ours, theirs, "conv.weight", &shape);
        for name in ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"] {
            self.push(ours, theirs, name, &shape[..1]);
        }
    }
}

/// The name as a static network of today writes it.
fn shortest_spelling(key: &str) -> String {
    let mut levels: Vec<&str> = Vec::new();
    for level in key.split('.') {
        let level = if level == "mobile_inverted_conv" { "conv" } else { level };
        let doubled = matches!(level, "bn" | "conv" | "linear") && levels.last() == Some(&level);
        if !doubled {
            levels.push(level);
        }
    }
    levels.join(".")
}

fn identity(size: usize) -> HostArray {
    let values: Vec<f32> = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect();
    HostArray::from_f32(&[size, size], &values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn space(name: &str) -> SearchSpace {
        SearchSpace::builtin(name).unwrap()
    }

    /// A checkpoint of `space` whose names went through `spell`, every tensor filled with its position.
    fn checkpoint(
        space: &SearchSpace,
        spell: impl Fn(&PublishedParameter) -> Option<String>,
    ) -> BTreeMap<String, HostArray> {
        let layout = published_layout(space).unwrap();
        let tensors = layout.iter().enumerate().filter_map(|(position, parameter)| {
            let values = vec![position as f32; parameter.shape.iter().product()];
            Some((spell(parameter)?, HostArray::from_f32(&parameter.shape, &values)))
        });
        tensors.collect()
    }

    fn rename(
        tensors: BTreeMap<String, HostArray>,
        space: &SearchSpace,
    ) -> Result<BTreeMap<String, HostArray>, ImportError> {
        rename_published(tensors, space, Path::new("test.pth"))
    }

    #[test]
    fn published_sizes_of_the_supernets() {
        // Weights with batch-norm γ and β and kernel transforms, as the published implementation counts them.
        for (name, expected) in
            [("mbv3-w1.0", 7_678_880), ("mbv3-w1.2", 10_715_752), ("proxyless-w1.3", 7_942_056 + 21 * 706)]
        {
            let trained: usize = published_layout(&space(name))
                .unwrap()
                .iter()
                .filter(|parameter| !parameter.name.contains("running"))
                .map(|parameter| parameter.shape.iter().product::<usize>())
                .sum();
            assert_eq!(trained, expected, "{name}");
        }
    }

    #[test]
    fn every_spelling_gives_the_same_weights() {
        let space = space("mbv3-w1.0");
        let short = rename(checkpoint(&space, |parameter| Some(parameter.published.clone())), &space).unwrap();
        let doubled = checkpoint(&space, |parameter| {
            let name = parameter.published.replace(".bn.", ".bn.bn.").replace(".conv.weight", ".conv.conv.weight");
            Some(format!("state_dict.{}", name.replace(".linear.", ".linear.linear.")))
        });
        assert_eq!(rename(doubled, &space).unwrap(), short);
        let oldest = checkpoint(&space, |parameter| {
            let levels: Vec<&str> = parameter.published.splitn(3, '.').collect();
            Some(match levels[..] {
                ["blocks", index, rest] => {
                    format!("module.blocks.{index}.{}", rest.replacen("conv.", "mobile_inverted_conv.", 1))
                }
                _ => format!("module.{}", parameter.published),
            })
        });
        assert!(oldest.keys().any(|key| key.contains("mobile_inverted_conv.depth_conv")));
        assert_eq!(rename(oldest, &space).unwrap(), short);
    }

    #[test]
    fn a_static_network_without_transforms_gets_the_identity() {
        let space = space("mbv3-w1.0");
        let tensors =
            checkpoint(&space, |parameter| (!parameter.identity_if_missing).then(|| parameter.published.clone()));
        let weights = rename(tensors, &space).unwrap();
        let matrix = weights["stages.4.3.depthwise.transform_5to3"].to_f32().unwrap();
        assert_eq!(matrix.len(), 81);
        assert!(matrix.iter().enumerate().all(|(i, &value)| value == if i % 10 == 0 { 1.0 } else { 0.0 }));
    }

    #[test]
    fn what_is_beside_the_state_dictionary_is_ignored() {
        let space = space("mbv3-w1.0");
        let mut tensors = checkpoint(&space, |parameter| Some(format!("state_dict.{}", parameter.published)));
        tensors.insert("optimizer.state.0.momentum_buffer".into(), HostArray::from_f32(&[1], &[0.0]));
        tensors.insert("state_dict.first_conv.bn.num_batches_tracked".into(), HostArray::from_i64(&[], &[7]));
        assert!(rename(tensors, &space).is_ok());
    }

    #[test]
    fn odd_tensors_are_named() {
        let space = space("mbv3-w1.0");
        let whole = checkpoint(&space, |parameter| Some(parameter.published.clone()));
        let check = |tensors, expected: &str| {
            let error = rename(tensors, &space).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Content);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().starts_with("test.pth: "), "{error}");
        };

        let mut tensors = whole.clone();
        tensors.insert("blocks.21.conv.depth_conv.conv.weight".into(), HostArray::from_f32(&[1], &[0.0]));
        check(tensors, "`blocks.21.conv.depth_conv.conv.weight` is no parameter of space `mbv3-w1.0`");

        let mut tensors = whole.clone();
        tensors.remove("blocks.3.conv.point_linear.bn.running_var");
        check(tensors, "`blocks.3.conv.point_linear.bn.running_var` [24] is missing");

        let mut tensors = whole.clone();
        tensors.insert("first_conv.bn.bias".into(), HostArray::from_f32(&[24], &[0.0; 24]));
        check(tensors, "`first_conv.bn.bias` has shape [24], but space `mbv3-w1.0` needs [16]");

        let mut tensors = whole.clone();
        tensors.insert("first_conv.bn.bias".into(), HostArray::from_i64(&[16], &[0; 16]));
        check(tensors, "`first_conv.bn.bias` is int64");

        let mut tensors = whole;
        tensors.insert("first_conv.bn.bn.bias".into(), HostArray::from_f32(&[16], &[0.0; 16]));
        check(tensors, "are the same parameter");
    }

    #[test]
    fn another_width_multiplier_is_a_shape_error_with_a_hint() {
        let tensors = checkpoint(&space("mbv3-w1.2"), |parameter| Some(parameter.published.clone()));
        let error = rename(tensors, &space("mbv3-w1.0")).unwrap_err();
        assert!(matches!(&error, ImportError::Shape { key, .. } if key == "first_conv.conv.weight"), "{error}");
        assert!(error.hint().unwrap().contains("width multiplier"));
    }

    #[test]
    fn spaces_of_another_kind_are_refused() {
        let error = published_layout(&space("fbnet-imagenet")).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Usage);
    }

    #[test]
    fn the_golden_checkpoint_is_the_whole_supernet() {
        let Some(path) = crate::import::golden("ofa-mbv3-w1.0/checkpoint.pth") else { return };
        let space = space("mbv3-w1.0");
        let weights = import_ofa_mbv3(&path, &space).unwrap();
        let expected: BTreeSet<String> = published_layout(&space).unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(weights.keys().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(weights["head.1.conv.weight"].shape(), [1280, 960, 1, 1]);
        assert_eq!(weights["stages.1.0.se.reduce.weight"].shape(), [40, 144, 1, 1]);
        // The golden checkpoint's transforms are off the identity: reading them as missing would show here.
        assert_ne!(weights["stages.0.0.depthwise.transform_7to5"], identity(25));
        let error = import_ofa_mbv3(&path, &SearchSpace::builtin("mbv3-w1.2").unwrap()).unwrap_err();
        assert!(error.to_string().contains("first_conv.conv.weight"), "{error}");
    }
}
