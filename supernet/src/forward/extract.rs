//! A static network copied out of a supernet: one subnet with its own weights and its own statistics.

use std::collections::BTreeMap;

use search::space::SearchSpace;
use search::subnet::SubnetConfig;
use tch::{Device, Tensor};

use crate::error::SupernetError;
use crate::forward::statistics::{BnStatistics, ChannelStatistics};
use crate::forward::subnet::{BatchNorm, Block, Conv, Mode, SqueezeExcite, Subnet};
use crate::supernet::Supernet;
use crate::weights::{Init, Role, WeightBuilder};

/// One calibrated network, ready to deploy; kernel transforms are baked into its filters.
#[derive(Debug)]
pub struct StaticSubnet {
    subnet: Subnet,
    statistics: BnStatistics,
}

impl StaticSubnet {
    /// Copies `subnet` with these statistics.
    pub fn extract(subnet: &Subnet, statistics: &BnStatistics) -> Self {
        let layers = statistics.layers().iter();
        let copied = layers.map(|layer| ChannelStatistics { mean: layer.mean.copy(), var: layer.var.copy() });
        let statistics = BnStatistics::fixed(copied.collect());
        let mut index = 0;
        let subnet = subnet.copied(&mut |norm| {
            let layer = statistics.layer(index);
            index += 1;
            BatchNorm {
                weight: owned(&norm.weight),
                bias: owned(&norm.bias),
                running_mean: layer.mean.shallow_clone(),
                running_var: layer.var.shallow_clone(),
            }
        });
        Self { subnet, statistics }
    }

    /// This network on another device.
    pub fn to_device(&self, device: Device) -> Self {
        let moved = |tensor: &Tensor| tensor.to_device(device);
        let layers = self.statistics.layers().iter();
        let layers = layers.map(|layer| ChannelStatistics { mean: moved(&layer.mean), var: moved(&layer.var) });
        let statistics = BnStatistics::fixed(layers.collect());
        let mut subnet = Self::extract(&self.subnet, &self.statistics).subnet;
        for conv in subnet.convs_mut() {
            conv.weight = moved(&conv.weight);
            if let Some(norm) = &mut conv.batch_norm {
                for tensor in [&mut norm.weight, &mut norm.bias, &mut norm.running_mean, &mut norm.running_var] {
                    *tensor = moved(tensor);
                }
            }
        }
        for layer in subnet.blocks.iter_mut().filter_map(|block| block.squeeze_excite.as_mut()) {
            for (weight, bias) in [&mut layer.reduce, &mut layer.expand] {
                (*weight, *bias) = (moved(weight), moved(bias));
            }
        }
        subnet.classifier = (moved(&subnet.classifier.0), moved(&subnet.classifier.1));
        Self { subnet, statistics }
    }

