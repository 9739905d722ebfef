//! What is done about classes of which there are many more images than of others.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, generator};

/// How much an image counts in the loss against labels; in a recipe `class_weights: balanced`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// As much as any other.
    #[default]
    None,
    /// By one over the number of training images of its class, so that every class counts as much as any other; the mean
    /// over the training images is 1.
    Balanced,
}

impl ClassWeights {
    /// The weight of each class, where `histogram` says how many training images each has; none where all are 1. A class
    /// without images weighs nothing.
    pub fn of(self, histogram: &[usize]) -> Option<Vec<f32>> {
        let present = histogram.iter().filter(|count| **count > 0).count() as f64;
        let all = histogram.iter().sum::<usize>() as f64;
        let weight = |count: &usize| if *count == 0 { 0.0 } else { (all / (present * *count as f64)) as f32 };
        (self == ClassWeights::Balanced).then(|| histogram.iter().map(weight).collect())
    }
}

/// Which images an epoch goes through; in a recipe `sampling: balanced`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSampling {
    /// Each once.
    #[default]
    Uniform,
    /// As many in all, from every class as many as from any other, give or take one: images of small classes come several
    /// times, and of large ones a part, another one in each epoch.
    Balanced,
}

/// Places of as many images as there are, the same number of each class that has any, give or take one: a function of
/// labels, seed and epoch. Which classes give one more, and which of their images a class gives, is drawn anew for every
/// epoch; none of a class comes twice before all have come once.
pub(super) fn balanced(labels: &[i64], seed: u64, epoch: u64) -> Vec<u32> {
    let mut members: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    labels.iter().zip(0..).for_each(|(label, place)| members.entry(*label).or_default().push(place));
    let mut order: Vec<i64> = members.keys().copied().collect();
    // Labels are no larger than their number: this place in the family of generators is free.
    order.shuffle(&mut generator(seed, Purpose::Balance, epoch, u64::MAX));
    let (each, more) = (labels.len() / order.len().max(1), labels.len() % order.len().max(1));
    let mut places = Vec::with_capacity(labels.len());
    for (at, label) in order.iter().enumerate() {
        let own = &mut members.get_mut(label).expect("a class with images")[..];
        let mut rng = generator(seed, Purpose::Balance, epoch, *label as u64);
        let mut missing = each + usize::from(at < more);
        while missing > 0 {
            own.shuffle(&mut rng);
            let taken = missing.min(own.len());
            places.extend_from_slice(&own[..taken]);
            missing -= taken;
        }
    }
    places
}

/// Ratio of the largest to the smallest class from which on it is worth a word.
const WORTH_SAYING: usize = 2;

/// What there is to say about classes of very different sizes.
pub(super) fn imbalance(histogram: &[usize], names: &[String]) -> Option<String> {
    let present = || histogram.iter().zip(names).filter(|(count, _)| **count > 0);
    let (fewest, small) = present().min_by_key(|(count, _)| **count)?;
    let (most, large) = present().rev().max_by_key(|(count, _)| **count)?;
    (*most >= WORTH_SAYING * fewest).then(|| {
        let ratio = *most as f64 / *fewest as f64;
        let ratio = if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
        format!(
            "classes have from {fewest} ({small}) to {most} images ({large}), {ratio} times as many; `class_weights` and \
             `sampling` of a recipe can make up for it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_have_mean_one_and_give_every_class_the_same_sum() {
        assert_eq!(ClassWeights::None.of(&[1, 9]), None);
        let histogram = [10, 30, 0, 60];
        let weights = ClassWeights::Balanced.of(&histogram).unwrap();
        let sums: Vec<f32> = weights.iter().zip(histogram).map(|(weight, count)| weight * count as f32).collect();
        assert!((sums.iter().sum::<f32>() - 100.0).abs() < 1e-4, "{sums:?}");
        assert!([sums[0], sums[1], sums[3]].iter().all(|sum| (sum - 100.0 / 3.0).abs() < 1e-4), "{sums:?}");
        assert_eq!(weights[2], 0.0);
        assert_eq!(ClassWeights::Balanced.of(&[5, 5]).unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn balanced_epochs_draw_every_class_as_often_and_no_image_again_before_all_others() {
        let labels: Vec<i64> = (0..100).map(|place| if place < 3 { 4 } else { i64::from(place < 20) }).collect();
        let epochs: Vec<Vec<u32>> = (0..3).map(|epoch| balanced(&labels, 7, epoch)).collect();
        for epoch in &epochs {
            assert_eq!(epoch.len(), 100);
            let mut times = vec![0; 100];
            epoch.iter().for_each(|place| times[*place as usize] += 1);
            for (class, members) in [(4, 0..3), (1, 3..20), (0, 20..100)] {
                let drawn: usize = times[members.clone()].iter().sum();
                assert!((33..=34).contains(&drawn), "class {class}: {drawn}");
                let (least, most) = (times[members.clone()].iter().min(), times[members].iter().max());
                assert!(most.unwrap() - least.unwrap() <= 1, "class {class}");
            }
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(balanced(&labels, 7, 1), epochs[1]);
        assert_ne!(balanced(&labels, 8, 1), epochs[1]);
        // Over many epochs, every image of a large class has its turn.
        let seen: std::collections::BTreeSet<u32> = (0..20).flat_map(|epoch| balanced(&labels, 7, epoch)).collect();
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn only_great_differences_are_worth_a_word() {
        let names = ["ant", "bee", "cat"].map(String::from);
        assert_eq!(imbalance(&[5, 9, 0], &names), None);
        let note = imbalance(&[840, 0, 12], &names).unwrap();
        assert!(note.starts_with("classes have from 12 (cat) to 840 images (ant), 70 times as many"), "{note}");
        assert!(imbalance(&[5, 10, 7], &names).unwrap().contains("2.0 times"));
        assert_eq!(imbalance(&[0, 0, 0], &names), None);
    }
}
