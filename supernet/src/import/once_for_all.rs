//! Published once-for-all checkpoints (Cai et al. 2020, arXiv:1908.09791): their parameters under this supernet's names.
//!
//! The published networks number blocks through all stages (`blocks.0` is the static first block) and wrap elastic
//! layers, so a name has its last level once in static networks and twice in supernets (`bn.bn.weight`,
//! `conv.conv.weight`, `linear.linear.weight`); the oldest checkpoints say `mobile_inverted_conv` for the inner `conv`.
//! All spellings are accepted. Kernel-transform matrices that are missing are the identity, as in the published loader,
//! so a static network of the largest subnet becomes a supernet. Both families share the layout; they differ in the layers
//! after the last stage ([`Family`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use search::space::{SearchSpace, make_divisible};
use storage::arrays::{DType, HostArray, TensorFileError};
use storage::failure::{Failure, FailureKind, Setting};
use thiserror::Error;

use super::{Family, read_pth, state_dict};

/// A published checkpoint that does not become weights of the space.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be read as tensors.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// Tensors that no layer of the space has, or layers whose tensors are not in the file.
    #[error("{}: not the parameters of space `{space}`{}{}", path.display(), listed("missing", missing), listed("unmatched", unmatched))]
    Keys {
        /// The file.
        path: PathBuf,
        /// What the space needs and the file lacks: published names, with their shapes.
        missing: Vec<String>,
        /// What the file holds and the space has no place for: names in the file.
        unmatched: Vec<String>,
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
    #[error("space `{space}` {reason}, so checkpoints of the published {family} supernets do not fit it")]
    Space {
        /// The space.
        space: String,
        /// What is different.
        reason: &'static str,
        /// Whose checkpoints.
        family: Family,
        /// The family whose checkpoints may fit.
        rather: Option<Family>,
    },
}

/// `names` after what they are, in words; nothing where there are none.
fn listed(what: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; {what} ({}): {}", names.len(), names.join(", ")) }
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
            ImportError::Shape { .. } | ImportError::Keys { .. } => Some(format!(
                "choose the space the checkpoint was trained in: width multiplier, depths, kernels, expand ratios and \
                 classes must agree (`{}`)",
                Setting("space list")
            )),
            ImportError::Space { rather: Some(Family::MobileNetV3), .. } => {
                Some(format!("`{}` reads those of MobileNetV3", Setting("import ofa-mbv3")))
            }
            ImportError::Space { rather: Some(Family::ProxylessNas), .. } => {
                Some(format!("`{}` reads those of ProxylessNAS", Setting("import ofa-proxyless")))
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
struct PublishedParameter {
    /// Name in this project's files, e.g. `stages.0.1.expand.conv.weight`.
    name: String,
    /// Published name in its shortest spelling, e.g. `blocks.2.conv.inverted_bottleneck.conv.weight`.
    published: String,
    /// Shape.
    shape: Vec<usize>,
    /// Whether it is the identity matrix when a checkpoint does not have it.
    identity_if_missing: bool,
}

/// Reads the checkpoint of a supernet of `family` at `path` (either container) as float32 weights of the supernet of `space`.
///
/// Only what is under `state_dict` counts, where there is such a key; `num_batches_tracked` counters are ignored.
///
/// # Errors
/// [`ImportError`], naming the file and the tensors.
pub fn import_once_for_all(
    path: &Path,
    space: &SearchSpace,
    family: Family,
) -> Result<BTreeMap<String, HostArray>, ImportError> {
    let layout = published_layout(space, family)?;
    renamed(read_pth(path)?, layout, space, path)
}

/// `tensors` by the names of `layout`, that of `space`; `path` is named in errors.
fn renamed(
    tensors: BTreeMap<String, HostArray>,
    layout: Vec<PublishedParameter>,
    space: &SearchSpace,
    path: &Path,
) -> Result<BTreeMap<String, HostArray>, ImportError> {
    let (path, space_name) = (path.to_path_buf(), space.id().to_string());
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
                missing.push(format!("`{}` {:?}", parameter.published, parameter.shape));
                continue;
            }
        };
        weights.insert(parameter.name, array);
    }
    let unmatched: Vec<String> = by_name.into_values().map(|(key, _)| format!("`{key}`")).collect();
    if !(missing.is_empty() && unmatched.is_empty()) {
        return Err(ImportError::Keys { path, missing, unmatched, space: space_name });
    }
    Ok(weights)
}

