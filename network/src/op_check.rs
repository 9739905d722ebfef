//! Whether the numbers of one operator make sense by themselves.

use crate::layers::Window;
use crate::op::{Conv, LocalResponse, Map, Op, Pool, Step};

/// Largest height, width, channels, kernel or stride: beyond it lies no network, but a slip.
const MOST: u32 = 1 << 20;
/// Most maps that one operator puts together.
const MOST_INPUTS: usize = 1024;
/// Most numbers of a map.
const MOST_ELEMENTS: u64 = 1 << 40;
/// Most weights of a layer: what can still be held.
const MOST_WEIGHTS: u64 = 1 << 36;
/// Most multiply-accumulates of a layer and of a network: above this a count is no longer exact in 64-bit floating point.
pub(crate) const MOST_MACS: u64 = 1 << 53;

/// Whether a map has a size and channels that a network can have.
pub(crate) fn is_map(map: Map) -> bool {
    [map.size, map.channels].iter().all(|value| (1..=MOST).contains(value)) && map.elements() <= MOST_ELEMENTS
}

/// What is wrong with an operator's numbers, in words: sizes that are none, windows that do not give the output, parts
/// that do not meet, more weights or multiply-accumulates than can be counted.
pub(crate) fn check_op(op: &Op) -> Result<(), String> {
    let in_range = |what: &str, value: u32| match (1..=MOST).contains(&value) {
        true => Ok(()),
        false => Err(format!("{what} {value} is outside 1 to {MOST}")),
    };
    let meet = |what: &str, from: Map, to: Map| match from == to {
        true => Ok(()),
        false => Err(format!("{what}: {from} does not meet {to}")),
    };
    // Before anything is made of them: the maps of a sum or of a row are listed, and their channels added up.
    match op {
        Op::Add { inputs, .. } if !(2..=MOST_INPUTS).contains(&(*inputs as usize)) => {
            return Err(format!("a sum of {inputs} maps: it takes 2 to {MOST_INPUTS}"));
        }
        Op::Concat { inputs } if !(1..=MOST_INPUTS).contains(&inputs.len()) => {
            return Err(format!("{} maps in a row: it takes 1 to {MOST_INPUTS}", inputs.len()));
        }
        Op::Inception(module) if module.branches.len() > MOST_INPUTS => {
            return Err(format!("{} branches are more than {MOST_INPUTS}", module.branches.len()));
        }
        Op::Fire(fire) => {
            in_range("the number of channels", fire.expand_1x1.output.channels)?;
            in_range("the number of channels", fire.expand_3x3.output.channels)?;
        }
        _ => {}
    }
    for map in op.inputs() {
        in_range("the size of a map", map.size)?;
        in_range("the number of channels", map.channels)?;
    }
    if let Op::Inception(module) = op {
        for step in module.branches.iter().flatten() {
            in_range("the number of channels", step.output().channels)?;
        }
    }
    let output = op.output();
    in_range("the size of a map", output.size)?;
    in_range("the number of channels", output.channels)?;
    match op {
        Op::Conv(conv) => check_conv(conv)?,
        Op::InvertedBottleneck(block) => {
            let mid = block.mid_channels;
            in_range("the inner width", mid)?;
            if let Some(width) = block.se_channels {
                in_range("the width of squeeze-excite", width)?;
            }
            let window = Window { kernel: block.kernel, stride: block.stride, padding: block.padding };
            check_window(window, block.input.size, block.output.size)?;
            for channels in [block.input.channels, mid, block.output.channels] {
                check_groups(channels, block.groups)?;
            }
            if !block.expand_conv && mid != block.input.channels {
                return Err(format!(
                    "an inner width of {mid} on {} channels needs `expand_conv`",
                    block.input.channels
                ));
            }
            if block.residual {
                meet("its input cannot be added", block.input, block.output)?;
            }
        }
        Op::Pool(pool) => check_pool(pool)?,
        Op::Linear(_) => {}
        Op::LocalResponse(LocalResponse { window, scale, power, bias, .. }) => {
            in_range("the window", *window)?;
            let is_sound = scale.0 >= 0.0 && bias.0 > 0.0 && [scale, power, bias].iter().all(|real| real.0.is_finite());
            if !is_sound {
                let (scale, power, bias) = (scale.0, power.0, bias.0);
                return Err(format!("scale {scale}, power {power} and bias {bias} divide by nothing sensible"));
            }
        }
        Op::Residual(block) => {
            for pair in block.branch.windows(2) {
                meet("its convolutions do not follow on each other", pair[0].output, pair[1].input)?;
            }
            for conv in block.branch.iter().chain(&block.shortcut) {
                check_conv(conv)?;
            }
            if block.branch.is_empty() {
                return Err("it has no convolution".into());
            }
            if let Some(conv) = &block.shortcut {
                meet("its shortcut reads something else", op.input(), conv.input)?;
            }
            let shortcut = block.shortcut.map_or(op.input(), |conv| conv.output);
            meet("its shortcut cannot be added", shortcut, op.output())?;
        }
        Op::Fire(fire) => {
            for conv in [&fire.squeeze, &fire.expand_1x1, &fire.expand_3x3] {
                check_conv(conv)?;
            }
            meet("what it squeezes to", fire.squeeze.output, fire.expand_1x1.input)?;
            meet("what it squeezes to", fire.squeeze.output, fire.expand_3x3.input)?;
            let (one, three) = (fire.expand_1x1.output.size, fire.expand_3x3.output.size);
            if one != three {
                return Err(format!("its halves have sizes {one} and {three}"));
            }
        }
        Op::Inception(module) => {
            if module.branches.iter().any(Vec::is_empty) || module.branches.is_empty() {
                return Err("a branch is empty".into());
            }
            for branch in &module.branches {
                for step in branch {
                    match step {
                        Step::Conv(conv) => check_conv(conv)?,
                        Step::Pool(pool) => check_pool(pool)?,
                    }
                }
                meet("a branch reads something else", op.input(), branch[0].input())?;
                for pair in branch.windows(2) {
                    meet("a branch's steps do not follow on each other", pair[0].output(), pair[1].input())?;
                }
                let size = branch[branch.len() - 1].output().size;
                if size != op.output().size {
                    return Err(format!("its branches end at sizes {size} and {}", op.output().size));
                }
            }
        }
        Op::Add { .. } => {}
        Op::Concat { inputs } => {
            if inputs.iter().any(|map| map.size != inputs[0].size) {
                return Err("maps of different sizes cannot lie one after the other".into());
            }
        }
    }
    for layer in op.layers() {
        let elements = layer.input.elements().max(layer.output.elements());
        if elements > MOST_ELEMENTS {
            return Err(format!("a map of {elements} numbers is larger than any network's"));
        }
        let (weights, macs) = (layer.weight_count(), layer.macs().0);
        if weights > MOST_WEIGHTS || macs > MOST_MACS {
            return Err(format!("{weights} weights and {macs} multiply-accumulates are more than any network has"));
        }
    }
    Ok(())
}