    /// Reads back what [`StaticSubnet::tensors`] gave.
    ///
    /// # Errors
    /// A missing, superfluous, misshapen or non-finite tensor.
    pub fn from_tensors(
        space: &SearchSpace,
        config: &SubnetConfig,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self, SupernetError> {
        // The shapes are those of any supernet of the space, so a throw-away one says what to expect.
        let model = Supernet::new(space, 0, Device::Cpu).subnet(config);
        let mut builder = WeightBuilder::from_tensors(tensors, device);
        let names: Vec<String> = model.convs().map(|(name, _)| name).collect();
        let mut subnet = model.copied(&mut |norm| BatchNorm {
            weight: norm.weight.shallow_clone(),
            bias: norm.bias.shallow_clone(),
            running_mean: norm.running_mean.shallow_clone(),
            running_var: norm.running_var.shallow_clone(),
        });
        let mut read = |tensor: &mut Tensor, name: String| -> Result<(), SupernetError> {
            *tensor = builder.weight(&name, &tensor.size(), Init::Constant(0.0), Role::Statistic)?;
            Ok(())
        };
        for (conv, name) in subnet.convs_mut().zip(&names) {
            read(&mut conv.weight, format!("{name}.conv.weight"))?;
            if let Some(norm) = &mut conv.batch_norm {
                read(&mut norm.weight, format!("{name}.bn.weight"))?;
                read(&mut norm.bias, format!("{name}.bn.bias"))?;
                read(&mut norm.running_mean, format!("{name}.bn.running_mean"))?;
                read(&mut norm.running_var, format!("{name}.bn.running_var"))?;
            }
        }
        for (index, block) in subnet.blocks.iter_mut().enumerate() {
            if let Some(layer) = &mut block.squeeze_excite {
                for (part, (weight, bias)) in [("reduce", &mut layer.reduce), ("expand", &mut layer.expand)] {
                    read(weight, format!("blocks.{index}.se.{part}.weight"))?;
                    read(bias, format!("blocks.{index}.se.{part}.bias"))?;
                }
            }
        }
        read(&mut subnet.classifier.0, "classifier.weight".into())?;
        read(&mut subnet.classifier.1, "classifier.bias".into())?;
        builder.finish()?;
        let statistics = subnet.stored_statistics();
        Ok(Self { subnet, statistics })
    }

    /// Every tensor by name, in the layout of the network itself: `stem`, `blocks.N.{expand,depthwise,se,project}`,
    /// `head.N`, `classifier`.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        let mut put = |name: String, tensor: &Tensor| {
            tensors.insert(name, tensor.shallow_clone());
        };
        for (name, conv) in self.subnet.convs() {
            put(format!("{name}.conv.weight"), &conv.weight);
            if let Some(norm) = &conv.batch_norm {
                put(format!("{name}.bn.weight"), &norm.weight);
                put(format!("{name}.bn.bias"), &norm.bias);
                put(format!("{name}.bn.running_mean"), &norm.running_mean);
                put(format!("{name}.bn.running_var"), &norm.running_var);
            }
        }
        for (index, block) in self.subnet.blocks.iter().enumerate() {
            if let Some(layer) = &block.squeeze_excite {
                for (part, (weight, bias)) in [("reduce", &layer.reduce), ("expand", &layer.expand)] {
                    put(format!("blocks.{index}.se.{part}.weight"), weight);
                    put(format!("blocks.{index}.se.{part}.bias"), bias);
                }
            }
        }
        put("classifier.weight".into(), &self.subnet.classifier.0);
        put("classifier.bias".into(), &self.subnet.classifier.1);
        tensors
    }

    /// The network, for calibration with other images or evaluation.
    pub fn subnet(&self) -> &Subnet {
        &self.subnet
    }

    /// The statistics it carries.
    pub fn statistics(&self) -> &BnStatistics {
        &self.statistics
    }

    /// As [`StaticSubnet::forward`], with operators that can be traced.
    pub(crate) fn traced(&self, images: &Tensor) -> Tensor {
        self.subnet.forward(images, Mode::Traced(&self.statistics))
    }

    /// `images` is `[N, 3, R, R]`, normalised; the result `[N, classes]`.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.subnet.forward(images, Mode::Eval(&self.statistics))
    }
}

fn owned(tensor: &Tensor) -> Tensor {
    tensor.detach().contiguous().copy()
}

impl Subnet {
    /// This network with copies of its weights that no gradient flows to.
    pub(crate) fn without_gradients(&self) -> Subnet {
        self.copied(&mut |norm| BatchNorm {
            weight: owned(&norm.weight),
            bias: owned(&norm.bias),
            running_mean: owned(&norm.running_mean),
            running_var: owned(&norm.running_var),
        })
    }

    /// This network with weights of its own; `norm` makes each batch norm, in order of execution.
    fn copied(&self, norm: &mut dyn FnMut(&BatchNorm) -> BatchNorm) -> Subnet {
        let mut conv = |conv: &Conv| Conv {
            weight: owned(&conv.weight),
            batch_norm: conv.batch_norm.as_ref().map(&mut *norm),
            stride: conv.stride,
            padding: conv.padding,
            groups: conv.groups,
            activation: conv.activation,
        };
        let pair = |(weight, bias): &(Tensor, Tensor)| (owned(weight), owned(bias));
        let stem = conv(&self.stem);
        let blocks = self.blocks.iter().map(|block| Block {
            expand: block.expand.as_ref().map(&mut conv),
            depthwise: conv(&block.depthwise),
            squeeze_excite: block
                .squeeze_excite
                .as_ref()
                .map(|layer| SqueezeExcite { reduce: pair(&layer.reduce), expand: pair(&layer.expand) }),
            project: conv(&block.project),
            residual: block.residual,
        });
        let blocks = blocks.collect();
        Subnet {
            config: self.config.clone(),
            stem,
            blocks,
            head: self.head.iter().map(&mut conv).collect(),
            classifier: pair(&self.classifier),
            dropout: self.dropout,
            bn_eps: self.bn_eps,
        }
    }

    /// Convolutions in order of execution.
    fn convs_mut(&mut self) -> impl Iterator<Item = &mut Conv> {
        let blocks = self
            .blocks
            .iter_mut()
            .flat_map(|block| block.expand.as_mut().into_iter().chain([&mut block.depthwise, &mut block.project]));
        std::iter::once(&mut self.stem).chain(blocks).chain(&mut self.head)
    }
}
