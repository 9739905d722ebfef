//! What a training run does: its phases and constants, checked as a whole before anything runs.

use search::space::SearchSpace;

use crate::data::Augmentation;
use crate::optim::SgdSettings;

use super::early_bird::EarlyBird;
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

/// Whose probabilities subnets learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// The largest network as it was at the end of the first phase (Cai et al. 2020, §3.2).
    #[default]
    FirstPhase,
    /// The largest subnet of the same step, which itself learns from the labels alone (in-place distillation, Yu & Huang
    /// 2019, §4.2): it costs no forward pass of its own, and gets better while it teaches.
    Largest,
}

/// How far a subnet's probabilities are from the teacher's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// Cross-entropy with the teacher's probabilities (Kullback–Leibler up to a constant).
    #[default]
    Kl,
    /// The larger of the α-divergences with α = −1 and α = 1, importance weights clipped at 5 (AlphaNet, Wang et al. 2021,
    /// arXiv:2102.07954): punishes subnets that are too sure as well as those that are not sure enough.
    Alpha,
}

/// How the random subnets of a step are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every depth, kernel size and expand ratio uniformly by itself (Cai et al. 2020).
    #[default]
    Uniform,
    /// Depth and expand ratio of a stage go together, shallow with narrow and deep with wide, one ratio for all of its
    /// blocks (CompOFA, Sahni et al. 2021, arXiv:2104.12642).
    Compound,
}

/// Which of several candidates takes part, by the loss on the images of the step (AttentiveNAS, Wang et al. 2021,
/// arXiv:2011.09011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attentive {
    /// Subnets drawn for each one that takes part; at least 2.
    pub candidates: u64,
    /// Whether the best or the worst of them learns.
    pub keep: Keep,
}

/// Which end of the candidates is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The one with the lowest loss.
    Best,
    /// The one with the highest loss.
    Worst,
}

/// One phase of training.
#[derive(Clone, Debug, PartialEq)]
pub struct ShrinkingPhase {
    /// Name in logs.
    pub name: String,
    /// Passes over the training images; the most that a phase with an [`EarlyBird`] takes.
    pub epochs: u64,
    /// Peak learning rate; cosine to zero over the phase, or over it and the phases that continue it.
    pub learning_rate: f64,
    /// Epochs of linear warm-up from zero, part of `epochs`.
    pub warm_up_epochs: f64,
    /// Whether the learning rate goes on along the cosine of the phase before, momentum kept; `learning_rate` and
    /// `warm_up_epochs` are then those of the phase that began the cosine.
    pub continues: bool,
    /// Input resolutions that take part; all of the space's when empty.
    pub resolutions: Vec<u32>,
    /// How many of the largest kernel sizes take part.
    pub kernels: usize,
    /// How many of the largest depths take part.
    pub depths: usize,
    /// How many of the largest expand ratios take part.
    pub expands: usize,
    /// Subnets drawn at random per step.
    pub random_subnets: u64,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Candidates for each of them, if there are to be several.
    pub attentive: Option<Attentive>,
    /// Whether the largest subnet joins every step.
    pub with_largest: bool,
    /// Whether the smallest subnet of the phase joins every step.
    pub with_smallest: bool,
    /// Weight of distillation from the teacher; 0 = none, and then no teacher is needed.
    pub distillation: f64,
    /// Who teaches.
    pub teacher: Teacher,
    /// What distillation minimises.
    pub divergence: Divergence,
    /// Weight of the cross-entropy with the labels.
    pub label_loss: f64,
    /// Whether the losses of a step's subnets are summed; averaged otherwise.
    pub sum_losses: bool,
    /// Epochs over which the weight of all subnets but the largest rises from 0 to the share of the peak learning rate
    /// that is left then; afterwards it is 1 (delayed ε-shrinking, Venkatesha et al. 2024, arXiv:2407.06167).
    pub ramp_epochs: f64,
    /// Sort channels by importance first; the number is how many expand ratios earlier phases trained.
    pub sort_channels: Option<usize>,
    /// Spread the weights of the smallest subnet, which the phases before trained alone, over all others first. Momentum
    /// is dropped even where the phase continues another, and an average of weights begins again.
    pub grow: bool,
    /// Ends the phase early.
    pub early_bird: Option<EarlyBird>,
}

