//! True accuracy of a calibrated subnet on labelled images.

use tch::{Kind, Reduction, Tensor};

use crate::error::SupernetError;
use crate::forward::statistics::BnStatistics;
use crate::forward::subnet::{Mode, Subnet};

/// What an evaluation found. Accuracies are fractions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Share of images whose first guess is right.
    pub top1: f64,
    /// Share of images whose label is among the first five guesses (among all, with fewer classes).
    pub top5: f64,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Images seen.
    pub images: u64,
    /// Whether the first guess is right, image by image: two networks compared on the same images differ with much less
    /// error than either has alone.
    pub right: Vec<bool>,
}

impl Accuracy {
    /// Top-1 on the images of even position alone, and on those of odd position; they tell how noisy the label is.
    pub fn top1_of_halves(&self) -> (f64, f64) {
        let half = |parity: usize| {
            let of = self.right.iter().skip(parity).step_by(2);
            let images = of.len();
            if images == 0 { 0.0 } else { of.filter(|right| **right).count() as f64 / images as f64 }
        };
        (half(0), half(1))
    }
}

/// Runs `subnet` over batches of (images `[N, 3, R, R]`, labels `[N]`).
///
/// # Errors
/// [`SupernetError::OutputsNotFinite`].
pub fn evaluate(
    subnet: &Subnet,
    statistics: &BnStatistics,
    batches: impl IntoIterator<Item = (Tensor, Tensor)>,
) -> Result<Accuracy, SupernetError> {
    evaluate_with(|images| subnet.forward(images, Mode::Eval(statistics)), batches)
}

/// Runs whatever makes logits `[N, classes]` of images over batches of (images `[N, 3, R, R]`, labels `[N]`).
///
/// # Errors
/// [`SupernetError::OutputsNotFinite`].
pub fn evaluate_with(
    forward: impl Fn(&Tensor) -> Tensor,
    batches: impl IntoIterator<Item = (Tensor, Tensor)>,
) -> Result<Accuracy, SupernetError> {
    let mut seen = Sums::default();
    tch::no_grad(|| {
        for (images, labels) in batches {
            seen.add(&forward(&images), &labels);
        }
    });
    seen.accuracy()
}

#[derive(Default)]
struct Sums {
    right: Vec<bool>,
    among_five: u64,
    loss: f64,
}

impl Sums {
    fn add(&mut self, logits: &Tensor, labels: &Tensor) {
        let (_, guesses) = logits.topk(logits.size()[1].min(5), 1, true, true);
        let right = guesses.eq_tensor(&labels.unsqueeze(1));
        self.right.extend(Vec::<bool>::try_from(right.select(1, 0)).expect("a row of booleans"));
        self.among_five += right.sum(Kind::Int64).int64_value(&[]) as u64;
        let loss = logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, -100, 0.0);
        self.loss += loss.double_value(&[]);
    }

    fn accuracy(self) -> Result<Accuracy, SupernetError> {
        // Where an output is NaN, so is the loss; the first guess would be any.
        if !self.loss.is_finite() {
            return Err(SupernetError::OutputsNotFinite);
        }
        let images = self.right.len() as u64;
        let share = |right: u64| if images == 0 { 0.0 } else { right as f64 / images as f64 };
        Ok(Accuracy {
            top1: share(self.right.iter().filter(|right| **right).count() as u64),
            top5: share(self.among_five),
            loss: if images == 0 { 0.0 } else { self.loss / images as f64 },
            images,
            right: self.right,
        })
    }
}
