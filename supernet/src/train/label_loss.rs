//! How far logits are from the classes of images that may have been mixed.

use tch::{Kind, Reduction, Tensor};

use crate::data::Batch;

/// Mean cross-entropy of `logits` `[N, C]` with the labels of `batch`, which are on the same device; `smoothing` is ε of
/// label smoothing. A mixed image has two classes, and the loss of each counts by its weight, which is the cross-entropy
/// with the mixed targets of mixup and cutmix, smoothed or not. Where classes have `weights` `[C]`, an image's loss, smoothed
/// or not, counts by that of its class; the mean is over images, so that batches of rare classes count for more.
pub fn label_loss(logits: &Tensor, batch: &Batch, smoothing: f64, weights: Option<&Tensor>) -> Tensor {
    let loss = |labels: &Tensor, reduction| {
        let reduced = if weights.is_some() { Reduction::None } else { reduction };
        let loss = logits.cross_entropy_loss::<Tensor>(labels, None, reduced, -100, smoothing);
        weights.map_or_else(|| loss.shallow_clone(), |weights| &loss * weights.index_select(0, labels))
    };
    match &batch.partners {
        None if weights.is_some() => loss(&batch.labels, Reduction::None).mean(Kind::Float),
        None => loss(&batch.labels, Reduction::Mean),
        Some(partners) => {
            let (own, partner) = (loss(&batch.labels, Reduction::None), loss(&partners.labels, Reduction::None));
            (&partner + (own - &partner) * &partners.weights).mean(Kind::Float)
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::data::Partners;

    fn batch(labels: &[i64], partners: Option<(&[i64], &[f32])>) -> Batch {
        let partners = partners.map(|(labels, weights)| Partners {
            labels: Tensor::from_slice(labels),
            weights: Tensor::from_slice(weights),
        });
        Batch { images: Tensor::zeros([1], (Kind::Float, Device::Cpu)), labels: Tensor::from_slice(labels), partners }
    }

    fn value(loss: &Tensor) -> f64 {
        loss.double_value(&[])
    }

    #[test]
    fn a_weight_of_one_is_no_mixing_and_of_zero_the_partner_alone() {
        let logits = Tensor::from_slice(&[0.5_f32, -1.0, 2.0, 1.0, 0.0, -0.5]).view([2, 3]);
        for smoothing in [0.0, 0.1] {
            let of = |batch: &Batch| value(&label_loss(&logits, batch, smoothing, None));
            let [own, other] = [of(&batch(&[0, 2], None)), of(&batch(&[1, 0], None))];
            assert!((of(&batch(&[0, 2], Some((&[1, 0], &[1.0, 1.0])))) - own).abs() < 1e-6);
            assert!((of(&batch(&[0, 2], Some((&[1, 0], &[0.0, 0.0])))) - other).abs() < 1e-6);
        }
    }

    #[test]
    fn weights_of_classes_multiply_the_losses_of_their_images() {
        let logits = Tensor::from_slice(&[0.5_f32, -1.0, 2.0, 1.0, 0.0, -0.5]).view([2, 3]);
        let weights = Tensor::from_slice(&[0.5_f32, 1.0, 3.0]);
        for smoothing in [0.0, 0.1] {
            let one = |row: i64, label: i64| {
                value(&label_loss(&logits.narrow(0, row, 1), &batch(&[label], None), smoothing, None))
            };
            let weighted = |batch: &Batch| value(&label_loss(&logits, batch, smoothing, Some(&weights)));
            let expected = (3.0 * one(0, 2) + 0.5 * one(1, 0)) / 2.0;
            assert!((weighted(&batch(&[2, 0], None)) - expected).abs() < 1e-6, "{smoothing}");
            // Mixed halves, each with the weight of its own class.
            let expected =
                (0.25 * 3.0 * one(0, 2) + 0.75 * 0.5 * one(0, 0) + 0.4 * 0.5 * one(1, 0) + 0.6 * one(1, 1)) / 2.0;
            let mixed = batch(&[2, 0], Some((&[0, 1], &[0.25, 0.4])));
            assert!((weighted(&mixed) - expected).abs() < 1e-6, "{smoothing}");
            let equal = label_loss(&logits, &mixed, smoothing, Some(&Tensor::from_slice(&[1.0_f32; 3])));
            assert!((value(&equal) - value(&label_loss(&logits, &mixed, smoothing, None))).abs() < 1e-6);
        }
    }

    #[test]
    fn it_is_the_cross_entropy_with_mixed_targets() {
        // By hand: −0.3·ln(e/(e+1)) − 0.7·ln(1/(e+1)) for two classes with logits 1 and 0.
        let two = Tensor::from_slice(&[1.0_f32, 0.0]).view([1, 2]);
        let e = std::f64::consts::E;
        let by_hand = -0.3 * (e / (e + 1.0)).ln() - 0.7 * (1.0 / (e + 1.0)).ln();
        assert!((value(&label_loss(&two, &batch(&[0], Some((&[1], &[0.3]))), 0.0, None)) - by_hand).abs() < 1e-6);

        let logits = Tensor::from_slice(&[0.5_f32, -1.0, 2.0, 1.0, 0.0, -0.5]).view([2, 3]).set_requires_grad(true);
        let targets = Tensor::from_slice(&[0.25_f32, 0.75, 0.0, 0.6, 0.0, 0.4]).view([2, 3]);
        let batch = batch(&[0, 2], Some((&[1, 0], &[0.25, 0.4])));
        let gradient = |loss: &Tensor| Tensor::run_backward(&[loss], &[&logits], false, false).remove(0);
        for smoothing in [0.0, 0.1] {
            let mixed = label_loss(&logits, &batch, smoothing, None);
            let expected = logits.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, smoothing);
            assert!((value(&mixed) - value(&expected)).abs() < 1e-6);
            assert!(gradient(&mixed).allclose(&gradient(&expected), 1e-5, 1e-6, false));
        }
    }
}