/// A whole training run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
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
    /// What happens to training images.
    pub augmentation: Augmentation,
    /// Batches of training images used for calibration, and images per batch.
    pub calibration: (usize, usize),
    /// Phases in order; the teacher is the largest network at the end of the first.
    pub phases: Vec<ShrinkingPhase>,
}

impl TrainPlan {
    /// Whether it can be run at all.
    ///
    /// # Errors
    /// The first value that is out of range, or impossible together with the others.
    pub fn check(&self) -> Result<(), PlanError> {
        self.check_constants()?;
        for (index, phase) in self.phases.iter().enumerate() {
            phase
                .check()
                .and_then(|()| self.check_order(index))
                .map_err(|error| PlanError { field: format!("phases.{index}.{}", error.field), ..error })?;
        }
        Ok(())
    }

    /// Whether it can be run in `space`.
    ///
    /// # Errors
    /// A resolution that the space does not offer, growing where it is impossible.
    pub fn check_space(&self, space: &SearchSpace) -> Result<(), PlanError> {
        for (index, phase) in self.phases.iter().enumerate() {
            if let Some(unknown) = phase.resolutions.iter().find(|one| !space.resolutions().contains(one)) {
                let reason = "but must be resolutions of the space";
                return require(false, &format!("phases.{index}.resolutions"), unknown, reason);
            }
            if phase.grow {
                let field = format!("phases.{index}.grow");
                let reason = "but narrow blocks of this space have no expand convolution that wide ones could copy";
                require(can_grow(space), &field, true, reason)?;
                let smallest = |space: &SearchSpace| space.smallest(space.resolutions()[0]).ok();
                let of = |before: &ShrinkingPhase| {
                    smallest(&space.largest_choices(before.kernels, before.depths, before.expands))
                };
                let reason = "but the smallest subnet of a phase before it is not the smallest of the space";
                require(self.phases[..index].iter().all(|before| of(before) == smallest(space)), &field, true, reason)?;
            }
        }
        Ok(())
    }

    /// Whether a phase learns from the network that the first one made.
    pub(crate) fn needs_first_phase(&self) -> bool {
        self.phases.iter().any(|phase| phase.distillation > 0.0 && phase.teacher == Teacher::FirstPhase)
    }

    fn check_constants(&self) -> Result<(), PlanError> {
        require(self.batch_size >= 1, "batch_size", self.batch_size, "but must be at least 1")?;
        require((0.0..1.0).contains(&self.sgd.momentum), "momentum", self.sgd.momentum, "but must be in [0, 1)")?;
        let smoothing = self.label_smoothing;
        require((0.0..1.0).contains(&smoothing), "label_smoothing", smoothing, "but must be in [0, 1)")?;
        let decay = self.sgd.weight_decay;
        require(decay >= 0.0 && decay.is_finite(), "weight_decay", decay, "but must be 0 or more")?;
        if let Some(norm) = self.sgd.clip_gradient {
            require(norm > 0.0 && norm.is_finite(), "clip_gradient", norm, "but must be above 0")?;
        }
        if let Some(kept) = self.average {
            require(kept > 0.0 && kept < 1.0, "average", kept, "but must be between 0 and 1")?;
        }
        let enough = self.calibration.0 >= 1 && self.calibration.1 >= 2;
        require(enough, "calibration", format!("{:?}", self.calibration), "but needs a batch of two images")?;
        require(!self.phases.is_empty(), "phases", "empty", "but at least one is needed")
    }

