//! One convolution with everything that its energy depends on.

/// Height, width and so on may not exceed this; beyond it lies no layer, but a slip.
const MOST: u64 = 1 << 20;
/// Images of one batch.
const MOST_IMAGES: u64 = 1 << 16;
/// Above this a count is no longer exact in 64-bit floating point.
const MOST_MACS: u128 = 1 << 53;

/// One tensor of a layer. `count` is the number of images of a feature map, of filters for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorShape {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
    /// Channels: of one filter, for weights, which is the input's channels divided by the groups.
    pub channels: u64,
    /// Images or filters.
    pub count: u64,
    /// Zeros among all entries.
    pub zeros: u64,
    /// Bits of one entry.
    pub bits: u64,
}

/// A layer as its file says, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Input feature map.
    pub ifmap: TensorShape,
    /// Weights.
    pub filter: TensorShape,
    /// Output feature map; partial sums have its bit width.
    pub ofmap: TensorShape,
    /// Vertical and horizontal stride.
    pub stride: [u64; 2],
    /// Rows and columns of zeros at the top, bottom, left and right.
    pub padding: [u64; 4],
}

/// A field that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerProblem {
    pub(super) field: String,
    pub(super) problem: String,
    pub(super) hint: String,
}

/// A layer in which everything fits together, made by [`Layer::parse_file`] or [`super::layers_of`].
///
/// Channels and filters are those of one group; grouped and depthwise layers have several equal ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    name: String,
    pub(super) images: u64,
    pub(super) groups: u64,
    pub(super) channels: u64,
    pub(super) filters: u64,
    /// Height and width of a filter.
    pub(super) filter_size: [u64; 2],
    /// Height and width of the output.
    pub(super) out_size: [u64; 2],
    /// Vertical stride.
    pub(super) stride: u64,
    /// Width of the padded input.
    pub(super) padded_width: u64,
    pub(super) ifmap: Entries,
    pub(super) filter: Entries,
    pub(super) ofmap: Entries,
}

/// What one entry of a tensor takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entries {
    pub(super) bits: u64,
    /// Fraction that is not zero.
    pub(super) density: f64,
}

