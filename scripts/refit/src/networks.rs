//! Networks that published measurements are of.
//!
//! OFA's MobileNetV3, to fit to whole networks of width 1.0 and, at width 1.2, to compare sums over a table with sums over
//! its fit; FBNet for both; ProxylessNAS's network for mobile phones; and random ones of each.

use network::op::{Activation, Conv, InvertedBottleneck, Linear, Map, Op, Workload};
use network::published::make_divisible;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::json;

/// Choices of one network: depth of every stage; kernel and expand ratio of every block, four blocks to a stage (FBNet's
/// first and last stage have one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genome {
    /// Kernel sizes.
    pub kernels: Vec<u32>,
    /// Expand ratios.
    pub expands: Vec<u32>,
    /// Depths.
    pub depths: Vec<u32>,
}

/// Networks of one published space.
#[derive(Debug)]
pub struct Networks(SearchSpace);

impl Networks {
    /// OFA's MobileNetV3 of width 1.0, with 1000 classes.
    pub fn mbv3_narrow() -> Self {
        Self::of("mbv3-w1.0", 1000)
    }

    /// OFA's MobileNetV3 of width 1.2, with 1000 classes.
    pub fn mbv3_wide() -> Self {
        Self::of("mbv3-w1.2", 1000)
    }

    /// FBNet in the form for 32 px.
    pub fn fbnet_cifar(classes: u32) -> Self {
        Self::of("fbnet-cifar", classes)
    }

    /// FBNet in the form for 224 px, with 1000 classes.
    pub fn fbnet_imagenet() -> Self {
        Self::of("fbnet-imagenet", 1000)
    }

    fn of(name: &str, classes: u32) -> Self {
        let yaml = SearchSpace::builtin(name).expect("a shipped space").to_yaml();
        let shipped = SearchSpace::builtin(name).expect("a shipped space").classes();
        let yaml = yaml.replace(&format!("classes: {shipped}\n"), &format!("classes: {classes}\n"));
        Self(SearchSpace::from_yaml(&yaml).expect("only the classes differ"))
    }

    /// The network of a genome.
    pub fn network(&self, genome: &Genome, resolution: u32) -> Workload {
        let Genome { kernels, expands, depths } = genome;
        let genome = json!({"ks": kernels, "e": expands, "d": depths, "r": resolution});
        self.parse(&genome.to_string()).expect("a network of its own space")
    }

    /// The network that a published file writes down: a genome, or FBNet's list of operator numbers.
    pub fn parse(&self, text: &str) -> Option<Workload> {
        self.0.parse_workload(&ArchFile::from_json(text).ok()?).ok()
    }
}

/// ProxylessNAS's network for mobile phones at 224 px (arXiv:1812.00332, as its latency table has it): pooling is in
/// the classifier.
pub fn proxyless(genome: &Genome) -> Workload {
    let stages = [(16, 1, 1), (24, 2, 4), (40, 2, 4), (80, 2, 4), (96, 1, 4), (192, 2, 4), (320, 1, 1)];
    let activation = Activation::Relu6;
    let mut at = Map::new(112, 32);
    let stem = Conv { kernel: 3, stride: 2, padding: 1, ..Conv::plain(Map::new(224, 3), at) };
    let mut ops = vec![Op::Conv(Conv { batch_norm: true, activation, ..stem })];
    let mut gene = 0;
    for ((width, stride, max_depth), depth) in stages.into_iter().zip(&genome.depths) {
        for index in 0..*depth as usize {
            let (kernel, expand) = (genome.kernels[gene + index], genome.expands[gene + index]);
            let stride = if index == 0 { stride } else { 1 };
            let output = Map::new(at.size.div_ceil(stride), width);
            ops.push(Op::InvertedBottleneck(InvertedBottleneck {
                input: at,
                output,
                mid_channels: make_divisible(f64::from(at.channels * expand)),
                kernel,
                stride,
                padding: kernel / 2,
                groups: 1,
                expand_conv: expand != 1,
                se_channels: None,
                activation,
                output_activation: Activation::None,
                residual: at == output,
            }));
            at = output;
        }
        gene += max_depth;
    }
    ops.push(Op::Conv(Conv { batch_norm: true, activation, ..Conv::plain(at, Map::new(at.size, 1280)) }));
    let (input, activation) = (Map::new(1, 1280), Activation::None);
    ops.push(Op::Linear(Linear { input, outputs: 1000, bias: true, activation }));
    Workload { resolution: 224, ops }
}

/// Random genomes, the same everywhere: SplitMix64 (Steele, Lea & Flood 2014).
pub struct Picker(pub u64);

impl Picker {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from`.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }

    /// Of OFA's MobileNetV3.
    pub fn mbv3(&mut self) -> Genome {
        Genome {
            kernels: (0..20).map(|_| self.pick(&[3, 5, 7])).collect(),
            expands: (0..20).map(|_| self.pick(&[3, 4, 6])).collect(),
            depths: (0..5).map(|_| self.pick(&[2, 3, 4])).collect(),
        }
    }

    /// Of [`proxyless`].
    pub fn proxyless(&mut self) -> Genome {
        Genome {
            kernels: (0..22).map(|_| self.pick(&[3, 5, 7])).collect(),
            expands: (0..22).map(|at| if at == 0 { 1 } else { self.pick(&[3, 6]) }).collect(),
            depths: (0..7).map(|at| if at == 0 || at == 6 { 1 } else { self.pick(&[1, 2, 3, 4]) }).collect(),
        }
    }

    /// Of FBNet.
    pub fn fbnet(&mut self) -> Genome {
        Genome {
            kernels: (0..22).map(|_| self.pick(&[3, 5])).collect(),
            expands: (0..22).map(|_| self.pick(&[1, 3, 6])).collect(),
            depths: (0..7).map(|at| if at == 0 || at == 6 { 1 } else { self.pick(&[1, 2, 3, 4]) }).collect(),
        }
    }
}
