//! FBNet operator lists: `{"ops":[22 numbers],"r":32}`, straight to operators, for questions of cost.
//!
//! HW-NAS-Bench and HELP write an FBNet as one operator number per layer (`hardware-data` §4): 0…8 = k3e1, k3e1 with
//! two groups, k3e3, k3e6, k5e1, k5e1 with two groups, k5e3, k5e6, skip. Layers may be skipped anywhere and 1×1
//! convolutions may be grouped, so these networks are more than the elastic space holds and never become `ArchSpec`s.
//! A skipped layer is an identity, or, where it must change width or size, a 1×1 convolution with batch norm and ReLU.

use network::op::{Activation, Conv, InvertedBottleneck, Map, Op, Pool, PoolKind, Workload};

use crate::error::SearchError;
use crate::space::arch_file::{ArchFile, ArchForm};
use crate::space::lower::{conv_op, tail_ops};
use crate::space::{SearchSpace, make_divisible};

/// Kernel size, expand ratio and groups of operator numbers 0…7; 8 skips.
const OPERATORS: [(u32, u32, u32); 8] =
    [(3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1)];
const SKIP: u64 = 8;

impl SearchSpace {
    /// The operators of any form of subnet, at any resolution of at least 16: the door for questions of cost.
    ///
    /// # Errors
    /// As [`SearchSpace::parse`]; an operator list for a space that is not FBNet's.
    pub fn parse_workload(&self, file: &ArchFile) -> Result<Workload, SearchError> {
        match file.form {
            ArchForm::Operators => self.parse_operators(file),
            ArchForm::Stages | ArchForm::Genome => Ok(self.lower(&self.parse_at_any_resolution(file)?)),
        }
    }

    fn parse_operators(&self, file: &ArchFile) -> Result<Workload, SearchError> {
        self.check_space(file)?;
        if !self.stages.iter().all(|stage| stage.expand_conv_at_one) || self.first_block.is_some() {
            return Err(self.bad_field("ops", "operator lists belong to FBNet spaces"));
        }
        let resolution = self.read_resolution(file)?;
        let numbers = self.list(file, "ops", self.max_blocks(), "layers")?;
        // The stem and the head are the same in every subnet, so any one gives their shapes.
        let frame = self.resolve(&self.frame_at(resolution));
        let mut ops = vec![conv_op(&frame.stem)];
        let (mut size, mut channels) = (frame.stem.out_size, frame.stem.out_channels);
        let mut layer = 0;
        for stage in &self.stages {
            for index in 0..stage.max_depth() {
                let field = format!("ops[{layer}]");
                let number = self.whole(&numbers[layer], field.clone())?;
                let stride = if index == 0 { stage.stride } else { 1 };
                let out_size = (size - 1) / stride + 1;
                let same = stride == 1 && channels == stage.width;
                let op = match OPERATORS.get(number as usize) {
                    Some(&(kernel, expand, groups)) => Op::InvertedBottleneck(InvertedBottleneck {
                        input: Map::new(size, channels),
                        output: Map::new(out_size, stage.width),
                        mid_channels: make_divisible(f64::from(channels * expand)),
                        kernel,
                        stride,
                        padding: kernel / 2,
                        groups,
                        expand_conv: true,
                        se_channels: None,
                        activation: stage.activation,
                        output_activation: Activation::None,
                        residual: same,
                    }),
                    None if number == SKIP && same => identity_op(size, channels),
                    None if number == SKIP => Op::Conv(Conv {
                        stride,
                        activation: stage.activation,
                        batch_norm: true,
                        ..Conv::plain(Map::new(size, channels), Map::new(out_size, stage.width))
                    }),
                    None => return Err(self.bad_field(field, format!("operator {number} is not between 0 and {SKIP}"))),
                };
                ops.push(op);
                (size, channels) = (out_size, stage.width);
                layer += 1;
            }
        }
        ops.extend(tail_ops(&frame.head, size, channels, frame.features, frame.classes));
        Ok(Workload { resolution, ops })
    }
}

/// A skipped layer that keeps its shape: average pooling over 1×1 windows, which computes the identity and costs no
/// MACs. Some tables measured it as a copy.
fn identity_op(size: u32, channels: u32) -> Op {
    let map = Map::new(size, channels);
    Op::Pool(Pool { kind: PoolKind::Average, input: map, output: map, kernel: 1, stride: 1, padding: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(json: &str) -> Result<Workload, SearchError> {
        SearchSpace::builtin("fbnet-cifar").unwrap().parse_workload(&ArchFile::from_json(json).unwrap())
    }

    #[test]
    fn an_operator_list_without_groups_or_skips_equals_the_genome() {
        let space = SearchSpace::builtin("fbnet-cifar").unwrap();
        let ops = vec![7; 22];
        let list = workload(&format!("{{\"ops\":{ops:?},\"r\":32}}")).unwrap();
        assert_eq!(list, space.lower(&space.largest(32).unwrap()));
    }

    #[test]
    fn skips_are_identities_or_thin_convolutions() {
        let ops = vec![8; 22];
        let list = workload(&format!("{{\"ops\":{ops:?},\"r\":32}}")).unwrap();
        // Table rows `Skip_…`: 393216 MACs at 16→24, 1036288 at 184→352.
        assert_eq!(list.ops[2].macs().0, 393_216);
        assert_eq!(list.ops[22].macs().0, 1_036_288);
        assert_eq!(list.ops.len(), 1 + 22 + 3);
        assert_eq!(list.ops[3], identity_op(32, 24));
        // ConvBlock_H112_W112_Cin16_Cout16_exp1_kernel3_stride1_group2 of the ImageNet form: 5017600 MACs.
        let space = SearchSpace::builtin("fbnet-imagenet").unwrap();
        let file = ArchFile::from_json(&format!("{{\"ops\":{:?},\"r\":[224]}}", vec![1; 22])).unwrap();
        assert_eq!(space.parse_workload(&file).unwrap().ops[1].macs().0, 5_017_600);
    }

    #[test]
    fn wrong_numbers_and_wrong_spaces_are_refused() {
        assert!(
            workload(&format!("{{\"ops\":{:?},\"r\":32}}", vec![9; 22])).unwrap_err().to_string().contains("ops[0]")
        );
        assert!(
            workload(&format!("{{\"ops\":{:?},\"r\":32}}", vec![1; 21])).unwrap_err().to_string().contains("21 values")
        );
        let file = ArchFile::from_json(&format!("{{\"ops\":{:?},\"r\":32}}", vec![1; 10])).unwrap();
        assert!(SearchSpace::builtin("mcu-cifar").unwrap().parse_workload(&file).is_err());
        assert!(SearchSpace::builtin("fbnet-cifar").unwrap().parse(&file).is_err());
    }
}