    /// What a phase needs of those before it.
    fn check_order(&self, index: usize) -> Result<(), PlanError> {
        let phase = &self.phases[index];
        let from_first = phase.distillation > 0.0 && phase.teacher == Teacher::FirstPhase;
        let reason = "but the first phase makes the teacher";
        require(index > 0 || !from_first, "distillation", phase.distillation, reason)?;
        if phase.grow {
            require(index > 0, "grow", true, "but no phase before it trained the smallest subnet")?;
            let alone = |phase: &ShrinkingPhase| {
                phase.with_smallest && !phase.with_largest && phase.random_subnets == 0 && !phase.grow
            };
            let reason = "but a phase before it trained others than the smallest subnet, whose weights would be lost";
            require(self.phases[..index].iter().all(alone), "grow", true, reason)?;
            let reason = "but sort_channels would part the smallest subnet from what it trained";
            require(phase.sort_channels.is_none(), "grow", true, reason)?;
        }
        let reason = "but the first phase trained the smallest subnet alone, and the largest teaches; use `largest`";
        let grown = self.phases[..=index].iter().any(|phase| phase.grow);
        require(!(grown && from_first), "teacher", "first_phase", reason)?;
        let Some(before) = index.checked_sub(1).map(|before| &self.phases[before]) else {
            return require(!phase.continues, "continues", true, "but there is no phase before it");
        };
        let reason = "but the phase before it ends on a signal, so its cosine has no known length";
        require(!phase.continues || before.early_bird.is_none(), "continues", true, reason)
    }

    /// The phase that began the cosine of phase `index`, and the first one after those that continue it.
    fn cosine_of(&self, index: usize) -> std::ops::Range<usize> {
        let begins = |phase: &usize| !self.phases[*phase].continues;
        let start = (0..=index).rev().find(begins).unwrap_or(0);
        let end = (index + 1..self.phases.len()).find(begins).unwrap_or(self.phases.len());
        start..end
    }

    /// Learning rate of step `step` of phase `index`, with `per_epoch` steps in an epoch.
    pub fn rate(&self, index: usize, step: u64, per_epoch: u64) -> f64 {
        let cosine = self.cosine_of(index);
        let first = &self.phases[cosine.start];
        let epochs = |phases: std::ops::Range<usize>| self.phases[phases].iter().map(|phase| phase.epochs).sum::<u64>();
        let warm_up = (first.warm_up_epochs * per_epoch as f64).round() as u64;
        let before = epochs(cosine.start..index) * per_epoch;
        cosine_rate(first.learning_rate, before + step, epochs(cosine) * per_epoch, warm_up)
    }

    /// Weight of the losses of all subnets but the largest in step `step` of phase `index`.
    pub(crate) fn weight_of_others(&self, index: usize, step: u64, per_epoch: u64) -> f64 {
        let phase = &self.phases[index];
        let ramp = (phase.ramp_epochs * per_epoch as f64).round() as u64;
        if step >= ramp {
            return 1.0;
        }
        let peak = self.phases[self.cosine_of(index).start].learning_rate;
        (step + 1) as f64 / ramp as f64 * self.rate(index, ramp, per_epoch) / peak
    }
}

