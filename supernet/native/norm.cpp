// Batch norm, activation and residual in one pass.
#include "norm.h"

namespace ofa {
namespace {
constexpr int64_t CHUNK = 256;

struct Map {
    int64_t images, channels, pixels;
    explicit Map(const at::Tensor& x) : images(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)) {}
    int64_t rows() const { return images * pixels; }
};

// The backward pass on the CPU runs in the thread that asks for it.
thread_local SumOverRanks sum_over_ranks = nullptr;

// Adds the sums of the other processes; gives how many processes there are.
int64_t joined(std::vector<double>& sums) {
    return sum_over_ranks != nullptr ? sum_over_ranks(sums.data(), int64_t(sums.size())) : 1;
}

// Puts a·g + b·x + d, channel by channel, into `gx` (may be g).
void affine(const at::Tensor& x, const at::Tensor& g, const std::vector<float>& a, const std::vector<float>& b,
            const std::vector<float>& d, const at::Tensor& gx) {
    const Map m(x);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const T *input = data<T>(x), *gradient = data<T>(g);
        T* output = mutable_data<T>(gx);
        const int64_t parts = parts_for((m.rows() + CHUNK - 1) / CHUNK);
        in_parallel(parts, [&](int64_t part) {
            const int64_t first = share(m.rows(), parts, part), end = share(m.rows(), parts, part + 1);
            const int64_t at = first * m.channels;
            table.affine(size_t(end - first), int(m.channels), gradient + at, input + at, a.data(), b.data(), d.data(),
                         output + at);
        });
    });
}

at::Tensor vector_of(const std::vector<float>& values) {
    at::Tensor tensor = at::empty({int64_t(values.size())}, at::kFloat);
    std::copy(values.begin(), values.end(), mutable_data<float>(tensor));
    return tensor;
}
}  // namespace

void synchronise_statistics(SumOverRanks sum) { sum_over_ranks = sum; }

at::Tensor statistics_of(std::vector<double> sums, double count) {
    count *= double(joined(sums));
    const int64_t channels = int64_t(sums.size()) / 2;
    at::Tensor statistics = at::empty({2, channels}, at::kFloat);
    float* to = mutable_data<float>(statistics);
    for (int64_t c = 0; c < channels; ++c) {
        const double mean = sums[size_t(c)] / count;
        to[c] = float(mean);
        to[channels + c] = float(std::max(0.0, sums[size_t(channels + c)] / count - mean * mean));
    }
    return statistics;
}

at::Tensor statistics_of(const at::Tensor& map) {
    const at::Tensor x = channels_last(map.detach());
    const Map m(x);
    return with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const T* from = data<T>(x);
        const auto sums = sum_over_rows(m.rows(), CHUNK, m.channels, [&](int64_t first, int64_t rows, float* to) {
            table.statistics(size_t(rows), int(m.channels), from + first * m.channels, to);
        });
        return statistics_of(sums, double(m.rows()));
    });
}

NormState::NormState(const at::Tensor& gamma, const at::Tensor& beta, const at::Tensor& statistics, double eps,
                     Activation activation)
    : gamma_(gamma), beta_(beta), activation_(activation) {
    const size_t channels = size_t(gamma.size(0));
    TORCH_CHECK(statistics.is_contiguous() && statistics.numel() == int64_t(2 * channels), "statistics of ",
                statistics.sizes(), " for ", channels, " channels");
    const at::Tensor weight = gamma_.value.contiguous(), bias = beta_.value.contiguous();
    const float *g = data<float>(weight), *b = data<float>(bias), *s = data<float>(statistics);
    mean_.assign(s, s + channels);
    scale_.resize(channels), shift_.resize(channels), inverse_std_.resize(channels);
    for (size_t c = 0; c < channels; ++c) {
        inverse_std_[c] = float(1.0 / std::sqrt(double(s[channels + c]) + eps));
        scale_[c] = g[c] * inverse_std_[c];
        shift_[c] = b[c] - mean_[c] * scale_[c];
    }
}

Norm NormState::norm() const {
    if (scale_.empty()) return {};
    return {scale_.data(), shift_.data(), mean_.data(), activation_};
}

void NormState::add_edges(torch::autograd::edge_list& edges) const {
    edges.push_back(gamma_.edge);
    edges.push_back(beta_.edge);
}