fn check_conv(conv: &Conv) -> Result<(), String> {
    let window = Window { kernel: conv.kernel, stride: conv.stride, padding: conv.padding };
    check_window(window, conv.input.size, conv.output.size)?;
    check_groups(conv.input.channels, conv.groups)?;
    check_groups(conv.output.channels, conv.groups)
}

fn check_pool(pool: &Pool) -> Result<(), String> {
    if pool.input.channels != pool.output.channels {
        return Err(format!("pooling makes no {} channels of {}", pool.output.channels, pool.input.channels));
    }
    let window = Window { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
    check_window(window, pool.input.size, pool.output.size)
}

fn check_groups(channels: u32, groups: u32) -> Result<(), String> {
    match groups > 0 && channels.is_multiple_of(groups) {
        true => Ok(()),
        false => Err(format!("{channels} channels cannot be shared out to {groups} groups")),
    }
}

/// Whether `output` positions are what a window gives that begins `padding` rows above the map.
///
/// Below the map as many rows of zeros are taken as the last window needs, less than a kernel; rows that no window
/// reaches are fewer than a stride. Published networks differ in just this (padding on both sides, at the end only, none).
fn check_window(window: Window, input: u32, output: u32) -> Result<(), String> {
    let Window { kernel, stride, padding } = window;
    if kernel == 0 || stride == 0 || kernel > MOST || stride > MOST || padding >= kernel {
        return Err(format!("kernel {kernel}, stride {stride} and padding {padding} make no window"));
    }
    let below = window.below(input, output);
    let (kernel, stride, padding, input) = (i64::from(kernel), i64::from(stride), i64::from(padding), i64::from(input));
    if below >= kernel || below <= -stride {
        let fitting = (input + padding - kernel).max(0) / stride + 1;
        return Err(format!(
            "an output size of {output} does not follow from input {input}, kernel {kernel}, stride {stride} and padding \
             {padding}: without padding below it is {fitting}"
        ));
    }
    Ok(())
}