impl ShrinkingPhase {
    fn check(&self) -> Result<(), PlanError> {
        let (rate, epochs) = (self.learning_rate, self.epochs as f64);
        require(rate > 0.0 && rate.is_finite(), "learning_rate", rate, "but must be above 0")?;
        let fits = |value: f64| value >= 0.0 && value <= epochs;
        let in_cosine = self.continues || fits(self.warm_up_epochs);
        require(in_cosine, "warm_up_epochs", self.warm_up_epochs, "but must be 0 to `epochs`")?;
        require(fits(self.ramp_epochs), "ramp_epochs", self.ramp_epochs, "but must be 0 to `epochs`")?;
        let (distillation, labels) = (self.distillation, self.label_loss);
        let some = distillation >= 0.0 && labels >= 0.0 && (distillation + labels).is_finite();
        require(some && distillation + labels > 0.0, "distillation", distillation, "but a loss must be left")?;
        let in_place = self.teacher == Teacher::Largest;
        let possible = !in_place || (self.with_largest && distillation > 0.0);
        require(possible, "teacher", "largest", "which needs with_largest and distillation")?;
        let needless = self.divergence != Divergence::Kl && distillation == 0.0;
        require(!needless, "divergence", "alpha", "which needs distillation")?;
        let any = self.random_subnets > 0 || self.with_largest || self.with_smallest;
        require(any, "random_subnets", 0, "but a step needs a subnet")?;
        let others = self.random_subnets > 0 || self.with_smallest;
        let needless = self.ramp_epochs > 0.0 && !(others && self.with_largest);
        require(!needless, "ramp_epochs", self.ramp_epochs, "but there is no largest subnet beside others")?;
        if let Some(Attentive { candidates, .. }) = self.attentive {
            require(candidates >= 2, "attentive.candidates", candidates, "but must be at least 2")?;
            require(self.random_subnets > 0, "attentive", "set", "but there are no random subnets to choose")?;
        }
        let tied = self.sampling == Sampling::Compound;
        require(!tied || self.random_subnets > 0, "sampling", "compound", "but there are no random subnets to draw")?;
        match &self.early_bird {
            Some(signal) => signal.check(),
            None => Ok(()),
        }
    }
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
    use super::*;

    /// A phase of the largest subnet alone.
    pub(in crate::train) fn full(epochs: u64) -> ShrinkingPhase {
        ShrinkingPhase {
            name: "full".into(),
            epochs,
            learning_rate: 0.4,
            warm_up_epochs: 0.0,
            continues: false,
            resolutions: Vec::new(),
            kernels: 1,
            depths: 1,
            expands: 1,
            random_subnets: 0,
            sampling: Sampling::Uniform,
            attentive: None,
            with_largest: true,
            with_smallest: false,
            distillation: 0.0,
            teacher: Teacher::FirstPhase,
            divergence: Divergence::Kl,
            label_loss: 1.0,
            sum_losses: false,
            ramp_epochs: 0.0,
            sort_channels: None,
            grow: false,
            early_bird: None,
        }
    }

    /// The sandwich of delayed ε-shrinking, going on with the cosine before.
    pub(in crate::train) fn shrink(epochs: u64) -> ShrinkingPhase {
        ShrinkingPhase {
            name: "shrink".into(),
            continues: true,
            kernels: usize::MAX,
            depths: usize::MAX,
            expands: usize::MAX,
            random_subnets: 2,
            with_smallest: true,
            distillation: 1.0,
            teacher: Teacher::Largest,
            label_loss: 0.0,
            sum_losses: true,
            ramp_epochs: 5.0,
            sort_channels: Some(1),
            ..full(epochs)
        }
    }

    pub(in crate::train) fn plan(phases: Vec<ShrinkingPhase>) -> TrainPlan {
        TrainPlan {
            seed: 1,
            batch_size: 8,
            precision: Precision::Fp32,
            sgd: SgdSettings { momentum: 0.9, weight_decay: 1e-4, clip_gradient: None },
            zero_init_residual: false,
            kernel_transforms: true,
            average: None,
            label_smoothing: 0.1,
            augmentation: Augmentation::none(),
            calibration: (1, 8),
            phases,
        }
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
        let small = |levels| ShrinkingPhase {
            kernels: levels,
            depths: levels,
            expands: levels,
            with_largest: false,
            with_smallest: true,
            ..full(4)
        };
        let grow = ShrinkingPhase { grow: true, sort_channels: None, ..shrink(6) };
        let [mcu, fbnet] = ["mcu-cifar", "fbnet-cifar"].map(|name| SearchSpace::builtin(name).unwrap());
        let without = fbnet.to_yaml().replace("expand_conv_at_one: true", "expand_conv_at_one: false");
        let without = SearchSpace::from_yaml(&without).unwrap();
        let good = plan(vec![small(every), small(every), grow.clone(), shrink(6)]);
        assert_eq!(good.check().and_then(|()| good.check_space(&mcu)), Ok(()));
        assert_eq!(good.check_space(&without).unwrap_err().field, "phases.2.grow", "no expand convolution");
        let narrow = plan(vec![small(2), grow.clone()]);
        assert_eq!(narrow.check(), Ok(()));
        assert_eq!(narrow.check_space(&mcu).unwrap_err().field, "phases.1.grow", "two of three expand ratios");
        let first_phase = Teacher::FirstPhase;
        for (phases, field) in [
            (vec![ShrinkingPhase { continues: false, ..grow.clone() }], "phases.0.grow"),
            (vec![full(4), grow.clone()], "phases.1.grow"),
            (vec![ShrinkingPhase { random_subnets: 1, ..small(every) }, grow.clone()], "phases.1.grow"),
            (vec![small(every), grow.clone(), grow.clone()], "phases.2.grow"),
            (vec![small(every), ShrinkingPhase { sort_channels: Some(1), ..grow.clone() }], "phases.1.grow"),
            (vec![small(every), ShrinkingPhase { teacher: first_phase, ..grow.clone() }], "phases.1.teacher"),
            (vec![small(every), grow, ShrinkingPhase { teacher: first_phase, ..shrink(6) }], "phases.2.teacher"),
        ] {
            assert_eq!(plan(phases).check().unwrap_err().field, field);
        }
    }

