#pragma once

#include "layers.h"

namespace ofa {

// Batch norm by the batch's own statistics, then an activation, as the first thing that a layer does to its input: the
// normalised map is never stored.
class NormState {
public:
    NormState() = default;  // the input as it is
    // `statistics` is [2, C]: mean and biased variance of each channel of the input.
    NormState(const at::Tensor& gamma, const at::Tensor& beta, const at::Tensor& statistics, double eps,
              Activation activation);

    explicit operator bool() const { return !scale_.empty(); }
    bool needs_gradient() const { return gamma_.needs_gradient() || beta_.needs_gradient(); }
    Norm norm() const;
    Activation activation() const { return activation_; }
    // Edges for the gradients that `finish` returns.
    void add_edges(torch::autograd::edge_list& edges) const;
    // The rest of the backward pass: from the gradient `g` of x·scale + shift with its sum and its sum times
    // (x - mean), [2·C], to that of x, which is put into `gx` (may be g). Appends the gradients of γ and β.
    void finish(const at::Tensor& x, const at::Tensor& g, const std::vector<double>& sums, const at::Tensor& gx,
                torch::autograd::variable_list& gradients) const;

private:
    Parameter gamma_, beta_;
    Activation activation_ = Activation::None;
    std::vector<float> scale_, shift_, mean_, inverse_std_;
};

// What a convolution gives: a feature map, not yet normalised, and its statistics, [2, C].
struct Raw {
    at::Tensor map, statistics;
};

// Replaces `count` values by their sums over all processes that train together, and gives how many these are.
using SumOverRanks = int64_t (*)(double* values, int64_t count);
// From now on, in this thread, statistics of a batch are those of all processes' batches together, forwards and backwards;
// with null those of its own.
void synchronise_statistics(SumOverRanks sum);

// Mean and biased variance, [2, C], from sums and sums of squares over `count` values of this process.
at::Tensor statistics_of(std::vector<double> sums, double count);
// The same of a feature map.
at::Tensor statistics_of(const at::Tensor& x);
// The statistics of this process's `x` as a function of it, for losses of their own: equal in value, [2, C]. To a batch norm
// they are constants, since its own backward pass holds what goes through them.
at::Tensor moments(const at::Tensor& x, const at::Tensor& statistics);

// a(x·scale + shift) + residual, stored. `residual` may be undefined.
at::Tensor normalise(const at::Tensor& x, const NormState& norm, const at::Tensor& residual);
// Its mean over the image: [N, C, 1, 1] of float.
at::Tensor average_pool(const at::Tensor& x, const NormState& norm);

// Sum over each image of a(x·scale + shift), or of its product with g where that is defined: [N, C] of float.
at::Tensor pooled(const at::Tensor& x, const Norm& norm, const at::Tensor& g);

// Runs f(first_row, rows, sums) on chunks of at most `chunk` rows on all threads; `sums` are 2·C floats that start at
// zero, and their totals are returned.
template <class F>
std::vector<double> sum_over_rows(int64_t rows, int64_t chunk, int64_t channels, F f) {
    const int64_t chunks = (rows + chunk - 1) / chunk, parts = parts_for(chunks);
    std::vector<double> totals(size_t(parts * 2 * channels));
    in_parallel(parts, [&](int64_t part) {
        std::vector<float> sums(size_t(2 * channels));
        for (int64_t i = share(chunks, parts, part); i < share(chunks, parts, part + 1); ++i) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            f(i * chunk, std::min(chunk, rows - i * chunk), sums.data());
            for (int64_t c = 0; c < 2 * channels; ++c) totals[size_t(part * 2 * channels + c)] += sums[size_t(c)];
        }
    });
    for (int64_t part = 1; part < parts; ++part) {
        for (int64_t c = 0; c < 2 * channels; ++c) totals[size_t(c)] += totals[size_t(part * 2 * channels + c)];
    }
    totals.resize(size_t(2 * channels));
    return totals;
}
}  // namespace ofa
