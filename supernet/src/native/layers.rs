//! The layers of a block: each takes its input as the layer before left it, and normalises it on the way in.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use network::op::Activation;
use tch::Tensor;

use super::call::{Pointer, check, pointer, taken};

// SAFETY: the signatures are those of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_depthwise(
        out: *mut *mut c_void,
        x: Pointer,
        norm: *const NormArgument,
        weight: Pointer,
        stride: i64,
    ) -> *mut c_char;
    fn ofa_pointwise(
        out: *mut *mut c_void,
        x: Pointer,
        norm: *const NormArgument,
        squeeze_excite: *const [Pointer; 4],
        weight: Pointer,
    ) -> *mut c_char;
    fn ofa_normalise(out: *mut *mut c_void, x: Pointer, norm: *const NormArgument, residual: Pointer) -> *mut c_char;
    fn ofa_average_pool(out: *mut *mut c_void, x: Pointer, norm: *const NormArgument) -> *mut c_char;
    fn ofa_statistics(out: *mut *mut c_void, x: Pointer) -> *mut c_char;
    fn ofa_moments(out: *mut *mut c_void, x: Pointer, statistics: Pointer) -> *mut c_char;
}

/// What a convolution gives: a feature map that is not yet normalised, and each channel's mean and biased variance,
/// `[2, C]` of float32.
pub(crate) struct Raw {
    pub(crate) map: Tensor,
    pub(crate) statistics: Tensor,
}

/// Batch norm by the batch's statistics, then an activation: a layer applies it to its input on the way in, so that the
/// normalised map is never stored. Gradients flow to γ and β, and through the statistics to the map.
pub(crate) struct Norm<'a> {
    pub(crate) gamma: &'a Tensor,
    pub(crate) beta: &'a Tensor,
    /// `[2, C]`, as in [`Raw`].
    pub(crate) statistics: &'a Tensor,
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
}

/// `OfaNorm` of `native/api.cpp`.
#[repr(C)]
struct NormArgument {
    gamma: Pointer,
    beta: Pointer,
    statistics: Pointer,
    eps: f64,
    activation: c_int,
}

impl Norm<'_> {
    fn argument(&self) -> NormArgument {
        NormArgument {
            gamma: pointer(self.gamma),
            beta: pointer(self.beta),
            statistics: pointer(self.statistics),
            eps: self.eps,
            activation: match self.activation {
                Activation::None => 0,
                Activation::Relu => 1,
                Activation::Relu6 => 2,
                Activation::HSwish => 3,
                // It ends squeeze-excite, which has a kernel of its own.
                Activation::HSigmoid => panic!("no batch norm is followed by a gate"),
            },
        }
    }
}

fn raw(call: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Raw {
    let mut out = [ptr::null_mut(); 2];
    check(call(out.as_mut_ptr()));
    let [map, statistics] = out.map(taken);
    Raw { map, statistics }
}

fn address<T>(argument: &Option<T>) -> *const T {
    argument.as_ref().map_or(ptr::null(), ptr::from_ref)
}

/// Depthwise convolution with padding k/2: `x` is `[N, C, H, W]` of float32 or bfloat16, `weight` `[C, 1, k, k]` of
/// float32 with k odd; the result has the type of `x` and channels-last memory. Sums are float32.
pub(crate) fn depthwise(x: &Tensor, norm: Option<&Norm<'_>>, weight: &Tensor, stride: i64) -> Raw {
    let norm = norm.map(Norm::argument);
    // SAFETY: `out` has room for two; all tensors outlive the call.
    raw(|out| unsafe { ofa_depthwise(out, pointer(x), address(&norm), pointer(weight), stride) })
}

/// 1×1 convolution of `x` times a gate, if there is squeeze-excite: `[weight, bias]` of its two convolutions. `weight` is
/// `[D, C, 1, 1]` of float32; in bfloat16 it is rounded for the products, whose sums are float32.
pub(crate) fn pointwise(
    x: &Tensor,
    norm: Option<&Norm<'_>>,
    squeeze_excite: Option<[&Tensor; 4]>,
    weight: &Tensor,
) -> Raw {
    let (norm, layer) = (norm.map(Norm::argument), squeeze_excite.map(|tensors| tensors.map(pointer)));
    // SAFETY: as in `depthwise`; four pointers are what `OfaSqueezeExcite` is.
    raw(|out| unsafe { ofa_pointwise(out, pointer(x), address(&norm), address(&layer), pointer(weight)) })
}

/// The normalised and activated map itself, plus `residual`.
pub(crate) fn normalise(x: &Tensor, norm: &Norm<'_>, residual: Option<&Tensor>) -> Tensor {
    let mut out = ptr::null_mut();
    let residual = residual.map_or(ptr::null(), pointer);
    // SAFETY: all tensors outlive the call.
    check(unsafe { ofa_normalise(&mut out, pointer(x), &norm.argument(), residual) });
    taken(out)
}

/// Its mean over each image: `[N, C, 1, 1]` of float32.
pub(crate) fn average_pool(x: &Tensor, norm: &Norm<'_>) -> Tensor {
    let mut out = ptr::null_mut();
    // SAFETY: all tensors outlive the call.
    check(unsafe { ofa_average_pool(&mut out, pointer(x), &norm.argument()) });
    taken(out)
}

/// Each channel's mean and biased variance, as in [`Raw`].
pub(crate) fn statistics(x: &Tensor) -> Tensor {
    let mut out = ptr::null_mut();
    // SAFETY: `x` outlives the call.
    check(unsafe { ofa_statistics(&mut out, pointer(x)) });
    taken(out)
}

/// The statistics of a [`Raw`] as a function of its map, for losses that compare them: the same values, and gradients flow
/// to the map.
pub(crate) fn moments(raw: &Raw) -> Tensor {
    let mut out = ptr::null_mut();
    // SAFETY: both tensors outlive the call.
    check(unsafe { ofa_moments(&mut out, pointer(&raw.map), pointer(&raw.statistics)) });
    taken(out)
}
