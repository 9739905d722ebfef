//! Networks of their own trained on: restarts, unequal classes, int8, frozen layers.

use network::published;
use network::weights::Weights;

use super::*;
use crate::data::DataSource;
use crate::tensors::to_tensor;

struct Watch {
    until: u64,
    losses: Vec<f64>,
}

impl FineTuneObserver for Watch {
    fn step(&mut self, step: &Step) -> bool {
        self.losses.push(step.loss);
        step.position.global_step + 1 != self.until
    }

    fn epoch(&mut self, _: u64, _: Position, _: f64, _: &Network) -> Result<(), SupernetError> {
        Ok(())
    }
}

fn settings(precision: Precision, frozen: &[&str]) -> FineTuneSettings {
    FineTuneSettings {
        epochs: 4,
        steps: None,
        batch_size: 50,
        precision,
        learning_rate: 0.05,
        warm_up_epochs: 0.5,
        sgd: SgdSettings { momentum: 0.9, weight_decay: 1e-4, clip_gradient: Some(5.0) },
        label_smoothing: 0.0,
        class_weights: ClassWeights::None,
        sampling: ImageSampling::Uniform,
        augmentation: Augmentation::default(),
        average: Some(0.9),
        rounding: None,
        frozen: frozen.iter().map(|name| (*name).to_owned()).collect(),
        losses: (1.0, 0.5),
        seed: 3,
    }
}

/// Tensors before and after, and the losses.
type Tuned = (BTreeMap<String, Tensor>, BTreeMap<String, Tensor>, Vec<f64>);

/// Fine-tunes ResNet-8 on made-up textures, interrupted after the steps of `stops`.
fn tuned(precision: Precision, stops: &[u64], frozen: &[&str]) -> Tuned {
    tuned_by(settings(precision, frozen), stops)
}

fn tuned_by(settings: FineTuneSettings, stops: &[u64]) -> Tuned {
    tuned_on(false, settings, stops)
}

fn tuned_on(is_imbalanced: bool, settings: FineTuneSettings, stops: &[u64]) -> Tuned {
    let folder = tempfile::tempdir().unwrap();
    let shape = published::resnet8(4);
    let weights = Weights::random(&shape, 1);
    let tensors = || {
        let array = |array: &network::weights::Array| {
            let host = storage::arrays::HostArray::from_f32(&array.shape, &array.values);
            to_tensor(&host)
        };
        weights.arrays().iter().map(|(name, values)| (name.clone(), array(values))).collect::<BTreeMap<_, _>>()
    };
    let data: DataSource = "synthetic:200,size=32,classes=4".parse().unwrap();
    let images = data.train(&Default::default()).unwrap().images;
    // One class has a tenth of the images of the others.
    let kept: Vec<usize> = (0..images.len()).filter(|at| !is_imbalanced || at % 4 > 0 || at % 40 == 0).collect();
    let images = Arc::new(images.select(&kept));
    let preprocessing = Preprocessing::measured(&images).unwrap();
    let mut losses = Vec::new();
    for until in stops.iter().copied().chain([u64::MAX]) {
        let teacher: TeacherLogits =
            Box::new(|images| Tensor::zeros([images.size()[0], 4], (Kind::Float, Device::Cpu)));
        let mut tuner = FineTuner::new(
            &shape,
            tensors(),
            settings.clone(),
            "it".into(),
            images.clone(),
            &preprocessing,
            Some(teacher),
            Device::Cpu,
            folder.path(),
            true,
        )
        .unwrap();
        let mut watch = Watch { until, losses: Vec::new() };
        let ended = tuner.run(folder.path(), Duration::from_secs(3600), &mut watch);
        losses.extend(watch.losses);
        assert_eq!(ended.is_err(), until != u64::MAX);
        if ended.is_ok() {
            return (tensors(), tuner.network().tensors(), losses);
        }
    }
    unreachable!("the last run ends")
}

fn differ(some: &BTreeMap<String, Tensor>, others: &BTreeMap<String, Tensor>) -> Vec<String> {
    some.iter().filter(|(name, tensor)| !tensor.equal(&others[*name])).map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_network_learns_and_an_interrupted_run_ends_in_the_same_bits() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        let (before, after, losses) = tuned(precision, &[], &[]);
        assert_eq!(differ(&before, &after).len(), before.len(), "everything is trained, statistics included");
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let steps = losses.len() / 4;
        assert!(mean(&losses[3 * steps..]) < 0.8 * mean(&losses[..steps]), "{losses:?}");
        let (_, again, resumed) = tuned(precision, &[1, 7], &[]);
        assert_eq!((differ(&after, &again), resumed), (Vec::new(), losses));
    }
}

#[test]
fn weights_and_sampling_change_what_is_learned_from_unequal_classes_and_go_on_to_the_same_bits() {
    let usual = tuned_on(true, settings(Precision::Fp32, &[]), &[]);
    let weighted = FineTuneSettings { class_weights: ClassWeights::Balanced, ..settings(Precision::Fp32, &[]) };
    let sampled = FineTuneSettings { sampling: ImageSampling::Balanced, ..settings(Precision::Fp32, &[]) };
    for settings in [weighted, sampled] {
        let (_, after, losses) = tuned_on(true, settings.clone(), &[]);
        assert!(losses[0] != usual.2[0] && !differ(&usual.1, &after).is_empty(), "{settings:?}");
        let (_, again, resumed) = tuned_on(true, settings, &[1, 7]);
        assert_eq!((differ(&after, &again), resumed), (Vec::new(), losses));
    }
    // Of equal classes each weight is 1: the same up to rounding.
    let weighted = FineTuneSettings { class_weights: ClassWeights::Balanced, ..settings(Precision::Fp32, &[]) };
    let (a, b) = (tuned(Precision::Fp32, &[], &[]).2[0], tuned_by(weighted, &[]).2[0]);
    assert!((a - b).abs() < 1e-5, "{a} {b}");
}

/// Rounding lets gradients through, and batch norm keeps its statistics.
#[test]
fn a_network_is_trained_for_int8() {
    let shape = published::resnet8(4);
    let scales = vec![Some(Scale::reaching(-4.0, 4.0)); shape.layers().len()];
    let rounded = |settings: FineTuneSettings| FineTuneSettings { rounding: Some(scales.clone()), ..settings };
    let (before, after, losses) = tuned_by(rounded(settings(Precision::Fp32, &[])), &[]);
    let changed = differ(&before, &after);
    let is_statistic = |name: &String| name.contains(".running_");
    assert!(!changed.iter().any(is_statistic), "{changed:?}");
    assert_eq!(changed.len(), before.keys().filter(|name| !is_statistic(name)).count());
    let (_, again, resumed) = tuned_by(rounded(settings(Precision::Fp32, &[])), &[1, 7]);
    assert_eq!((differ(&after, &again), resumed), (Vec::new(), losses));
}

#[test]
fn frozen_layers_keep_their_weights_and_statistics() {
    let (before, after, _) = tuned(Precision::Fp32, &[], &["stem", "blocks.1.branch.0"]);
    let changed = differ(&before, &after);
    assert!(!changed.is_empty());
    let frozen = |name: &String| name.starts_with("stem.") || name.starts_with("blocks.1.branch.0.");
    assert!(before.keys().any(frozen), "{:?}", before.keys());
    assert!(!changed.iter().any(frozen), "{changed:?}");
    assert_eq!(changed.len(), before.keys().filter(|name| !frozen(name)).count());
}