    #[test]
    fn impossible_plans_are_named() {
        assert_eq!(plan(vec![full(4), shrink(6)]).check(), Ok(()));
        let signal = EarlyBird { pruned: 0.5, distance: 0.1, masks: 5 };
        let check = |first: ShrinkingPhase, second: ShrinkingPhase| plan(vec![first, second]).check();
        for (result, field) in [
            (plan(Vec::new()).check(), "phases"),
            (check(shrink(6), full(1)), "phases.0.continues"),
            (check(ShrinkingPhase { early_bird: Some(signal), ..full(4) }, shrink(6)), "phases.1.continues"),
            (check(ShrinkingPhase { distillation: 1.0, ..full(4) }, shrink(6)), "phases.0.distillation"),
            (check(full(4), ShrinkingPhase { with_largest: false, ..shrink(6) }), "phases.1.teacher"),
            (check(full(4), ShrinkingPhase { ramp_epochs: 7.0, ..shrink(6) }), "phases.1.ramp_epochs"),
            (check(ShrinkingPhase { ramp_epochs: 1.0, ..full(4) }, shrink(6)), "phases.0.ramp_epochs"),
            (check(ShrinkingPhase { divergence: Divergence::Alpha, ..full(4) }, shrink(6)), "phases.0.divergence"),
            (check(ShrinkingPhase { sampling: Sampling::Compound, ..full(4) }, shrink(6)), "phases.0.sampling"),
            (check(ShrinkingPhase { with_largest: false, ..full(4) }, shrink(6)), "phases.0.random_subnets"),
            (check(ShrinkingPhase { learning_rate: f64::NAN, ..full(4) }, shrink(6)), "phases.0.learning_rate"),
        ] {
            assert_eq!(result.unwrap_err().field, field);
        }
        let attentive = |candidates| Some(Attentive { candidates, keep: Keep::Worst });
        let one = check(full(4), ShrinkingPhase { attentive: attentive(1), ..shrink(6) });
        assert_eq!(one.unwrap_err().field, "phases.1.attentive.candidates");
        let none = check(ShrinkingPhase { attentive: attentive(3), ..full(4) }, shrink(6));
        assert_eq!(none.unwrap_err().field, "phases.0.attentive");
        let zero_clip = SgdSettings { momentum: 0.9, weight_decay: 0.0, clip_gradient: Some(0.0) };
        for (wrong, field) in [
            (TrainPlan { average: Some(1.0), ..plan(vec![full(1)]) }, "average"),
            (TrainPlan { sgd: zero_clip, ..plan(vec![full(1)]) }, "clip_gradient"),
            (TrainPlan { batch_size: 0, ..plan(vec![full(1)]) }, "batch_size"),
        ] {
            assert_eq!(wrong.check().unwrap_err().field, field);
        }
    }
}
