//! One phase of training: how long, which subnets a step trains, and what they learn from.

use std::num::NonZeroU64;

use super::early_bird::EarlyBird;
use super::plan_error::{PlanError, require};

/// One phase of training.
#[derive(Clone, Debug, PartialEq)]
pub struct ShrinkingPhase {
    /// Name in logs.
    pub name: String,
    /// Passes over the training images; the most that a phase with an [`EarlyBird`] takes.
    pub epochs: u64,
    /// Ends the phase early.
    pub early_bird: Option<EarlyBird>,
    /// How fast it learns.
    pub learning_rate: LearningRate,
    /// What happens to the weights before its first step.
    pub preparation: Option<Preparation>,
    /// What subnets may consist of.
    pub choices: Choices,
    /// Which subnets a step trains.
    pub subnets: Subnets,
    /// Weight of the cross-entropy with the labels.
    pub label_loss: f64,
    /// What subnets learn from a teacher.
    pub distillation: Option<Distillation>,
    /// Whether the losses of a step's subnets are summed; averaged otherwise.
    pub sum_losses: bool,
    /// Epochs over which the weight of all subnets but the largest rises from 0 to the share of the peak learning rate
    /// that is left then; afterwards it is 1 (delayed ε-shrinking, Venkatesha et al. 2024, arXiv:2407.06167).
    pub ramp_epochs: f64,
}

/// The learning rate of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LearningRate {
    /// A cosine that begins with the phase, and goes on through the phases that continue it.
    Own {
        /// The highest rate, from which the cosine falls to zero.
        peak: f64,
        /// Epochs of linear warm-up from zero, part of the phase's.
        warm_up_epochs: f64,
    },
    /// On along the cosine of the phase before, momentum kept.
    Continues,
}

/// What happens to the weights before the first step of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Channels are sorted by importance.
    SortChannels {
        /// How many of the largest expand ratios earlier phases trained.
        trained_expands: usize,
    },
    /// The weights of the smallest subnet, which the phases before trained alone, are spread over all others. Momentum
    /// is dropped even where the phase continues another, and an average of weights begins again.
    Grow,
}

/// Which of a space's choices the subnets of a phase are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Input resolutions; all of the space's when empty.
    pub resolutions: Vec<u32>,
    /// How many of the largest kernel sizes.
    pub kernels: usize,
    /// How many of the largest depths.
    pub depths: usize,
    /// How many of the largest expand ratios.
    pub expands: usize,
}

/// Which subnets a step trains; all three kinds together are the sandwich rule (Yu & Huang 2019, arXiv:1903.05134).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnets {
    /// Whether the largest subnet of the phase is one of them.
    pub largest: bool,
    /// Whether the smallest subnet of the phase is one of them.
    pub smallest: bool,
    /// Those that are drawn.
    pub random: Option<RandomSubnets>,
}

impl Subnets {
    /// How many there are.
    pub fn count(&self) -> u64 {
        let random = self.random.map_or(0, |random| random.count.get());
        random + u64::from(self.largest) + u64::from(self.smallest)
    }
}

/// Subnets that are drawn anew for each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomSubnets {
    /// How many of them learn.
    pub count: NonZeroU64,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Candidates for each of them, if there are to be several.
    pub attentive: Option<Attentive>,
}

/// What subnets learn from a teacher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// Weight of this loss; above 0.
    pub weight: f64,
    /// Who teaches.
    pub teacher: Teacher,
    /// What is minimised.
    pub divergence: Divergence,
}

/// Whose probabilities subnets learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attentive {
    /// Subnets drawn for each one that takes part; at least 2.
    pub candidates: u64,
    /// Whether the best or the worst of them learns.
    pub keep: Keep,
}

/// Which end of the candidates is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The one with the lowest loss.
    Best,
    /// The one with the highest loss.
    Worst,
}

/// Passes over the images: their product with the steps of one fits every count of steps.
const MAX_EPOCHS: u64 = 1_000_000;

/// Subnets of a step, each of which costs a pass forwards and backwards.
const MAX_SUBNETS: u64 = 1000;

impl ShrinkingPhase {
    /// Whether it makes sense by itself. Errors name its fields as recipes do.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        require(self.epochs <= MAX_EPOCHS, "epochs", self.epochs, "but must be at most 1,000,000")?;
        let Choices { kernels, depths, expands, .. } = &self.choices;
        for (field, levels) in [("kernels", kernels), ("depths", depths), ("expands", expands)] {
            require(*levels >= 1, field, levels, "but must be at least 1, or `all`")?;
        }
        let fits = |value: f64| value >= 0.0 && value <= self.epochs as f64;
        if let LearningRate::Own { peak, warm_up_epochs } = self.learning_rate {
            require(peak > 0.0 && peak.is_finite(), "learning_rate", peak, "but must be above 0")?;
            require(fits(warm_up_epochs), "warm_up_epochs", warm_up_epochs, "but must be 0 to `epochs`")?;
        }
        require(fits(self.ramp_epochs), "ramp_epochs", self.ramp_epochs, "but must be 0 to `epochs`")?;
        self.check_losses()?;
        self.check_subnets()?;
        self.early_bird.map_or(Ok(()), |signal| signal.check())
    }

    fn check_losses(&self) -> Result<(), PlanError> {
        let (weight, labels) = (self.distillation.map_or(0.0, |distillation| distillation.weight), self.label_loss);
        let some = weight >= 0.0 && labels >= 0.0 && (weight + labels).is_finite() && weight + labels > 0.0;
        require(some, "distillation", weight, "but a loss must be left")?;
        let weighs = self.distillation.is_none() || weight > 0.0;
        require(weighs, "distillation", weight, "but must be above 0 where there is a teacher")?;
        let possible = self.teacher() != Some(Teacher::Largest) || self.subnets.largest;
        require(possible, "teacher", "largest", "which needs with_largest and distillation")
    }

    fn check_subnets(&self) -> Result<(), PlanError> {
        let Subnets { largest, smallest, random } = self.subnets;
        require(self.subnets.count() > 0, "random_subnets", 0, "but a step needs a subnet")?;
        let needless = self.ramp_epochs > 0.0 && !(largest && (smallest || random.is_some()));
        require(!needless, "ramp_epochs", self.ramp_epochs, "but there is no largest subnet beside others")?;
        let candidates = random.and_then(|random| random.attentive).map_or(2, |attentive| attentive.candidates);
        let fits = (2..=MAX_SUBNETS).contains(&candidates);
        require(fits, "attentive.candidates", candidates, "but must be 2 to 1000")?;
        let drawn = random.map_or(0, |random| random.count.get());
        require(drawn <= MAX_SUBNETS, "random_subnets", drawn, "but must be at most 1000")
    }

    /// Who teaches, if anyone does.
    pub(super) fn teacher(&self) -> Option<Teacher> {
        self.distillation.map(|distillation| distillation.teacher)
    }

    pub(super) fn continues(&self) -> bool {
        self.learning_rate == LearningRate::Continues
    }

    pub(super) fn grows(&self) -> bool {
        self.preparation == Some(Preparation::Grow)
    }
}
