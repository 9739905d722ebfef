// Depthwise convolution as a function that autograd knows.
#include "depthwise.h"

namespace ofa {
namespace {
// [blocks][taps][lanes], zero where a block has fewer channels.
std::vector<float> blocked_taps(const at::Tensor& weight, int lanes) {
    const at::Tensor filters = weight.contiguous();
    const int64_t channels = filters.size(0), taps = filters.size(2) * filters.size(3);
    const int64_t blocks = (channels + lanes - 1) / lanes;
    std::vector<float> blocked(size_t(blocks * taps * lanes));
    const float* from = data<float>(filters);
    for (int64_t c = 0; c < channels; ++c) {
        float* to = blocked.data() + (c / lanes) * taps * lanes + c % lanes;
        for (int64_t t = 0; t < taps; ++t) to[t * lanes] = from[c * taps + t];
    }
    return blocked;
}

Plane plane_of(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
    const int64_t kernel = weight.size(2);
    TORCH_CHECK(weight.dim() == 4 && weight.size(1) == 1 && weight.size(3) == kernel && kernel % 2 == 1 &&
                    kernel < 64 && stride >= 1 && weight.size(0) == x.size(1),
                "a depthwise weight of ", weight.sizes(), " does not fit a feature map of ", x.sizes());
    Plane plane;
    plane.height = int(x.size(2));
    plane.width = int(x.size(3));
    plane.channels = int(x.size(1));
    plane.kernel = int(kernel);
    plane.stride = int(stride);
    plane.padding = int(kernel / 2);
    plane.out_height = (plane.height - 1) / plane.stride + 1;
    plane.out_width = (plane.width - 1) / plane.stride + 1;
    return plane;
}

Norm block_of(const Norm& norm, int64_t channel) {
    if (norm.scale == nullptr) return norm;
    return {norm.scale + channel, norm.shift + channel, norm.mean + channel, norm.activation};
}
}  // namespace

at::Tensor depthwise_forward(const at::Tensor& x, const at::Tensor& weight, int64_t stride, const Norm& norm,
                             std::vector<double>* sums) {
    const Plane p = plane_of(x, weight, stride);
    const Kernels& table = kernels();
    const int64_t lanes = table.lanes, images = x.size(0), blocks = (p.channels + lanes - 1) / lanes;
    const int64_t taps = int64_t(p.kernel) * p.kernel;
    const std::vector<float> blocked = blocked_taps(weight, table.lanes);
    at::Tensor y = new_map(images, p.channels, p.out_height, p.out_width, x.scalar_type());
    const int64_t parts = parts_for(images * blocks);
    const size_t in_size = size_t(p.height) * p.width * p.channels, out_size = size_t(p.out_height) * p.out_width * p.channels;
    // One image's sums at a time are float.
    std::vector<double> part_sums(sums != nullptr ? size_t(parts) * blocks * lanes * 2 : 0);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const T* input = data<T>(x);
        T* output = mutable_data<T>(y);
        in_parallel(parts, [&](int64_t part) {
            std::vector<float> scratch(depthwise_scratch(p));
            for (int64_t i = share(images * blocks, parts, part); i < share(images * blocks, parts, part + 1); ++i) {
                const int64_t image = i / blocks, block = i % blocks, c = block * lanes;
                float image_sums[2 * 16] = {};
                of<T>(table).depthwise_forward(p, int(std::min(lanes, p.channels - c)), input + image * in_size + c,
                                               blocked.data() + block * taps * lanes, block_of(norm, c),
                                               output + image * out_size + c, sums != nullptr ? image_sums : nullptr,
                                               scratch.data());
                if (sums == nullptr) continue;
                double* to = part_sums.data() + (part * blocks + block) * 2 * lanes;
                for (int64_t k = 0; k < 2 * lanes; ++k) to[k] += image_sums[k];
            }
        });
    });
    if (sums != nullptr) *sums = gather_sums(part_sums, parts, p.channels, lanes);
    return y;
}

std::vector<double> gather_sums(const std::vector<double>& part_sums, int64_t parts, int64_t channels, int64_t lanes) {
    const int64_t blocks = (channels + lanes - 1) / lanes;
    std::vector<double> sums(size_t(2 * channels));
    for (int64_t part = 0; part < parts; ++part) {
        for (int64_t c = 0; c < channels; ++c) {
            const double* from = part_sums.data() + (part * blocks + c / lanes) * 2 * lanes + c % lanes;
            sums[size_t(c)] += from[0];
            sums[size_t(channels + c)] += from[lanes];
        }
    }
    return sums;
}

