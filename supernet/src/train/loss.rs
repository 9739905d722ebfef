//! What subnets minimise.

use tch::{Kind, Tensor};

use super::label_loss::label_loss;
use super::phase::{Divergence, ShrinkingPhase, Teacher};
use crate::data::Batch;

/// Importance weights beyond this are cut off (AlphaNet, arXiv:2102.07954, §4.2), so that a class to which the teacher
/// gives next to nothing does not outweigh all others.
const LARGEST_WEIGHT: f64 = 5.0;

/// What the subnets of one step minimise.
pub(crate) struct StepLoss<'s> {
    phase: &'s ShrinkingPhase,
    batch: &'s Batch,
    label_smoothing: f64,
    /// Of each class `[C]`, where they are not all 1.
    class_weights: Option<&'s Tensor>,
    /// Log-probabilities `[N, C]` of the teacher, once there are any.
    log_teacher: Option<Tensor>,
}

impl<'s> StepLoss<'s> {
    /// The losses of `phase` on `batch`. `log_teacher` is what a teacher of its own says, where the phase has one.
    pub(crate) fn new(
        phase: &'s ShrinkingPhase,
        batch: &'s Batch,
        label_smoothing: f64,
        class_weights: Option<&'s Tensor>,
        log_teacher: Option<Tensor>,
    ) -> Self {
        Self { phase, batch, label_smoothing, class_weights, log_teacher }
    }

    /// The loss of the largest subnet, which comes first: where it teaches the others, it learns from the labels alone,
    /// with the weight of both losses.
    pub(crate) fn of_largest(&mut self, logits: &Tensor) -> Tensor {
        match self.phase.distillation {
            Some(distillation) if distillation.teacher == Teacher::Largest => {
                self.log_teacher = Some(logits.detach().log_softmax(1, Kind::Float));
                self.of_labels(logits) * (self.phase.label_loss + distillation.weight)
            }
            _ => self.of(logits),
        }
    }

    /// The loss of a subnet that teaches nobody.
    pub(crate) fn of(&self, logits: &Tensor) -> Tensor {
        let labels = self.phase.label_loss;
        let Some((distillation, teacher)) = self.phase.distillation.zip(self.log_teacher.as_ref()) else {
            return self.of_labels(logits) * labels;
        };
        let distilled = distillation_loss(logits, teacher, distillation.divergence) * distillation.weight;
        if labels == 0.0 { distilled } else { self.of_labels(logits) * labels + distilled }
    }

    fn of_labels(&self, logits: &Tensor) -> Tensor {
        label_loss(logits, self.batch, self.label_smoothing, self.class_weights)
    }
}

/// A scalar whose gradient moves `logits` `[N, C]` towards `log_teacher` `[N, C]` (log-probabilities, detached), the mean
/// over images. For [`Divergence::Alpha`] only the gradient, not the value, is that of the divergence.
pub(super) fn distillation_loss(logits: &Tensor, log_teacher: &Tensor, divergence: Divergence) -> Tensor {
    let log_student = logits.log_softmax(1, Kind::Float);
    let per_class = match divergence {
        Divergence::Kl => -(log_teacher.exp() * log_student),
        Divergence::Alpha => {
            let weight = tch::no_grad(|| alpha_weights(&log_student.detach(), log_teacher));
            -(weight * log_student)
        }
    };
    per_class.sum(Kind::Float) / logits.size()[0] as f64
}

/// q·ρ for every image and class, q the student's probability. With r = p/q, D = Σ q·f(r) has the gradient
/// −Σ q·ρ·∇ln q, ρ = r·f′(r) − f(r): ρ = r for α = 1 and, up to a constant that changes nothing, −1/r for α = −1.
/// Image by image the larger of the two divergences counts. All in logarithms: p/q itself may overflow.
fn alpha_weights(log_student: &Tensor, log_teacher: &Tensor) -> Tensor {
    let student = log_student.exp();
    let log_ratio = log_teacher - log_student;
    let forward = (log_teacher.exp() * &log_ratio).sum_dim_intlist(&[1i64][..], true, Kind::Float);
    let inverse = (-&log_ratio).clamp_max(LARGEST_WEIGHT.ln()).exp();
    let backward = ((&inverse - 1.0) * &student).sum_dim_intlist(&[1i64][..], true, Kind::Float) * 0.5;
    let from_backward = -(inverse * student);
    from_backward.where_self(&backward.gt_tensor(&forward), &log_teacher.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(student: &[f32], teacher: &[f32], divergence: Divergence) -> Vec<f32> {
        let shape = [1, student.len() as i64];
        let logits = Tensor::from_slice(student).view(shape).set_requires_grad(true);
        let teacher = Tensor::from_slice(teacher).view(shape).log_softmax(1, Kind::Float);
        distillation_loss(&logits, &teacher, divergence).backward();
        Vec::<f32>::try_from(logits.grad().view(-1)).unwrap()
    }

    fn softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x.exp() / sum).collect()
    }

    fn near(a: &[f32], b: &[f32]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    }

    #[test]
    fn kl_moves_by_the_difference_of_probabilities() {
        let (student, teacher) = ([0.5, -1.0, 2.0], [1.0, 1.0, -1.0]);
        let expected: Vec<f32> = softmax(&student).iter().zip(softmax(&teacher)).map(|(q, p)| q - p).collect();
        near(&gradient(&student, &teacher, Divergence::Kl), &expected);
    }

    #[test]
    fn alpha_takes_the_larger_divergence() {
        // The student is sure of the wrong class: the forward divergence is the larger one, as the other is cut off.
        let (student, teacher) = ([-4.0, 4.0], [4.0, -4.0]);
        near(&gradient(&student, &teacher, Divergence::Alpha), &gradient(&student, &teacher, Divergence::Kl));
        // A student not sure enough: d/dlogits of ½·Σ q²/p, by hand.
        let (student, teacher) = ([0.0, 0.0], [0.8, -0.8]);
        let (q, p) = (softmax(&student), softmax(&teacher));
        let kl: f32 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let chi: f32 = q.iter().zip(&p).map(|(q, p)| 0.5 * q * (q / p - 1.0)).sum();
        assert!(chi > kl);
        let weights: Vec<f32> = q.iter().zip(&p).map(|(q, p)| q * q / p).collect();
        let total: f32 = weights.iter().sum();
        let expected: Vec<f32> = weights.iter().zip(&q).map(|(w, q)| w - q * total).collect();
        near(&gradient(&student, &teacher, Divergence::Alpha), &expected);
    }

    #[test]
    fn alpha_is_finite_where_the_ratio_is_not() {
        let gradient = gradient(&[0.0, 300.0], &[300.0, 0.0], Divergence::Alpha);
        assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
    }
}
