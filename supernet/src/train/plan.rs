//! What a training run does: its phases and constants, checked as a whole before anything runs.

use search::space::SearchSpace;
use tch::Kind;

use crate::data::{Augmentation, ClassWeights, ImageSampling};
use crate::error::SupernetError;
use crate::optim::SgdSettings;

use super::freeze;
use super::phase::{Choices, LearningRate, ShrinkingPhase, Subnets, Teacher};
use super::plan_error::{PlanError, require};
use crate::train::grow::can_grow;

/// Number format of feature maps while training; weights, optimiser, batch-norm statistics and losses are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    Fp32,
    /// bfloat16: eight bits of mantissa, half the memory traffic.
    Bf16,
}

impl Precision {
    /// What LibTorch calls it.
    pub fn kind(self) -> Kind {
        match self {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        }
    }
}

/// What holds for a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSettings {
    /// Seed of weights, order of images, augmentation, resolutions and subnets.
    pub seed: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Number format of feature maps.
    pub precision: Precision,
    /// Optimiser.
    pub sgd: SgdSettings,
    /// Whether blocks with a shortcut begin as the shortcut alone.
    pub zero_init_residual: bool,
    /// Whether small kernels are learned transforms of large ones; their centres otherwise.
    pub kernel_transforms: bool,
    /// What an exponential moving average of the weights keeps of itself at each step; evaluation, teachers and the
    /// finished supernet then use the average.
    pub average: Option<f64>,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// How much an image counts in the loss against labels.
    pub class_weights: ClassWeights,
    /// Which images an epoch goes through.
    pub sampling: ImageSampling,
    /// Whether batch norm goes by the batches of all processes that train together, where these are several.
    pub sync_batch_norm: bool,
    /// What happens to training images.
    pub augmentation: Augmentation,
    /// Batches of training images used for calibration, and images per batch.
    pub calibration: (usize, usize),
    /// Layers whose weights stay as they are: those of these names, and those whose names begin so before a dot. No step,
    /// decay or sorting of channels moves them; batch norm goes on normalising by the batch in them as in all others.
    pub frozen: Vec<String>,
}

/// A whole training run that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    settings: TrainSettings,
    phases: Vec<ShrinkingPhase>,
}

impl TrainPlan {
    /// A run of `phases` in order. The largest network at the end of the first is the teacher of later ones.
    ///
    /// # Errors
    /// The first value that is out of range, or impossible together with the others.
    pub fn new(settings: TrainSettings, phases: Vec<ShrinkingPhase>) -> Result<Self, PlanError> {
        settings.check()?;
        require(!phases.is_empty(), "phases", "empty", "but at least one is needed")?;
        for (index, phase) in phases.iter().enumerate() {
            let checked = phase.check().and_then(|()| check_order(&phases[..index], phase));
            checked.map_err(|error| error.in_phase(index))?;
        }
        let reason = "but a phase grows, which would write over them";
        let frozen = format!("`{}`", settings.frozen.join("`, `"));
        require(settings.frozen.is_empty() || !phases.iter().any(ShrinkingPhase::grows), "freeze", frozen, reason)?;
        Ok(Self { settings, phases })
    }

    /// What holds for all phases.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// The phases in order; at least one.
    pub fn phases(&self) -> &[ShrinkingPhase] {
        &self.phases
    }

    /// Whether it can be run in `space`.
    ///
    /// # Errors
    /// A resolution that the space does not offer, growing where it is impossible, layers to freeze that are not there.
    pub fn check_space(&self, space: &SearchSpace) -> Result<(), SupernetError> {
        self.check_phases(space)?;
        freeze::check(space, &self.settings.frozen)
    }

    fn check_phases(&self, space: &SearchSpace) -> Result<(), PlanError> {
        for (index, phase) in self.phases.iter().enumerate() {
            let offered = |resolution: &u32| space.resolutions().contains(resolution);
            if let Some(unknown) = phase.choices.resolutions.iter().find(|one| !offered(one)) {
                let reason = "but must be resolutions of the space";
                return require(false, "resolutions", unknown, reason).map_err(|error| error.in_phase(index));
            }
            if phase.grows() {
                check_growth(&self.phases[..index], space).map_err(|error| error.in_phase(index))?;
            }
        }
        Ok(())
    }

    /// Whether a phase learns from the network that the first one made.
    pub(crate) fn needs_first_phase(&self) -> bool {
        self.phases.iter().any(|phase| phase.teacher() == Some(Teacher::FirstPhase))
    }