at::Tensor depthwise_backward(const at::Tensor& x, const at::Tensor& weight, int64_t stride, const Norm& norm,
                              const at::Tensor& gy, bool want_input, std::vector<double>* sums,
                              at::Tensor* weight_gradient) {
    const Plane p = plane_of(x, weight, stride);
    const Kernels& table = kernels();
    const int64_t lanes = table.lanes, images = x.size(0), blocks = (p.channels + lanes - 1) / lanes;
    const int64_t taps = int64_t(p.kernel) * p.kernel;
    std::vector<float> back = blocked_taps(weight, table.lanes);
    for (int64_t block = 0; block < blocks; ++block) {
        const std::vector<float> before(back.begin() + block * taps * lanes, back.begin() + (block + 1) * taps * lanes);
        table.arrange_back_taps(p.kernel, p.stride, before.data(), back.data() + block * taps * lanes);
    }
    at::Tensor gx = want_input ? new_map(images, p.channels, p.height, p.width, x.scalar_type()) : at::Tensor();
    const int64_t parts = parts_for(images * blocks);
    const size_t in_size = size_t(p.height) * p.width * p.channels, out_size = size_t(p.out_height) * p.out_width * p.channels;
    std::vector<double> part_sums(sums != nullptr ? size_t(parts) * blocks * lanes * 2 : 0);
    std::vector<float> gtaps(weight_gradient != nullptr ? size_t(parts) * blocks * taps * lanes : 0);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const T* input = data<T>(x);
        const T* gradient = data<T>(gy);
        T* output = want_input ? mutable_data<T>(gx) : nullptr;
        in_parallel(parts, [&](int64_t part) {
            std::vector<float> scratch(depthwise_scratch(p));
            for (int64_t i = share(images * blocks, parts, part); i < share(images * blocks, parts, part + 1); ++i) {
                const int64_t image = i / blocks, block = i % blocks, c = block * lanes;
                float image_sums[2 * 16] = {};
                of<T>(table).depthwise_backward(
                    p, int(std::min(lanes, p.channels - c)), input + image * in_size + c, gradient + image * out_size + c,
                    back.data() + block * taps * lanes, block_of(norm, c),
                    want_input ? output + image * in_size + c : nullptr, sums != nullptr ? image_sums : nullptr,
                    weight_gradient != nullptr ? gtaps.data() + (part * blocks + block) * taps * lanes : nullptr,
                    scratch.data());
                if (sums == nullptr) continue;
                double* to = part_sums.data() + (part * blocks + block) * 2 * lanes;
                for (int64_t k = 0; k < 2 * lanes; ++k) to[k] += image_sums[k];
            }
        });
    });
    if (sums != nullptr) *sums = gather_sums(part_sums, parts, p.channels, lanes);
    if (weight_gradient != nullptr) {
        *weight_gradient = at::empty({p.channels, 1, p.kernel, p.kernel}, at::kFloat);
        float* to = mutable_data<float>(*weight_gradient);
        for (int64_t c = 0; c < p.channels; ++c) {
            for (int64_t t = 0; t < taps; ++t) {
                float sum = 0;
                for (int64_t part = 0; part < parts; ++part) {
                    sum += gtaps[size_t(((part * blocks + c / lanes) * taps + t) * lanes + c % lanes)];
                }
                to[c * taps + t] = sum;
            }
        }
    }
    return gx;
}

namespace {
struct DepthwiseBackward : torch::autograd::Node {
    at::Tensor x;
    NormState norm;
    Parameter weight;
    int64_t stride = 1;

    std::string name() const override { return "OfaDepthwiseBackward"; }
    void release_variables() override { x.reset(); }
    torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
        TORCH_CHECK(x.defined(), "the backward pass of a depthwise convolution ran before");
        if (!gradients[0].defined()) return torch::autograd::variable_list(4);
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        at::Tensor fresh;
        std::vector<double> sums;
        const bool want_input = norm ? true : task_should_compute_output(0);
        const at::Tensor gx = depthwise_backward(x, weight.value, stride, norm.norm(), channels_last(gradients[0]),
                                                 want_input, norm ? &sums : nullptr,
                                                 weight.needs_gradient() ? &fresh : nullptr);
        torch::autograd::variable_list results{gx, fresh.defined() ? weight.deliver(fresh) : at::Tensor()};
        if (norm) norm.finish(x, gx, sums, gx, results);
        results.resize(4);
        return results;
    }
};
}  // namespace

Raw depthwise(const at::Tensor& map, const NormState& norm, const at::Tensor& weight, int64_t stride) {
    const Parameter parameter(weight);
    const at::Tensor x = channels_last(map.detach());
    Raw result;
    {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        std::vector<double> sums;
        result.map = depthwise_forward(x, parameter.value, stride, norm.norm(), &sums);
        result.statistics = statistics_of(sums, double(result.map.numel() / result.map.size(1)));
    }
    if (is_recorded({map}, parameter.needs_gradient() || norm.needs_gradient())) {
        auto node = new_node<DepthwiseBackward>();
        node->x = x;
        node->norm = norm;
        node->weight = parameter;
        node->stride = stride;
        torch::autograd::edge_list edges{torch::autograd::impl::gradient_edge(map), parameter.edge};
        norm.add_edges(edges);
        node->set_next_edges(std::move(edges));
        torch::autograd::set_history(result.map, node);
    }
    return result;
}
}  // namespace ofa