impl Layer {
    /// Checks a shape.
    ///
    /// Groups are the input's channels divided by those of a filter, so a depthwise layer has filters of one channel.
    pub(super) fn new(name: String, shape: &LayerShape) -> Result<Self, LayerProblem> {
        let LayerShape { ifmap, filter, ofmap, stride, padding } = shape;
        for (tensor, shape, count, most) in [
            ("ifmap", ifmap, "maps", MOST_IMAGES),
            ("filter", filter, "filters", MOST),
            ("ofmap", ofmap, "maps", MOST_IMAGES),
        ] {
            within(tensor, "height", shape.height, 1, MOST)?;
            within(tensor, "width", shape.width, 1, MOST)?;
            within(tensor, "channels", shape.channels, 1, MOST)?;
            within(tensor, count, shape.count, 1, most)?;
            within(tensor, "bitwidth", shape.bits, 1, 64)?;
            let entries = shape.entries();
            if u128::from(shape.zeros) > entries {
                let problem = format!("{} zeros are more than its {entries} entries", shape.zeros);
                let hint = "write the number of zeros, over all images or filters; 0 if there are none";
                return Err(problem_in(tensor, "zero entries", problem, hint));
            }
        }
        for (field, value) in ["y", "x"].into_iter().zip(stride) {
            within("stride", field, *value, 1, MOST)?;
        }
        for (field, value) in ["top", "bottom", "left", "right"].into_iter().zip(padding) {
            within("padding", field, *value, 0, MOST)?;
        }
        if !ifmap.channels.is_multiple_of(filter.channels) {
            let (got, of) = (filter.channels, ifmap.channels);
            let problem = format!("{got} channels of a filter do not divide the {of} channels of the input");
            let hint = "a filter has the input's channels divided by the groups: 1 in a depthwise layer";
            return Err(problem_in("filter", "channels", problem, hint));
        }
        let groups = ifmap.channels / filter.channels;
        if !filter.count.is_multiple_of(groups) {
            let problem = format!("{} filters cannot be shared out to {groups} groups", filter.count);
            let hint = "the groups are the input's channels divided by a filter's; correct one of the three";
            return Err(problem_in("filter", "filters", problem, hint));
        }
        let padded = [ifmap.height + padding[0] + padding[1], ifmap.width + padding[2] + padding[3]];
        let sizes = [("height", filter.height, ofmap.height), ("width", filter.width, ofmap.width)];
        for (((field, size, given), padded), stride) in sizes.into_iter().zip(padded).zip(stride) {
            let Some(room) = padded.checked_sub(size) else {
                let problem = format!("{size} is more than the padded input's {padded}");
                return Err(problem_in("filter", field, problem, "make the filter smaller or the padding larger"));
            };
            let expected = room / stride + 1;
            if given != expected {
                let problem =
                    format!("{given} does not follow from input, filter, stride and padding, which give {expected}");
                return Err(problem_in("ofmap", field, problem, &format!("write {expected}, or correct the others")));
            }
        }
        if ofmap.channels != filter.count {
            let problem = format!("{} is not the number of filters, {}", ofmap.channels, filter.count);
            return Err(problem_in("ofmap", "channels", problem, "every filter gives one channel of the output"));
        }
        if ofmap.count != ifmap.count {
            let problem = format!("{} is not the number of input maps, {}", ofmap.count, ifmap.count);
            return Err(problem_in("ofmap", "maps", problem, "maps are the images of a batch, equal on both sides"));
        }
        let macs = ofmap.entries().checked_mul(u128::from(filter.channels * filter.height) * u128::from(filter.width));
        if macs.is_none_or(|macs| macs > MOST_MACS) {
            let problem = "more than 2^53 multiply-accumulates in a batch".to_owned();
            return Err(problem_in("ofmap", "maps", problem, "check the sizes; layers that large are not computed"));
        }
        let entries = |shape: &TensorShape| Entries {
            bits: shape.bits,
            density: 1.0 - shape.zeros as f64 / shape.entries() as f64,
        };
        Ok(Self {
            name,
            images: ifmap.count,
            groups,
            channels: filter.channels,
            filters: filter.count / groups,
            filter_size: [filter.height, filter.width],
            out_size: [ofmap.height, ofmap.width],
            stride: stride[0],
            padded_width: padded[1],
            ifmap: entries(ifmap),
            filter: entries(filter),
            ofmap: entries(ofmap),
        })
    }

    /// The number in its file, or the operator that it belongs to.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Images computed together.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// This layer with another number of images computed together, zeros staying as frequent.
    ///
    /// # Panics
    /// Outside 1 to 65,536 images.
    pub fn with_images(mut self, images: u64) -> Self {
        assert!((1..=MOST_IMAGES).contains(&images), "{images} images");
        self.images = images;
        self
    }

    /// Multiply-accumulates of one image, whether or not an operand is zero.
    pub fn macs(&self) -> f64 {
        let macs = self.groups * self.channels * self.filters;
        let area = |size: [u64; 2]| size[0] as f64 * size[1] as f64;
        macs as f64 * area(self.filter_size) * area(self.out_size)
    }

    /// Rows of the padded input that `rows` rows of output need.
    pub(super) fn input_rows(&self, rows: u64) -> u64 {
        // Strides beyond the filter's height skip rows.
        (rows - 1) * self.stride.min(self.filter_size[0]) + self.filter_size[0]
    }
}

impl TensorShape {
    fn entries(&self) -> u128 {
        u128::from(self.height * self.width) * u128::from(self.channels) * u128::from(self.count)
    }
}

fn within(tensor: &str, field: &str, value: u64, least: u64, most: u64) -> Result<(), LayerProblem> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(problem_in(tensor, field, format!("{value} is outside {least} to {most}"), "check the order of the numbers"))
}

fn problem_in(tensor: &str, field: &str, problem: String, hint: &str) -> LayerProblem {
    LayerProblem { field: format!("{tensor} {field}"), problem, hint: hint.to_owned() }
}