    /// The phase that began the cosine of phase `index`, and the first one after those that continue it.
    fn cosine_of(&self, index: usize) -> std::ops::Range<usize> {
        let begins = |phase: &usize| !self.phases[*phase].continues();
        let start = (0..=index).rev().find(begins).unwrap_or(0);
        let end = (index + 1..self.phases.len()).find(begins).unwrap_or(self.phases.len());
        start..end
    }

    /// Peak and warm-up epochs of the cosine that phase `start` begins.
    fn peak_and_warm_up(&self, start: usize) -> (f64, f64) {
        match self.phases[start].learning_rate {
            LearningRate::Own { peak, warm_up_epochs } => (peak, warm_up_epochs),
            LearningRate::Continues => unreachable!("the first phase has a rate of its own"),
        }
    }

    /// Learning rate of step `step` of phase `index`, with `per_epoch` steps in an epoch.
    pub(crate) fn rate(&self, index: usize, step: u64, per_epoch: u64) -> f64 {
        let cosine = self.cosine_of(index);
        let (peak, warm_up_epochs) = self.peak_and_warm_up(cosine.start);
        let epochs = |phases: std::ops::Range<usize>| self.phases[phases].iter().map(|phase| phase.epochs).sum::<u64>();
        let warm_up = (warm_up_epochs * per_epoch as f64).round() as u64;
        let before = epochs(cosine.start..index) * per_epoch;
        cosine_rate(peak, before + step, epochs(cosine) * per_epoch, warm_up)
    }

    /// Weight of the losses of all subnets but the largest in step `step` of phase `index`.
    pub(crate) fn weight_of_others(&self, index: usize, step: u64, per_epoch: u64) -> f64 {
        let phase = &self.phases[index];
        let ramp = (phase.ramp_epochs * per_epoch as f64).round() as u64;
        if step >= ramp {
            return 1.0;
        }
        let (peak, _) = self.peak_and_warm_up(self.cosine_of(index).start);
        (step + 1) as f64 / ramp as f64 * self.rate(index, ramp, per_epoch) / peak
    }
}

impl TrainSettings {
    fn check(&self) -> Result<(), PlanError> {
        let fits = (1..=MAX_BATCH).contains(&self.batch_size);
        require(fits, "batch_size", self.batch_size, "but must be 1 to 65536")?;
        require((0.0..1.0).contains(&self.sgd.momentum), "momentum", self.sgd.momentum, "but must be in [0, 1)")?;
        let smoothing = self.label_smoothing;
        require((0.0..1.0).contains(&smoothing), "label_smoothing", smoothing, "but must be in [0, 1)")?;
        let decay = self.sgd.weight_decay;
        require(decay >= 0.0 && decay.is_finite(), "weight_decay", decay, "but must be 0 or more")?;
        if let Some(norm) = self.sgd.clip_gradient {
            require(norm > 0.0 && norm.is_finite(), "clip_gradient", norm, "but must be above 0")?;
        }
        let is_one = self.class_weights == ClassWeights::None || self.sampling == ImageSampling::Uniform;
        let reason = "but sampling is balanced, too, which would make up for the same twice";
        require(is_one, "class_weights", "balanced", reason)?;
        if let Some(kept) = self.average {
            require(kept > 0.0 && kept < 1.0, "average", kept, "but must be between 0 and 1")?;
        }
        check_calibration(self.calibration)
    }
}

/// Images per batch: beyond it, counts are slips of the hand.
const MAX_BATCH: usize = 1 << 16;

/// Images that calibrate one subnet, in all: they lie in memory at every resolution.
const MAX_CALIBRATION: usize = 100_000;

/// Whether so many batches of so many images can calibrate a subnet.
///
/// # Errors
/// No batch, batches of one image (whose variance is that of one image), or more images than fit memory.
pub fn check_calibration((batches, batch_size): (usize, usize)) -> Result<(), PlanError> {
    require(batches >= 1, "calibration.batches", batches, "but must be at least 1")?;
    require(batch_size >= 2, "calibration.batch_size", batch_size, "but must be at least 2")?;
    let fits = batches.checked_mul(batch_size).is_some_and(|images| images <= MAX_CALIBRATION);
    let images = format!("{batches} batches of {batch_size} images");
    require(fits, "calibration", images, "but must be at most 100,000 images in all")
}