void NormState::finish(const at::Tensor& x, const at::Tensor& g, const std::vector<double>& sums, const at::Tensor& gx,
                       torch::autograd::variable_list& gradients) const {
    const Map m(x);
    const size_t channels = scale_.size();
    // γ and β are shared with the other processes like any weight; what goes through the statistics is all processes'.
    std::vector<double> all = sums;
    const double count = double(m.rows()) * double(joined(all));
    std::vector<float> a(channels), b(channels), d(channels), ggamma(channels), gbeta(channels);
    for (size_t c = 0; c < channels; ++c) {
        // gx = γ/σ · (g - mean(g) - (x - μ)/σ² · mean(g·(x - μ)))
        const double slope = -double(scale_[c]) * inverse_std_[c] * inverse_std_[c] * all[channels + c] / count;
        a[c] = scale_[c];
        b[c] = float(slope);
        d[c] = float(-double(scale_[c]) * all[c] / count - slope * mean_[c]);
        ggamma[c] = float(sums[channels + c] * inverse_std_[c]);
        gbeta[c] = float(sums[c]);
    }
    if (gx.defined()) affine(x, g, a, b, d, gx);
    gradients.push_back(gamma_.needs_gradient() ? gamma_.deliver(vector_of(ggamma)) : at::Tensor());
    gradients.push_back(beta_.needs_gradient() ? beta_.deliver(vector_of(gbeta)) : at::Tensor());
}

namespace {
struct NormaliseBackward : torch::autograd::Node {
    at::Tensor x;
    NormState norm;
    bool has_residual = false;

    std::string name() const override { return "OfaNormaliseBackward"; }
    void release_variables() override { x.reset(); }
    torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
        TORCH_CHECK(x.defined(), "the backward pass of a batch norm ran before");
        if (!gradients[0].defined()) return torch::autograd::variable_list(4);
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        const at::Tensor g = channels_last(gradients[0]);
        const Map m(x);
        const at::Tensor gx = at::empty_like(x);
        // Without an activation the gradient of the affine map's result is what came in.
        const bool plain = norm.activation() == Activation::None;
        const auto sums = with_element(x, [&](auto* element) {
            using T = std::remove_pointer_t<decltype(element)>;
            const auto& table = of<T>(kernels());
            const T *input = data<T>(x), *gradient = data<T>(g);
            T* output = mutable_data<T>(gx);
            return sum_over_rows(m.rows(), CHUNK, m.channels, [&](int64_t first, int64_t rows, float* to) {
                const int64_t at = first * m.channels;
                table.normalise_backward(size_t(rows), int(m.channels), input + at, gradient + at, norm.norm(),
                                                    nullptr, nullptr, plain ? nullptr : output + at, to);
            });
        });
        torch::autograd::variable_list results{gx};
        norm.finish(x, plain ? g : gx, sums, gx, results);
        if (has_residual) results.push_back(gradients[0]);
        return results;
    }
};

struct MomentsBackward : torch::autograd::Node {
    at::Tensor x, statistics;

    std::string name() const override { return "OfaMomentsBackward"; }
    void release_variables() override { x.reset(); }
    torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
        TORCH_CHECK(x.defined(), "the backward pass of statistics ran before");
        if (!gradients[0].defined()) return torch::autograd::variable_list(1);
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        const Map m(x);
        const at::Tensor g = gradients[0].to(at::kFloat).contiguous();
        const float *of_mean = data<float>(g), *of_variance = of_mean + m.channels, *mean = data<float>(statistics);
        const size_t channels = size_t(m.channels);
        const std::vector<float> zero(channels);
        std::vector<float> slope(channels), shift(channels);
        for (size_t c = 0; c < channels; ++c) {
            // gx = (g of the mean + 2·(x - mean)·g of the variance) / count
            const double twice = 2.0 * of_variance[c] / double(m.rows());
            slope[c] = float(twice);
            shift[c] = float(of_mean[c] / double(m.rows()) - twice * mean[c]);
        }
        const at::Tensor gx = at::empty_like(x);
        affine(x, x, zero, slope, shift, gx);
        return {gx};
    }
};

struct AveragePoolBackward : torch::autograd::Node {
    at::Tensor x;
    NormState norm;

