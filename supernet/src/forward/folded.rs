//! A network as it is deployed, run with a look at every layer: to learn what its feature maps hold, and what rounding one of
//! them does.

use network::folded::Folded;
use network::layers::Read;
use network::op::Activation;
use tch::{Device, Kind, Tensor};

use super::step::{Step, activate};
use crate::data::channels_last;

/// A folded network in LibTorch.
#[derive(Debug)]
pub struct FoldedNetwork {
    steps: Vec<(Step, Activation)>,
}

impl FoldedNetwork {
    /// Its weights on `device`.
    pub fn new(network: &Folded, device: Device) -> Self {
        let steps = network.layers.iter().map(|folded| {
            let mut tensors = Vec::new();
            if let Some(weight) = &folded.weight {
                let size: Vec<i64> = weight.shape.iter().map(|length| *length as i64).collect();
                let weight = Tensor::from_slice(&weight.values).reshape(size).to_device(device);
                tensors.push(if weight.dim() == 4 { channels_last(&weight) } else { weight });
                tensors.push(Tensor::from_slice(&folded.bias).to_device(device));
            }
            (Step::plain(folded.layer.clone(), tensors), folded.activation)
        });
        FoldedNetwork { steps: steps.collect() }
    }

    /// Runs it and shows each layer, as [`FoldedNetwork::forward`] does, changing nothing.
    pub fn observe(&self, images: &Tensor, mut look: impl FnMut(usize, &Tensor, &Tensor)) {
        let _ = self.forward(images, |at, before, after| {
            look(at, before, &after);
            after
        });
    }

    /// Runs it: `images` is `[N, C, S, S]`. `look` is given the place of each layer, what it makes of them before its
    /// activation and after it, `[N, C, S, S]` or `[N, C]`, and answers with what its readers read. The result is the last
    /// answer, `[N, outputs]` for a classifier.
    pub fn forward(&self, images: &Tensor, mut look: impl FnMut(usize, &Tensor, Tensor) -> Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let image = channels_last(images);
        let mut made: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for (at, (step, activation)) in self.steps.iter().enumerate() {
            let input = |read: &Read| match read {
                Read::Input(_) => image.shallow_clone(),
                Read::Layer(at) => made[*at].shallow_clone(),
            };
            let before = step.run_plain(step.layer.reads.iter().map(input).collect());
            let after = activate(before.shallow_clone(), *activation, false);
            made.push(look(at, &before, after));
        }
        let output = made.pop().unwrap_or(image).to_kind(Kind::Float);
        match self.steps.last() {
            Some((step, _)) if step.layer.output.size == 1 => output.flatten(1, -1),
            _ => output,
        }
    }
}

#[cfg(test)]
mod tests {
    use network::published;
    use network::weights::Weights;

    use super::super::network::Network;
    use super::*;

    #[test]
    fn a_folded_network_computes_the_same_and_shows_every_layer() {
        for shape in [published::resnet8(10), published::mobilenet_v2(35, 32, 10)] {
            let weights = Weights::random(&shape, 3);
            let folded = Folded::new(&shape, &weights);
            let images = Tensor::randn([4, 3, 32, 32], (Kind::Float, Device::Cpu));
            let expected = Network::from_weights(&shape, &weights, Device::Cpu).unwrap().forward(&images);
            let mut seen = 0;
            let got = FoldedNetwork::new(&folded, Device::Cpu).forward(&images, |at, before, after| {
                assert_eq!(before.size()[1], i64::from(folded.layers[at].layer.output.channels));
                assert!(at == seen && before.size() == after.size());
                seen += 1;
                after
            });
            assert_eq!(seen, folded.layers.len());
            let apart = f64::try_from((&got - &expected).abs().max() / expected.abs().max()).unwrap();
            assert!(apart < 1e-5, "{apart:e}");
        }
    }
}
