//! The weights of one subnet, ready to run: views into a supernet (gradients flow back) or copies of their own.
//!
//! There is one forward pass for both, so an extracted network and the supernet at that subnet cannot drift apart.
//! Feature maps are channels-last in memory: on the CPU a training step of an inverted-bottleneck network is about
//! twice as fast that way.

use network::op::Activation;
use search::subnet::SubnetConfig;
use tch::{Device, Kind, Tensor};

use crate::data::channels_last;
use crate::forward::statistics::{BnStatistics, ChannelStatistics};
use crate::native::{self, Norm, Raw};

/// γ, β and the running statistics, `[C]` each.
#[derive(Debug)]
pub struct BatchNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) running_mean: Tensor,
    pub(crate) running_var: Tensor,
}

/// Convolution, batch norm if any, activation.
#[derive(Debug)]
pub struct Conv {
    pub(crate) weight: Tensor,
    pub(crate) batch_norm: Option<BatchNorm>,
    pub(crate) stride: i64,
    pub(crate) padding: i64,
    pub(crate) groups: i64,
    pub(crate) activation: Activation,
}

/// (weight, bias) of the two 1×1 convolutions.
#[derive(Debug)]
pub struct SqueezeExcite {
    pub(crate) reduce: (Tensor, Tensor),
    pub(crate) expand: (Tensor, Tensor),
}

/// Inverted bottleneck.
#[derive(Debug)]
pub struct Block {
    pub(crate) expand: Option<Conv>,
    pub(crate) depthwise: Conv,
    pub(crate) squeeze_excite: Option<SqueezeExcite>,
    pub(crate) project: Conv,
    pub(crate) residual: bool,
}