    std::string name() const override { return "OfaAveragePoolBackward"; }
    void release_variables() override { x.reset(); }
    torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
        TORCH_CHECK(x.defined(), "the backward pass of a pooling ran before");
        if (!gradients[0].defined()) return torch::autograd::variable_list(3);
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        const Map m(x);
        const at::Tensor g = (gradients[0].to(at::kFloat) / double(m.pixels)).contiguous();
        const at::Tensor gx = at::empty_like(x);
        const auto sums = with_element(x, [&](auto* element) {
            using T = std::remove_pointer_t<decltype(element)>;
            const auto& table = of<T>(kernels());
            const T* input = data<T>(x);
            const float* gradient = data<float>(g);
            T* output = mutable_data<T>(gx);
            return sum_over_rows(m.rows(), m.pixels, m.channels, [&](int64_t first, int64_t rows, float* to) {
                const int64_t at = first * m.channels;
                table.normalise_backward(size_t(rows), int(m.channels), input + at, nullptr, norm.norm(),
                                                    nullptr, gradient + first / m.pixels * m.channels, output + at, to);
            });
        });
        torch::autograd::variable_list results{gx};
        norm.finish(x, gx, sums, gx, results);
        return results;
    }
};
}  // namespace

at::Tensor normalise(const at::Tensor& map, const NormState& norm, const at::Tensor& residual) {
    const at::Tensor x = channels_last(map.detach());
    const Map m(x);
    at::Tensor y;
    {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        y = at::empty_like(x);
        const at::Tensor added = residual.defined() ? channels_last(residual.detach()) : at::Tensor();
        TORCH_CHECK(!added.defined() || (added.sizes() == x.sizes() && added.scalar_type() == x.scalar_type()),
                    "a residual of another shape or type");
        with_element(x, [&](auto* element) {
            using T = std::remove_pointer_t<decltype(element)>;
            const auto& table = of<T>(kernels());
            const T *input = data<T>(x), *plus = added.defined() ? data<T>(added) : nullptr;
            T* output = mutable_data<T>(y);
            const int64_t parts = parts_for((m.rows() + CHUNK - 1) / CHUNK);
            in_parallel(parts, [&](int64_t part) {
                const int64_t first = share(m.rows(), parts, part), end = share(m.rows(), parts, part + 1);
                const int64_t at = first * m.channels;
                table.normalise(size_t(end - first), int(m.channels), input + at, norm.norm(), nullptr,
                                           plus != nullptr ? plus + at : nullptr, output + at);
            });
        });
    }
    if (is_recorded({map, residual}, norm.needs_gradient())) {
        auto node = new_node<NormaliseBackward>();
        node->x = x;
        node->norm = norm;
        node->has_residual = residual.defined();
        torch::autograd::edge_list edges{torch::autograd::impl::gradient_edge(map)};
        norm.add_edges(edges);
        if (residual.defined()) edges.push_back(torch::autograd::impl::gradient_edge(residual));
        node->set_next_edges(std::move(edges));
        torch::autograd::set_history(y, node);
    }
    return y;
}

at::Tensor moments(const at::Tensor& map, const at::Tensor& statistics) {
    at::Tensor result = statistics.detach().clone();
    if (is_recorded({map}, false)) {
        auto node = new_node<MomentsBackward>();
        node->x = channels_last(map.detach());
        node->statistics = statistics.detach();
        node->set_next_edges({torch::autograd::impl::gradient_edge(map)});
        torch::autograd::set_history(result, node);
    }
    return result;
}

at::Tensor average_pool(const at::Tensor& map, const NormState& norm) {
    const at::Tensor x = channels_last(map.detach());
    at::Tensor y;
    {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        y = pooled(x, norm.norm(), at::Tensor());
        y.div_(double(x.size(2) * x.size(3)));
        y = y.view({x.size(0), x.size(1), 1, 1});
    }
    if (is_recorded({map}, norm.needs_gradient())) {
        auto node = new_node<AveragePoolBackward>();
        node->x = x;
        node->norm = norm;
        torch::autograd::edge_list edges{torch::autograd::impl::gradient_edge(map)};
        norm.add_edges(edges);
        node->set_next_edges(std::move(edges));
        torch::autograd::set_history(y, node);
    }
    return y;
}

at::Tensor pooled(const at::Tensor& x, const Norm& norm, const at::Tensor& g) {
    const Map m(x);
    at::Tensor sums = at::zeros({m.images, m.channels}, at::kFloat);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const T *input = data<T>(x), *factor = g.defined() ? data<T>(g) : nullptr;
        float* to = mutable_data<float>(sums);
        at::parallel_for(0, m.images, 1, [&](int64_t begin, int64_t end) {
            for (int64_t image = begin; image < end; ++image) {
                const int64_t at = image * m.pixels * m.channels;
                table.pool(size_t(m.pixels), int(m.channels), input + at, norm,
                                      factor != nullptr ? factor + at : nullptr, to + image * m.channels);
            }
        });
    });
    return sums;
}
}  // namespace ofa