/// What `phase` needs of those before it.
fn check_order(before: &[ShrinkingPhase], phase: &ShrinkingPhase) -> Result<(), PlanError> {
    let from_first = phase.distillation.filter(|distillation| distillation.teacher == Teacher::FirstPhase);
    let weight = from_first.map_or(0.0, |distillation| distillation.weight);
    let possible = from_first.is_none() || !before.is_empty();
    require(possible, "distillation", weight, "but the first phase makes the teacher")?;
    if phase.grows() {
        require(!before.is_empty(), "grow", true, "but no phase before it trained the smallest subnet")?;
        let smallest = Subnets { largest: false, smallest: true, random: None };
        let reason = "but a phase before it trained others than the smallest subnet, whose weights would be lost";
        require(before.iter().all(|phase| phase.subnets == smallest && !phase.grows()), "grow", true, reason)?;
    }
    let reason = "but the first phase trained the smallest subnet alone, and the largest teaches; use `largest`";
    let grown = phase.grows() || before.iter().any(ShrinkingPhase::grows);
    require(!grown || from_first.is_none(), "teacher", "first_phase", reason)?;
    let Some(last) = before.last() else {
        return require(!phase.continues(), "continues", true, "but there is no phase before it");
    };
    let reason = "but the phase before it ends on a signal, so its cosine has no known length";
    require(!phase.continues() || last.early_bird.is_none(), "continues", true, reason)
}

/// Whether a phase of `space` can spread what the phases `before` it trained.
fn check_growth(before: &[ShrinkingPhase], space: &SearchSpace) -> Result<(), PlanError> {
    let reason = "but narrow blocks of this space have no expand convolution that wide ones could copy";
    require(can_grow(space), "grow", true, reason)?;
    let smallest = |space: &SearchSpace| space.smallest(space.resolutions()[0]).ok();
    let of = |Choices { kernels, depths, expands, .. }: &Choices| {
        smallest(&space.largest_choices(*kernels, *depths, *expands))
    };
    let reason = "but the smallest subnet of a phase before it is not the smallest of the space";
    require(before.iter().all(|phase| of(&phase.choices) == smallest(space)), "grow", true, reason)
}

