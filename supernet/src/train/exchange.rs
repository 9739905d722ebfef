//! Gradients of the whole batch out of those that each rank has of its share: summed in buckets, each as soon as its
//! gradients are complete, while the backward pass computes the others (Li et al. 2020, *PyTorch Distributed: Experiences on
//! Accelerating Data Parallel Training*, §3.2).
//!
//! A step runs forwards and backwards for several subnets, so only its last backward pass has complete gradients to send.
//! Buckets go round in one order on all ranks, whatever the order in which they are complete, and are the same for every
//! subnet; so the sums have the same bits in every run. Weights that took no part count as zeros.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use tch::{Device, Tensor};

use crate::native::GradientWatch;
use crate::ranks::Ranks;
use crate::supernet::Supernet;

/// Numbers in a bucket, at least: a mebibyte. Smaller ones would wait for each other's round trips.
const NUMBERS: usize = 1 << 18;

/// Sums of gradients over all ranks, beside other work.
pub(super) struct Exchange {
    /// The trained weights of each bucket, by their place; the last layers first, whose gradients come first.
    buckets: Vec<Range<usize>>,
    ranks: Ranks,
    /// To the thread that sums, which ends with this.
    full: Sender<(usize, Vec<f32>)>,
    summed: Mutex<Receiver<Vec<f32>>>,
}

impl Exchange {
    /// Of the gradients of `supernet`; `None` where there are no other ranks.
    pub(super) fn new(ranks: &Ranks, supernet: &Supernet) -> Option<Exchange> {
        if ranks.count() == 1 {
            return None;
        }
        let sizes: Vec<usize> = trained(supernet).iter().map(Tensor::numel).collect();
        let buckets = buckets(&sizes, NUMBERS);
        let (full, filled) = channel();
        let (sums, summed) = channel();
        let (beside, count) = (ranks.beside(), buckets.len());
        // Nobody waits for its end: it may be in a sum with ranks that wait for this process to end.
        std::thread::spawn(move || sum_in_order(&beside, count, &filled, &sums));
        Some(Exchange { buckets, ranks: ranks.clone(), full, summed: Mutex::new(summed) })
    }

    /// Begins with a step's gradients.
    pub(super) fn begin(&self, supernet: &Supernet) -> Sharing<'_> {
        let left = self.buckets.iter().map(|bucket| Some(bucket.len())).collect();
        Sharing { weights: trained(supernet), exchange: self, left }
    }
}

/// The gradients of one step on their way.
pub(super) struct Sharing<'a> {
    exchange: &'a Exchange,
    weights: Vec<Tensor>,
    /// How many gradients each bucket waits for; `None` for those that were sent.
    left: Vec<Option<usize>>,
}

impl Sharing<'_> {
    /// To be begun before the last forward pass.
    pub(super) fn watch(&self) -> GradientWatch {
        GradientWatch::of(&self.weights)
    }

    /// The step's last backward pass.
    pub(super) fn backward(&mut self, watch: GradientWatch, loss: &Tensor) {
        watch.backward(loss, |weight| self.complete(weight));
    }

    /// Waits for all sums and puts the gradients of the whole batch in the place of this rank's.
    pub(super) fn finish(mut self) {
        for bucket in 0..self.left.len() {
            if self.left[bucket].is_some() {
                self.send(bucket);
            }
        }
        let ranks = self.exchange.ranks.count() as f64;
        let summed = self.exchange.summed.lock().unwrap_or_else(PoisonError::into_inner);
        tch::no_grad(|| {
            for bucket in &self.exchange.buckets {
                // The thread gives as many as it gets, also where a rank was lost; who calls asks for that.
                let sums = summed.recv().expect("a thread that sums to the end");
                let sums = Tensor::from_slice(&sums) / ranks;
                let mut at = 0;
                for weight in &self.weights[bucket.clone()] {
                    let (count, mut gradient) = (weight.numel() as i64, weight.grad());
                    if gradient.defined() {
                        gradient.copy_(&sums.narrow(0, at, count).view_as(&gradient));
                    }
                    at += count;
                }
            }
        });
    }

    fn complete(&mut self, weight: usize) {
        let buckets = &self.exchange.buckets;
        let bucket = buckets.iter().position(|bucket| bucket.contains(&weight)).expect("each weight is in one");
        let left = self.left[bucket].as_mut().expect("gradients that are complete once");
        *left -= 1;
        if *left == 0 {
            self.send(bucket);
        }
    }

    fn send(&mut self, bucket: usize) {
        self.left[bucket] = None;
        let of = |weight: &Tensor| {
            let gradient = weight.grad();
            let gradient = if gradient.defined() { gradient } else { weight.zeros_like() };
            gradient.to_device(Device::Cpu).flatten(0, -1)
        };
        let weights = &self.weights[self.exchange.buckets[bucket].clone()];
        let all = tch::no_grad(|| Tensor::cat(&weights.iter().map(of).collect::<Vec<_>>(), 0));
        let values = Vec::<f32>::try_from(&all).expect("float32 gradients");
        self.exchange.full.send((bucket, values)).expect("a thread that sums to the end");
    }
}