/// How batch norm behaves in a forward pass.
pub enum Mode<'a> {
    /// Normalises by the batch; statistics are neither read nor written, because those of a supernet mean nothing
    /// for any one subnet. Dropout is on.
    Train,
    /// Normalises by the batch and adds its mean and biased variance to the statistics.
    Calibrate(&'a mut BnStatistics),
    /// Normalises by these statistics.
    Eval(&'a BnStatistics),
    /// The same with LibTorch's operators alone, which can be traced.
    Traced(&'a BnStatistics),
    /// Normalises by the batch, and pushes for each batch norm how far the batch's statistics are from the target's: a
    /// scalar that gradients flow through, zero where they agree.
    Match {
        /// Where the statistics should be.
        target: &'a BnStatistics,
        /// One scalar per batch norm, in order of execution.
        mismatch: &'a mut Vec<Tensor>,
    },
}

/// A runnable subnet.
#[derive(Debug)]
pub struct Subnet {
    pub(crate) config: SubnetConfig,
    pub(crate) stem: Conv,
    pub(crate) blocks: Vec<Block>,
    pub(crate) head: Vec<Conv>,
    pub(crate) classifier: (Tensor, Tensor),
    pub(crate) dropout: f64,
    pub(crate) bn_eps: f64,
}

/// Walks through the batch norms of one forward pass in order.
struct Pass<'m, 'a> {
    mode: &'m mut Mode<'a>,
    next: usize,
    eps: f64,
}

impl Subnet {
    /// Shapes.
    pub fn config(&self) -> &SubnetConfig {
        &self.config
    }

    /// Runs the network: `images` is `[N, 3, R, R]` (normally R is the subnet's resolution), the result
    /// `[N, classes]`, float32. Feature maps have the number format of the images; batch norm computes its statistics
    /// in float32 whatever that is.
    pub fn forward(&self, images: &Tensor, mut mode: Mode<'_>) -> Tensor {
        let training = matches!(mode, Mode::Train);
        let may_fuse = images.device() == Device::Cpu && !matches!(mode, Mode::Traced(_));
        let mut pass = Pass { mode: &mut mode, next: 0, eps: self.bn_eps };
        // On a GPU channels-last trains three times as fast, but the first depthwise convolution of each shape waits a
        // tenth of a second for its kernel: too long for networks that are run once.
        let images = if images.device().is_cuda() && !training { images.contiguous() } else { channels_last(images) };
        let mut head = self.head.iter().zip(&self.config.head).peekable();
        let before_pool = std::iter::from_fn(|| head.next_if(|(_, shape)| shape.before_pool));
        let before_pool: Vec<&Conv> = before_pool.map(|(layer, _)| layer).collect();
        // The fused layers hand batch norms on, which a layer of the head may lack.
        let mut x = if may_fuse && before_pool.iter().all(|layer| layer.batch_norm.is_some()) {
            self.fused_features(&images, &before_pool, &mut pass)
        } else {
            self.features(&images, &before_pool, &mut pass)
        };
        for (layer, _) in head {
            x = layer.forward(&x, &mut pass);
        }
        if let Mode::Calibrate(statistics) = pass.mode {
            statistics.batch_done(images.size()[0]);
        }
        let mut features = x.flatten(1, -1);
        if training && self.dropout > 0.0 {
            features = features.dropout(self.dropout, true);
        }
        features.to_kind(Kind::Float).linear(&self.classifier.0, Some(&self.classifier.1))
    }

    /// Whether kernels of our own run all of its batch norms in training on the CPU.
    pub(crate) fn is_fused(&self) -> bool {
        let mut before_pool = self.head.iter().zip(&self.config.head).take_while(|(_, shape)| shape.before_pool);
        let mut after_pool = self.head.iter().zip(&self.config.head).skip_while(|(_, shape)| shape.before_pool);
        before_pool.all(|(layer, _)| layer.batch_norm.is_some())
            && after_pool.all(|(layer, _)| layer.batch_norm.is_none())
    }

    /// Up to and including the pooling: `[N, C, 1, 1]`.
    fn features(&self, images: &Tensor, before_pool: &[&Conv], pass: &mut Pass<'_, '_>) -> Tensor {
        let mut x = self.stem.forward(images, pass);
        for block in &self.blocks {
            x = block.forward(x, pass);
        }
        for layer in before_pool {
            x = layer.forward(&x, pass);
        }
        x.mean_dim(&[2i64, 3][..], true, x.kind())
    }

    /// Up to and including the pooling, on the CPU: each layer normalises and activates its input on the way in. Pooled
    /// values are float32.
    fn fused_features(&self, images: &Tensor, before_pool: &[&Conv], pass: &mut Pass<'_, '_>) -> Tensor {
        let map = self.stem.convolve(images);
        let statistics = native::statistics(&map);
        let stem = pass.pending(Raw { map, statistics }, &self.stem);
        let mut x = stem.normalised(None);
        for block in &self.blocks {
            x = block.fused_forward(x, pass);
        }
        for (index, layer) in before_pool.iter().enumerate() {
            let last = pass.pending(native::pointwise(&x, None, None, &layer.weight), layer);
            if index + 1 == before_pool.len() {
                return native::average_pool(&last.raw.map, &last.norm());
            }
            x = last.normalised(None);
        }
        x.mean_dim(&[2i64, 3][..], true, Kind::Float)
    }

    /// The running statistics stored with the weights. They describe the network only if someone calibrated it.
    pub fn stored_statistics(&self) -> BnStatistics {
        BnStatistics::fixed(
            self.batch_norms()
                .map(|norm| ChannelStatistics {
                    mean: norm.running_mean.shallow_clone(),
                    var: norm.running_var.shallow_clone(),
                })
                .collect(),
        )
    }

    /// Batch norms in order of execution.
    pub(crate) fn batch_norms(&self) -> impl Iterator<Item = &BatchNorm> {
        self.convs().filter_map(|(_, conv)| conv.batch_norm.as_ref())
    }

    /// Convolutions in order of execution with their names in an extracted network.
    pub(crate) fn convs(&self) -> impl Iterator<Item = (String, &Conv)> {
        let blocks = self.blocks.iter().enumerate().flat_map(|(index, block)| {
            let named = |part: &str, conv| (format!("blocks.{index}.{part}"), conv);
            let expand = block.expand.as_ref().map(|conv| named("expand", conv));
            expand.into_iter().chain([named("depthwise", &block.depthwise), named("project", &block.project)])
        });
        let head = self.head.iter().enumerate().map(|(index, conv)| (format!("head.{index}"), conv));
        std::iter::once(("stem".to_owned(), &self.stem)).chain(blocks).chain(head)
    }
}

impl Conv {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_, '_>) -> Tensor {
        let x = self.convolve(x);
        let x = match &self.batch_norm {
            Some(norm) => pass.normalise(&x, norm),
            None => x,
        };
        activate(x, self.activation)
    }

    fn convolve(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(&self.weight.to_kind(x.kind()), None::<&Tensor>, stride, padding, [1i64, 1], self.groups)
    }
}

impl Block {
    fn forward(&self, input: Tensor, pass: &mut Pass<'_, '_>) -> Tensor {
        let expanded = self.expand.as_ref().map(|expand| expand.forward(&input, pass));
        let mut x = self.depthwise.forward(expanded.as_ref().unwrap_or(&input), pass);
        if let Some(layer) = &self.squeeze_excite {
            x = layer.forward(&x);
        }
        let output = self.project.forward(&x, pass);
        if self.residual { output + input } else { output }
    }
}

/// A convolution's result whose batch norm and activation are left to whoever reads it.
struct Pending<'n> {
    raw: Raw,
    norm: &'n BatchNorm,
    eps: f64,
    activation: Activation,
}

impl Pending<'_> {
    fn norm(&self) -> Norm<'_> {
        Norm {
            gamma: &self.norm.weight,
            beta: &self.norm.bias,
            statistics: &self.raw.statistics,
            eps: self.eps,
            activation: self.activation,
        }
    }

    fn normalised(&self, residual: Option<&Tensor>) -> Tensor {
        native::normalise(&self.raw.map, &self.norm(), residual)
    }
}