/// Every parameter of the supernet of `space`, in network order, under both names.
///
/// # Errors
/// [`ImportError::Space`] if the published networks of `family` have no such layers.
fn published_layout(space: &SearchSpace, family: Family) -> Result<Vec<PublishedParameter>, ImportError> {
    let unfit = |reason, rather| ImportError::Space { space: space.id().to_string(), reason, family, rather };
    if space.stages().iter().any(|stage| stage.expand_conv_at_one && stage.expands.contains(&1)) {
        return Err(unfit("keeps the expand convolution at ratio 1", None));
    }
    let first = space.first_block().ok_or_else(|| unfit("has no static first block", None))?;
    let head_names: &[&str] = match (family, space.head().len()) {
        (Family::MobileNetV3, 2) => &["final_expand_layer", "feature_mix_layer"],
        (Family::ProxylessNas, 1) => &["feature_mix_layer"],
        (Family::MobileNetV3, 1) => {
            return Err(unfit("has one layer between the last stage and the classifier", Some(Family::ProxylessNas)));
        }
        (Family::ProxylessNas, 2) => {
            return Err(unfit("has two layers between the last stage and the classifier", Some(Family::MobileNetV3)));
        }
        _ => return Err(unfit("has neither one nor two layers between the last stage and the classifier", None)),
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

    fn layout_of(space: &SearchSpace) -> Vec<PublishedParameter> {
        let family = if space.head().len() == 1 { Family::ProxylessNas } else { Family::MobileNetV3 };
        published_layout(space, family).unwrap()
    }

    /// A checkpoint of `space` whose names went through `spell`, every tensor filled with its position.
    fn checkpoint(
        space: &SearchSpace,
        spell: impl Fn(&PublishedParameter) -> Option<String>,
    ) -> BTreeMap<String, HostArray> {
        let layout = layout_of(space);
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
        renamed(tensors, layout_of(space), space, Path::new("test.pth"))
    }

    #[test]
    fn published_sizes_of_the_supernets() {
        // Weights with batch-norm γ and β and kernel transforms, as the published implementation counts them.
        for (name, expected) in
            [("mbv3-w1.0", 7_678_880), ("mbv3-w1.2", 10_715_752), ("proxyless-w1.3", 7_942_056 + 21 * 706)]
        {
            let trained: usize = layout_of(&space(name))
                .iter()
                .filter(|parameter| !parameter.name.contains("running"))
                .map(|parameter| parameter.shape.iter().product::<usize>())
                .sum();
            assert_eq!(trained, expected, "{name}");
        }
    }

    #[test]
    fn every_spelling_gives_the_same_weights() {
        ["mbv3-w1.0", "proxyless-w1.3"].iter().for_each(|name| check_spellings(&space(name)));
    }

    fn check_spellings(space: &SearchSpace) {
        let rename = |tensors| rename(tensors, space).unwrap();
        let checkpoint = |spell: &dyn Fn(&PublishedParameter) -> String| checkpoint(space, |it| Some(spell(it)));
        let short = rename(checkpoint(&|parameter| parameter.published.clone()));
        let doubled = |parameter: &PublishedParameter| {
            let name = parameter.published.replace(".bn.", ".bn.bn.").replace(".conv.weight", ".conv.conv.weight");
            name.replace(".linear.", ".linear.linear.")
        };
        assert_eq!(rename(checkpoint(&|parameter| format!("state_dict.{}", doubled(parameter)))), short);
        let oldest = |parameter: &PublishedParameter| {
            let levels: Vec<&str> = parameter.published.splitn(3, '.').collect();
            match levels[..] {
                ["blocks", index, rest] => {
                    format!("blocks.{index}.{}", rest.replacen("conv.", "mobile_inverted_conv.", 1))
                }
                _ => parameter.published.clone(),
            }
        };
        let wrapped = checkpoint(&|parameter| format!("module.{}", oldest(parameter)));
        assert!(wrapped.contains_key("module.blocks.2.mobile_inverted_conv.depth_conv.conv.7to5_matrix"));
        assert_eq!(rename(wrapped), short);
        assert_eq!(rename(checkpoint(&|parameter| format!("state_dict.module.{}", oldest(parameter)))), short);
        // Of half precision: the same numbers, where those are exact.
        let half = |array: HostArray| {
            let halves = vec![0x3c00_u16; array.shape().iter().product()];
            HostArray::new(array.shape().to_vec(), DType::F16, halves.iter().flat_map(|it| it.to_le_bytes()).collect())
        };
        let halves = checkpoint(&doubled).into_iter().map(|(key, array)| (key, half(array))).collect();
        let halves = rename(halves);
        assert!(halves.values().all(|it| it.dtype() == DType::F32 && it.to_f32().unwrap().iter().all(|it| *it == 1.0)));
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
        for key in ["blocks.21.conv.depth_conv.conv.weight", "module.blocks.22.conv.bn.bias"] {
            tensors.insert(key.into(), HostArray::from_f32(&[1], &[0.0]));
        }
        let unmatched = "unmatched (2): `blocks.21.conv.depth_conv.conv.weight`, `module.blocks.22.conv.bn.bias`";
        check(tensors.clone(), &format!("not the parameters of space `mbv3-w1.0`; {unmatched}"));
        tensors.remove("blocks.3.conv.point_linear.bn.running_var");
        tensors.remove("classifier.linear.bias");
        let missing = "missing (2): `blocks.3.conv.point_linear.bn.running_var` [24], `classifier.linear.bias` [1000]";
        check(tensors, &format!("{missing}; {unmatched}"));

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
        for (name, family, hint) in [
            ("fbnet-imagenet", Family::MobileNetV3, "proxyless-w1.3 have published"),
            ("fbnet-imagenet", Family::ProxylessNas, "proxyless-w1.3 have published"),
            ("proxyless-w1.3", Family::MobileNetV3, "import ofa-proxyless"),
            ("mbv3-w1.0", Family::ProxylessNas, "import ofa-mbv3"),
        ] {
            let error = published_layout(&space(name), family).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Usage);
            assert!(error.to_string().contains(&format!("the published {family} supernets")), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }

    #[test]
    fn the_golden_checkpoint_is_the_whole_supernet() {
        let Some(path) = crate::import::golden("ofa-mbv3-w1.0/checkpoint.pth") else { return };
        let space = space("mbv3-w1.0");
        let weights = import_once_for_all(&path, &space, Family::MobileNetV3).unwrap();
        let expected: BTreeSet<String> = layout_of(&space).into_iter().map(|it| it.name).collect();
        assert_eq!(weights.keys().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(weights["head.1.conv.weight"].shape(), [1280, 960, 1, 1]);
        assert_eq!(weights["stages.1.0.se.reduce.weight"].shape(), [40, 144, 1, 1]);
        // The golden checkpoint's transforms are off the identity: reading them as missing would show here.
        assert_ne!(weights["stages.0.0.depthwise.transform_7to5"], identity(25));
        let wider = SearchSpace::builtin("mbv3-w1.2").unwrap();
        let error = import_once_for_all(&path, &wider, Family::MobileNetV3).unwrap_err();
        assert!(error.to_string().contains("first_conv.conv.weight"), "{error}");
    }
}
