#pragma once

#include "norm.h"

namespace ofa {

// Two biased 1×1 convolutions that make a gate for each channel of each image: hardsigmoid(W₂·relu(W₁·pooled + b₁) + b₂).
struct SqueezeExcite {
    Parameter reduce_weight, reduce_bias, expand_weight, expand_bias;

    bool needs_gradient() const {
        return reduce_weight.needs_gradient() || reduce_bias.needs_gradient() || expand_weight.needs_gradient() ||
               expand_bias.needs_gradient();
    }
};

// 1×1 convolution of a(x·scale + shift)·gate: x is [N, C, H, W], weight [D, C, 1, 1] of float. `squeeze_excite` may be
// null.
Raw pointwise(const at::Tensor& x, const NormState& norm, const SqueezeExcite* squeeze_excite,
              const at::Tensor& weight);
}  // namespace ofa