/// Learning rate of step `step` of `steps`: linear warm-up over the first `warm_up` steps, then half a cosine to zero.
pub(crate) fn cosine_rate(peak: f64, step: u64, steps: u64, warm_up: u64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    let progress = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::train::early_bird::EarlyBird;
    use crate::train::phase::{Attentive, Distillation, Divergence, Keep, Preparation, RandomSubnets, Sampling};

    const LARGEST: Subnets = Subnets { largest: true, smallest: false, random: None };
    const SMALLEST: Subnets = Subnets { largest: false, smallest: true, random: None };
    const FROM_FIRST: Distillation =
        Distillation { weight: 1.0, teacher: Teacher::FirstPhase, divergence: Divergence::Kl };
    const IN_PLACE: Distillation = Distillation { teacher: Teacher::Largest, ..FROM_FIRST };

    /// Subnets drawn uniformly.
    pub(in crate::train) fn random(count: u64) -> RandomSubnets {
        RandomSubnets { count: NonZeroU64::new(count).unwrap(), sampling: Sampling::Uniform, attentive: None }
    }

    fn choices(levels: usize) -> Choices {
        Choices { resolutions: Vec::new(), kernels: levels, depths: levels, expands: levels }
    }

    /// A phase of the largest subnet alone.
    pub(in crate::train) fn full(epochs: u64) -> ShrinkingPhase {
        ShrinkingPhase {
            name: "full".into(),
            epochs,
            early_bird: None,
            learning_rate: LearningRate::Own { peak: 0.4, warm_up_epochs: 0.0 },
            preparation: None,
            choices: choices(1),
            subnets: LARGEST,
            label_loss: 1.0,
            distillation: None,
            sum_losses: false,
            ramp_epochs: 0.0,
        }
    }

    /// The sandwich of delayed ε-shrinking, going on with the cosine before.
    pub(in crate::train) fn shrink(epochs: u64) -> ShrinkingPhase {
        ShrinkingPhase {
            name: "shrink".into(),
            learning_rate: LearningRate::Continues,
            preparation: Some(Preparation::SortChannels { trained_expands: 1 }),
            choices: choices(usize::MAX),
            subnets: Subnets { largest: true, smallest: true, random: Some(random(2)) },
            label_loss: 0.0,
            distillation: Some(IN_PLACE),
            sum_losses: true,
            ramp_epochs: 5.0,
            ..full(epochs)
        }
    }

    pub(in crate::train) fn settings() -> TrainSettings {
        TrainSettings {
            seed: 1,
            batch_size: 8,
            precision: Precision::Fp32,
            sgd: SgdSettings { momentum: 0.9, weight_decay: 1e-4, clip_gradient: None },
            zero_init_residual: false,
            kernel_transforms: true,
            average: None,
            label_smoothing: 0.1,
            class_weights: ClassWeights::None,
            sampling: ImageSampling::Uniform,
            sync_batch_norm: false,
            augmentation: Augmentation::none(),
            calibration: (1, 8),
            frozen: Vec::new(),
        }
    }

    pub(in crate::train) fn plan(phases: Vec<ShrinkingPhase>) -> TrainPlan {
        TrainPlan::new(settings(), phases).unwrap()
    }

    fn refused(phases: &[ShrinkingPhase]) -> String {
        TrainPlan::new(settings(), phases.to_vec()).unwrap_err().field
    }

    #[test]
    fn weights_of_classes_need_uniform_sampling() {
        let with = |sampling, phases: &[ShrinkingPhase]| {
            let settings = TrainSettings { class_weights: ClassWeights::Balanced, sampling, ..settings() };
            TrainPlan::new(settings, phases.to_vec()).map_err(|error| (error.field, error.reason))
        };
        assert!(with(ImageSampling::Uniform, &[full(2)]).is_ok());
        let (field, reason) = with(ImageSampling::Balanced, &[full(2)]).unwrap_err();
        assert!(field == "class_weights" && reason.contains("twice"), "{field}: {reason}");
    }

    #[test]
    fn the_rate_climbs_then_falls_to_zero() {
        let rates: Vec<f64> = (0..100).map(|step| cosine_rate(0.4, step, 100, 10)).collect();
        assert!((rates[0] - 0.04).abs() < 1e-12 && (rates[9] - 0.4).abs() < 1e-12 && (rates[10] - 0.4).abs() < 1e-12);
        assert!(rates[10..].windows(2).all(|pair| pair[1] < pair[0]) && rates[99] < 0.001);
        assert!((rates[55] - 0.2).abs() < 1e-12, "half way down in the middle");
    }

    #[test]
    fn a_phase_that_continues_shares_the_cosine() {
        let plan = plan(vec![full(4), shrink(6), full(3)]);
        let whole: Vec<f64> = (0..100).map(|step| cosine_rate(0.4, step, 100, 0)).collect();
        let first: Vec<f64> = (0..40).map(|step| plan.rate(0, step, 10)).collect();
        let second: Vec<f64> = (0..60).map(|step| plan.rate(1, step, 10)).collect();
        assert_eq!([first, second].concat(), whole);
        assert_eq!(plan.rate(2, 0, 10), 0.4, "the third begins anew");
    }

    #[test]
    fn the_others_begin_near_zero_and_end_at_one() {
        let plan = plan(vec![full(10), shrink(10)]);
        let weight = |step| plan.weight_of_others(1, step, 4);
        // Half of the cosine is left after 10 of 20 epochs, at the end of the ramp 5 epochs later 14.6 %.
        let left = plan.rate(1, 20, 4) / 0.4;
        assert!((left - 0.1464).abs() < 1e-3);
        assert!((weight(0) - left / 20.0).abs() < 1e-12 && (weight(19) - left).abs() < 1e-12);
        assert_eq!((weight(20), weight(39)), (1.0, 1.0));
        assert_eq!(plan.weight_of_others(0, 0, 4), 1.0);
    }

    #[test]
    fn growing_needs_phases_of_the_smallest_subnet_alone_before_it() {
        let every = usize::MAX;
        let small = |levels| ShrinkingPhase { choices: choices(levels), subnets: SMALLEST, ..full(4) };
        let grow = ShrinkingPhase { preparation: Some(Preparation::Grow), ..shrink(6) };
        let [mcu, fbnet] = ["mcu-cifar", "fbnet-cifar"].map(|name| SearchSpace::builtin(name).unwrap());
        let without = fbnet.to_yaml().replace("expand_conv_at_one: true", "expand_conv_at_one: false");
        let without = SearchSpace::from_yaml(&without).unwrap();
        let good = plan(vec![small(every), small(every), grow.clone(), shrink(6)]);
        assert!(good.check_space(&mcu).is_ok());
        assert_eq!(good.check_phases(&without).unwrap_err().field, "phases.2.grow", "no expand convolution");
        let narrow = plan(vec![small(2), grow.clone()]);
        assert_eq!(narrow.check_phases(&mcu).unwrap_err().field, "phases.1.grow", "two of three expand ratios");
        let frozen = TrainSettings { frozen: vec!["stem".into()], ..settings() };
        let written_over = TrainPlan::new(frozen, vec![small(every), grow.clone()]).unwrap_err();
        assert_eq!((&*written_over.field, &*written_over.value), ("freeze", "`stem`"));
        let first = ShrinkingPhase { learning_rate: full(4).learning_rate, ..grow.clone() };
        assert_eq!(refused(&[first]), "phases.0.grow");
        assert_eq!(refused(&[full(4), grow.clone()]), "phases.1.grow");
        let more = ShrinkingPhase { subnets: Subnets { random: Some(random(1)), ..SMALLEST }, ..small(every) };
        assert_eq!(refused(&[more, grow.clone()]), "phases.1.grow");
        assert_eq!(refused(&[small(every), grow.clone(), grow.clone()]), "phases.2.grow");
        let taught = |phase| ShrinkingPhase { distillation: Some(FROM_FIRST), ..phase };
        assert_eq!(refused(&[small(every), taught(grow.clone())]), "phases.1.teacher");
        assert_eq!(refused(&[small(every), grow, taught(shrink(6))]), "phases.2.teacher");
    }

    #[test]
    fn a_phase_that_makes_no_sense_is_named() {
        let own = |peak| LearningRate::Own { peak, warm_up_epochs: 0.0 };
        let from_others = Subnets { largest: false, ..shrink(6).subnets };
        let nobody = Subnets { largest: false, ..LARGEST };
        let signal = EarlyBird { pruned: 0.5, distance: 0.1, masks: 5 };
        let weight = |weight| Some(Distillation { weight, ..IN_PLACE });
        let attentive = Some(Attentive { candidates: 1, keep: Keep::Worst });
        let attentive = Subnets { random: Some(RandomSubnets { attentive, ..random(2) }), ..LARGEST };
        for (first, second, field) in [
            (shrink(6), full(1), "phases.0.continues"),
            (ShrinkingPhase { early_bird: Some(signal), ..full(4) }, shrink(6), "phases.1.continues"),
            (ShrinkingPhase { distillation: Some(FROM_FIRST), ..full(4) }, shrink(6), "phases.0.distillation"),
            (full(4), ShrinkingPhase { distillation: weight(-1.0), ..shrink(6) }, "phases.1.distillation"),
            (full(4), ShrinkingPhase { distillation: None, ..shrink(6) }, "phases.1.distillation"),
            (ShrinkingPhase { distillation: weight(0.0), ..full(4) }, full(1), "phases.0.distillation"),
            (full(4), ShrinkingPhase { subnets: from_others, ramp_epochs: 0.0, ..shrink(6) }, "phases.1.teacher"),
            (full(4), ShrinkingPhase { ramp_epochs: 7.0, ..shrink(6) }, "phases.1.ramp_epochs"),
            (ShrinkingPhase { ramp_epochs: 1.0, ..full(4) }, shrink(6), "phases.0.ramp_epochs"),
            (ShrinkingPhase { subnets: nobody, ..full(4) }, shrink(6), "phases.0.random_subnets"),
            (ShrinkingPhase { subnets: attentive, ..full(4) }, full(1), "phases.0.attentive.candidates"),
            (ShrinkingPhase { learning_rate: own(f64::NAN), ..full(4) }, shrink(6), "phases.0.learning_rate"),
        ] {
            assert_eq!(refused(&[first, second]), field);
        }
        assert_eq!(refused(&[]), "phases");
    }

    #[test]
    fn a_constant_out_of_range_is_named() {
        let clip_gradient = Some(0.0);
        for (wrong, field) in [
            (TrainSettings { average: Some(1.0), ..settings() }, "average"),
            (TrainSettings { sgd: SgdSettings { clip_gradient, ..settings().sgd }, ..settings() }, "clip_gradient"),
            (TrainSettings { batch_size: 0, ..settings() }, "batch_size"),
        ] {
            assert_eq!(TrainPlan::new(wrong, vec![full(1)]).unwrap_err().field, field);
        }
    }
}