/// The weights that are trained, the last layers first.
fn trained(supernet: &Supernet) -> Vec<Tensor> {
    let trained = supernet.weights().iter().rev().filter(|weight| weight.is_trained());
    trained.map(|weight| weight.tensor.shallow_clone()).collect()
}

/// Weights of these sizes in buckets of at least so many numbers, but for the last.
fn buckets(sizes: &[usize], numbers: usize) -> Vec<Range<usize>> {
    let mut buckets = Vec::new();
    let (mut from, mut held) = (0, 0);
    for (place, size) in sizes.iter().enumerate() {
        held += size;
        if held >= numbers || place + 1 == sizes.len() {
            buckets.push(from..place + 1);
            (from, held) = (place + 1, 0);
        }
    }
    buckets
}

/// Sums buckets as they come, but in their order, which is that of all ranks; step by step until nobody sends any more.
fn sum_in_order(ranks: &Ranks, count: usize, filled: &Receiver<(usize, Vec<f32>)>, sums: &Sender<Vec<f32>>) {
    let mut early = BTreeMap::new();
    for bucket in (0..count).cycle() {
        let mut values = loop {
            if let Some(values) = early.remove(&bucket) {
                break values;
            }
            let Ok((other, values)) = filled.recv() else { return };
            early.insert(other, values);
        };
        ranks.sum(&mut values);
        if sums.send(values).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;
    use tch::Kind;

    use super::*;
    use crate::forward::subnet::Mode;
    use crate::ranks::in_threads;

    #[test]
    fn every_weight_is_in_one_bucket() {
        assert_eq!(buckets(&[5, 1, 1, 9, 2], 5), [0..1, 1..4, 4..5]);
        assert_eq!(buckets(&[1, 1], 100).last(), Some(&(0..2)));
        assert!(buckets(&[], 5).is_empty());
    }

    /// A space with every kind of weight: transformed kernels, squeeze-excite, layers that a subnet leaves out.
    #[test]
    fn nothing_is_added_to_a_gradient_that_was_called_complete() {
        for name in ["mcu-cifar", "mbv3-w1.0"] {
            let space = SearchSpace::builtin(name).unwrap();
            let supernet = Supernet::new(&space, 5, Device::Cpu);
            let nothing = || Tensor::zeros([0], (Kind::Float, Device::Cpu));
            let resolution = space.resolutions()[0];
            let images =
                Tensor::randn([2, 3, i64::from(resolution), i64::from(resolution)], (Kind::Float, Device::Cpu));
            for arch in [space.largest(resolution).unwrap(), space.smallest(resolution).unwrap()] {
                let weights = trained(&supernet);
                let loss = || supernet.forward(&images, &space.resolve(&arch), Mode::Train).square().mean(Kind::Float);
                // Gradients of another subnet are there already.
                loss().backward();
                let watch = GradientWatch::of(&weights);
                let loss = loss();
                let mut heard: Vec<Option<Tensor>> = weights.iter().map(|_| None).collect();
                let (own, said) = (trained(&supernet), &mut heard);
                watch.backward(&loss, move |weight| {
                    let gradient = own[weight].grad();
                    let gradient = if gradient.defined() { gradient.copy() } else { nothing() };
                    assert!(said[weight].replace(gradient).is_none(), "complete once");
                });
                for (weight, heard) in weights.iter().zip(&heard) {
                    let (heard, last) = (heard.as_ref().expect("all are heard of"), weight.grad());
                    assert!(!last.defined() && heard.numel() == 0 || heard.equal(&last), "{name}");
                }
            }
        }
    }

    #[test]
    fn buckets_that_are_complete_in_any_order_are_summed_alike() {
        let sums = in_threads(2, |ranks| {
            let ((full, filled), (send, summed)) = (channel(), channel());
            let beside = ranks.beside();
            let thread = std::thread::spawn(move || sum_in_order(&beside, 3, &filled, &send));
            // The second rank has them the other way round.
            let order: [usize; 6] = if ranks.rank() == 0 { [0, 1, 2, 2, 0, 1] } else { [2, 1, 0, 0, 1, 2] };
            for (place, bucket) in order.into_iter().enumerate() {
                let step = place / 3;
                full.send((bucket, vec![(10 * step + bucket) as f32; 4])).unwrap();
                if place % 3 == 2 {
                    for expected in 0..3 {
                        assert_eq!(summed.recv().unwrap(), vec![2.0 * (10 * step + expected) as f32; 4]);
                    }
                }
            }
            drop(full);
            thread.join().unwrap();
        });
        assert_eq!(sums.len(), 2);
    }
}