impl Block {
    fn fused_forward(&self, input: Tensor, pass: &mut Pass<'_, '_>) -> Tensor {
        let (filters, stride) = (&self.depthwise.weight, self.depthwise.stride);
        let raw = match &self.expand {
            Some(expand) => {
                let expanded = pass.pending(native::pointwise(&input, None, None, &expand.weight), expand);
                native::depthwise(&expanded.raw.map, Some(&expanded.norm()), filters, stride)
            }
            None => native::depthwise(&input, None, filters, stride),
        };
        let filtered = pass.pending(raw, &self.depthwise);
        let gate = self
            .squeeze_excite
            .as_ref()
            .map(|SqueezeExcite { reduce, expand }| [&reduce.0, &reduce.1, &expand.0, &expand.1]);
        let raw = native::pointwise(&filtered.raw.map, Some(&filtered.norm()), gate, &self.project.weight);
        pass.pending(raw, &self.project).normalised(self.residual.then_some(&input))
    }
}

impl SqueezeExcite {
    fn forward(&self, x: &Tensor) -> Tensor {
        let conv = |x: &Tensor, (weight, bias): &(Tensor, Tensor)| {
            let (weight, bias) = (weight.to_kind(x.kind()), bias.to_kind(x.kind()));
            x.conv2d(&weight, Some(&bias), [1i64, 1], [0i64, 0], [1i64, 1], 1)
        };
        let pooled = x.mean_dim(&[2i64, 3][..], true, x.kind());
        let gate = conv(&conv(&pooled, &self.reduce).relu(), &self.expand).hardsigmoid();
        x * gate
    }
}

impl Pass<'_, '_> {
    /// Takes down the statistics of the next batch norm where they are wanted, or puts those that are known in their place.
    fn pending<'n>(&mut self, mut raw: Raw, conv: &'n Conv) -> Pending<'n> {
        let index = self.next;
        self.next += 1;
        match self.mode {
            Mode::Calibrate(statistics) => {
                let [mean, var] = [0, 1].map(|row| raw.statistics.get(row));
                statistics.add(index, raw.map.size()[0], ChannelStatistics { mean, var });
            }
            Mode::Eval(statistics) => {
                let ChannelStatistics { mean, var } = statistics.layer(index);
                raw.statistics = Tensor::stack(&[mean, var], 0);
            }
            Mode::Match { target, mismatch } => {
                let moments = native::moments(&raw);
                mismatch.push(mismatch_of(moments.get(0), moments.get(1), target.layer(index), self.eps));
            }
            _ => {}
        }
        let norm = conv.batch_norm.as_ref().expect("a convolution of a feature map has a batch norm");
        Pending { raw, norm, eps: self.eps, activation: conv.activation }
    }

    fn normalise(&mut self, x: &Tensor, norm: &BatchNorm) -> Tensor {
        let index = self.next;
        self.next += 1;
        let (weight, bias) = (Some(&norm.weight), Some(&norm.bias));
        match self.mode {
            Mode::Train => {
                x.batch_norm(weight, bias, None::<&Tensor>, None::<&Tensor>, true, 0.0, self.eps, x.device().is_cuda())
            }
            Mode::Eval(statistics) | Mode::Traced(statistics) => {
                let ChannelStatistics { mean, var } = statistics.layer(index);
                x.batch_norm(weight, bias, Some(mean), Some(var), false, 0.0, self.eps, x.device().is_cuda())
            }
            Mode::Calibrate(statistics) => {
                // With momentum 1 the running statistics become those of this batch, the variance unbiased.
                let (mean, var) = (norm.running_mean.zeros_like(), norm.running_var.zeros_like());
                let y = x.batch_norm(weight, bias, Some(&mean), Some(&var), true, 1.0, self.eps, x.device().is_cuda());
                let size = x.size();
                let count = (size[0] * size[2] * size[3]) as f64;
                statistics.add(index, size[0], ChannelStatistics { mean, var: var * ((count - 1.0) / count) });
                y
            }
            Mode::Match { target, mismatch } => {
                let over = &[0i64, 2, 3][..];
                let mean = x.mean_dim(over, false, x.kind());
                let var = ((x * x).mean_dim(over, false, x.kind()) - &mean * &mean).clamp_min(0.0);
                mismatch.push(mismatch_of(mean, var, target.layer(index), self.eps));
                x.batch_norm(weight, bias, None::<&Tensor>, None::<&Tensor>, true, 0.0, self.eps, x.device().is_cuda())
            }
        }
    }
}

/// Mean over channels of ((μ − μ*)/σ*)² + ln²(σ/σ*), with σ² = variance + ε as batch norm uses it: to first order the
/// squared error, in standard deviations, of a normalised value of one standard deviation.
fn mismatch_of(mean: Tensor, var: Tensor, target: &ChannelStatistics, eps: f64) -> Tensor {
    let wanted = &target.var + eps;
    let shift = (mean - &target.mean).square() / &wanted;
    let log_ratio = ((var + eps) / wanted).log() * 0.5;
    let squared = shift + log_ratio.square();
    squared.mean(squared.kind())
}

fn activate(mut x: Tensor, activation: Activation) -> Tensor {
    // In place: batch norm does not need its output for the backward pass.
    match activation {
        Activation::None => x,
        Activation::Relu => x.relu_(),
        Activation::Relu6 => x.relu6_(),
        Activation::HSwish => x.hardswish(),
        Activation::HSigmoid => x.hardsigmoid(),
    }
}
