#pragma once

#include "norm.h"

namespace ofa {

// Depthwise convolution with padding kernel/2 of a(x·scale + shift). x is [N, C, H, W], channels-last; `weight`
// [C, 1, k, k] of float, k odd. `sums`, if not null, gets the sum and the sum of squares of each channel of the result
// (2·C).
at::Tensor depthwise_forward(const at::Tensor& x, const at::Tensor& weight, int64_t stride, const Norm& norm,
                             std::vector<double>* sums);

// From the gradient `gy` of the result: that of x·scale + shift (undefined unless `want_input`); with `sums` its sum and
// its sum times (x - mean) of each channel; with `weight_gradient` that of the weight, [C, 1, k, k] of float.
at::Tensor depthwise_backward(const at::Tensor& x, const at::Tensor& weight, int64_t stride, const Norm& norm,
                              const at::Tensor& gy, bool want_input, std::vector<double>* sums,
                              at::Tensor* weight_gradient);

// The same as autograd knows it.
Raw depthwise(const at::Tensor& x, const NormState& norm, const at::Tensor& weight, int64_t stride);

// Sums of all parts, [parts][blocks][2][lanes], in order: [2][channels].
std::vector<double> gather_sums(const std::vector<double>& part_sums, int64_t parts, int64_t channels, int64_t lanes);
}  // namespace ofa
