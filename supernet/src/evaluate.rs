//! True accuracy of a calibrated subnet on labelled images.

use tch::{Kind, Reduction, Tensor};

use crate::statistics::BnStatistics;
use crate::subnet::{Mode, Subnet};

/// What an evaluation found. Accuracies are fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Share of images whose first guess is right.
    pub top1: f64,
    /// Share of images whose label is among the first five guesses (among all, with fewer classes).
    pub top5: f64,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Images seen.
    pub images: u64,
    /// Top-1 on the images of even position alone; with [`Accuracy::top1_odd`] it tells how noisy the label is.
    pub top1_even: f64,
    /// Top-1 on the images of odd position alone.
    pub top1_odd: f64,
}

/// Runs `subnet` over batches of (images `[N, 3, R, R]`, labels `[N]`).
pub fn evaluate<'t>(
    subnet: &Subnet,
    statistics: &BnStatistics,
    batches: impl IntoIterator<Item = (&'t Tensor, &'t Tensor)>,
) -> Accuracy {
    let mut seen = Sums::default();
    tch::no_grad(|| {
        for (images, labels) in batches {
            let logits = subnet.forward(images, Mode::Eval(statistics));
            seen.add(&logits, labels);
        }
    });
    seen.accuracy()
}

#[derive(Default)]
struct Sums {
    first: [u64; 2],
    images: [u64; 2],
    among_five: u64,
    loss: f64,
}

impl Sums {
    fn add(&mut self, logits: &Tensor, labels: &Tensor) {
        let (_, guesses) = logits.topk(logits.size()[1].min(5), 1, true, true);
        let right = guesses.eq_tensor(&labels.unsqueeze(1));
        let first = Vec::<bool>::try_from(right.select(1, 0)).expect("a row of booleans");
        for right in first {
            let half = ((self.images[0] + self.images[1]) % 2) as usize;
            self.images[half] += 1;
            self.first[half] += u64::from(right);
        }
        self.among_five += right.sum(Kind::Int64).int64_value(&[]) as u64;
        let loss = logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, -100, 0.0);
        self.loss += loss.double_value(&[]);
    }

    fn accuracy(&self) -> Accuracy {
        let images = self.images[0] + self.images[1];
        let share = |right: u64, of: u64| if of == 0 { 0.0 } else { right as f64 / of as f64 };
        Accuracy {
            top1: share(self.first[0] + self.first[1], images),
            top5: share(self.among_five, images),
            loss: if images == 0 { 0.0 } else { self.loss / images as f64 },
            images,
            top1_even: share(self.first[0], self.images[0]),
            top1_odd: share(self.first[1], self.images[1]),
        }
    }
}
