//! Batch-norm statistics of one subnet.
//!
//! A subnet shares weights with its supernet but not activation statistics (Yu & Huang 2019, arXiv:1903.05134), so
//! they are values of their own, in the order in which the subnet runs its batch norms. The estimate is the published
//! one (`once-for-all` §2.4): the mean over batches, weighted by batch size, of each batch's mean and of its biased
//! variance; the variance between batches is left out.

use tch::{Device, Kind, Tensor};

/// Mean and variance, `[C]` each.
#[derive(Debug)]
pub struct ChannelStatistics {
    /// Mean.
    pub mean: Tensor,
    /// Biased variance.
    pub var: Tensor,
}

/// Statistics of every batch norm of one subnet, in order of execution.
#[derive(Debug, Default)]
pub struct BnStatistics {
    layers: Vec<ChannelStatistics>,
    images: i64,
}

impl BnStatistics {
    /// Statistics that are known already.
    pub fn fixed(layers: Vec<ChannelStatistics>) -> Self {
        Self { layers, images: 0 }
    }

    /// Statistics of batch norm `index`.
    ///
    /// # Panics
    /// If they are those of another subnet with fewer batch norms.
    pub fn layer(&self, index: usize) -> &ChannelStatistics {
        &self.layers[index]
    }

    /// In order of execution.
    pub fn layers(&self) -> &[ChannelStatistics] {
        &self.layers
    }

    /// Moves the average of layer `index` towards a batch of `images` images.
    pub(crate) fn add(&mut self, index: usize, images: i64, batch: ChannelStatistics) {
        let share = images as f64 / (self.images + images) as f64;
        match self.layers.get_mut(index) {
            Some(layer) => {
                layer.mean = &layer.mean + (batch.mean - &layer.mean) * share;
                layer.var = &layer.var + (batch.var - &layer.var) * share;
            }
            None => {
                assert_eq!(index, self.layers.len(), "batch norms arrive in order");
                self.layers.push(batch);
            }
        }
    }

    pub(crate) fn batch_done(&mut self, images: i64) {
        self.images += images;
    }

    /// Those over the batches of several processes, of which `sum` adds up what each has.
    pub(crate) fn over(self, sum: impl FnOnce(&mut [f64])) -> BnStatistics {
        let images = self.images as f64;
        let tensors = || self.layers.iter().flat_map(|layer| [&layer.mean, &layer.var]);
        let all: Vec<Tensor> = tensors().map(|tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double)).collect();
        let mut values = Vec::<f64>::try_from(Tensor::cat(&all, 0) * images).expect("numbers on the CPU");
        values.push(images);
        sum(&mut values);
        let images = values.pop().expect("the number of images");
        let values = Tensor::from_slice(&values) / images;
        let mut at = 0;
        let mut next = |like: &Tensor| {
            let count = like.numel() as i64;
            at += count;
            values.narrow(0, at - count, count).to_kind(like.kind()).to_device(like.device())
        };
        let of = |layer: &ChannelStatistics| ChannelStatistics { mean: next(&layer.mean), var: next(&layer.var) };
        BnStatistics { layers: self.layers.iter().map(of).collect(), images: images as i64 }
    }
}
