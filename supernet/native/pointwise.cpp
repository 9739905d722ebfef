// 1×1 convolution, with the batch norm, activation and gate of its input applied on the way in.
#include "pointwise.h"

#include <optional>

namespace ofa {
namespace {
// Rows that one product takes at a time, so that what goes in stays in the second-level cache. A multiple of all tiles.
constexpr int64_t CHUNK = 96;

struct Shape {
    int64_t images, pixels, in, out;
    Shape(const at::Tensor& x, const at::Tensor& weight)
        : images(x.size(0)), pixels(x.size(2) * x.size(3)), in(x.size(1)), out(weight.size(0)) {
        TORCH_CHECK(weight.dim() == 4 && weight.size(1) == in && weight.size(2) == 1 && weight.size(3) == 1,
                    "a pointwise weight of ", weight.sizes(), " does not fit a feature map of ", x.sizes());
    }
    int64_t rows() const { return images * pixels; }
};

// f(offset in the chunk, rows, image) for each image of which the chunk has rows.
template <class F>
void each_image(int64_t first, int64_t rows, int64_t pixels, F f) {
    for (int64_t r = 0; r < rows;) {
        const int64_t image = (first + r) / pixels, end = std::min(rows, (image + 1) * pixels - first);
        f(r, end - r, image);
        r = end;
    }
}

template <class T>
std::vector<float> packed(const at::Tensor& weight, bool transposed) {
    const int inner = int(weight.size(transposed ? 0 : 1)), columns = int(weight.size(transposed ? 1 : 0));
    const size_t row = size_t(weight.stride(0)), column = size_t(weight.stride(1));
    std::vector<float> words(of<T>(kernels()).packed_size(inner, columns));
    of<T>(kernels()).pack(inner, columns, data<float>(weight), transposed ? row : column, transposed ? column : row,
                          words.data());
    return words;
}

at::Tensor forward(const at::Tensor& x, const Norm& norm, const at::Tensor& gates, const at::Tensor& weight,
                   std::vector<double>* sums) {
    const Shape s(x, weight);
    const at::Tensor y = new_map(s.images, s.out, x.size(2), x.size(3), x.scalar_type());
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const std::vector<float> words = packed<T>(weight, false);
        const T* input = data<T>(x);
        const float* gate = gates.defined() ? data<float>(gates) : nullptr;
        T* output = mutable_data<T>(y);
        *sums = sum_over_rows(s.rows(), CHUNK, s.out, [&](int64_t first, int64_t rows, float* to) {
            thread_local std::vector<float> scratch;
            scratch.resize(size_t(2 * CHUNK * (s.in + 1)));
            const T* from = input + first * s.in;
            if (norm.scale != nullptr) {
                T* ready = reinterpret_cast<T*>(scratch.data());
                each_image(first, rows, s.pixels, [&](int64_t r, int64_t count, int64_t image) {
                    table.normalise(size_t(count), int(s.in), from + r * s.in, norm,
                                    gate != nullptr ? gate + image * s.in : nullptr, nullptr, ready + r * s.in);
                });
                from = ready;
            }
            table.multiply(size_t(rows), int(s.in), int(s.out), from, words.data(), output + first * s.out, to,
                           scratch.data() + CHUNK * (s.in + 1));
        });
    });
    return y;
}

at::Tensor weight_gradient(const at::Tensor& x, const Norm& norm, const at::Tensor& gates, const at::Tensor& weight,
                           const at::Tensor& gy) {
    const Shape s(x, weight);
    at::Tensor result = at::empty({s.out, s.in, 1, 1}, at::kFloat);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const int64_t lanes = kernels().lanes, width = (s.in + lanes - 1) / lanes * lanes;
        // Longer chunks for smaller operands: the sums are read and written once for each.
        int64_t chunk = std::clamp<int64_t>((1 << 17) / (s.in + s.out) / 64 * 64, 64, 1024);
        const bool gated = gates.defined();
        if (gated && s.pixels % 2 != 0) chunk = s.pixels;
        const int64_t chunks = (s.rows() + chunk - 1) / chunk, parts = parts_for(chunks);
        std::vector<float> sums(size_t(parts * s.out * width));
        const T *input = data<T>(x), *gradient = data<T>(gy);
        const float* gate = gated ? data<float>(gates) : nullptr;
        in_parallel(parts, [&](int64_t part) {
            std::vector<float> scratch(table.outer_scratch(size_t(chunk), int(s.out), int(s.in)));
            for (int64_t i = share(chunks, parts, part); i < share(chunks, parts, part + 1); ++i) {
                const int64_t first = i * chunk, rows = std::min(chunk, s.rows() - first);
                table.add_outer(size_t(rows), int(s.out), int(s.in), gradient + first * s.out, input + first * s.in, norm,
                                gate, size_t(s.pixels), size_t(first), sums.data() + part * s.out * width,
                                scratch.data());
            }
        });
        float* to = mutable_data<float>(result);
        for (int64_t o = 0; o < s.out; ++o) {
            for (int64_t i = 0; i < s.in; ++i) {
                float sum = 0;
                for (int64_t part = 0; part < parts; ++part) sum += sums[size_t((part * s.out + o) * width + i)];
                to[o * s.in + i] = sum;
            }
        }
    });
    return result;
}

// The gradient of the input; with a norm that of x·scale + shift, and its sums.
at::Tensor input_gradient(const at::Tensor& x, const Norm& norm, const at::Tensor& weight, const at::Tensor& gy,
                          std::vector<double>* sums) {
    const Shape s(x, weight);
    const at::Tensor gx = at::empty_like(x);
    with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const std::vector<float> words = packed<T>(weight, true);
        const T *input = data<T>(x), *gradient = data<T>(gy);
        T* output = mutable_data<T>(gx);
        const auto totals = sum_over_rows(s.rows(), CHUNK, s.in, [&](int64_t first, int64_t rows, float* to) {
            thread_local std::vector<float> scratch;
            scratch.resize(size_t(CHUNK * (s.out + 1)));
            T* product = output + first * s.in;
            table.multiply(size_t(rows), int(s.out), int(s.in), gradient + first * s.out, words.data(), product, nullptr,
                           scratch.data());
            if (norm.scale != nullptr) {
                // While the product is in the cache.
                table.normalise_backward(size_t(rows), int(s.in), input + first * s.in, product, norm, nullptr, nullptr,
                                         product, to);
            }
        });
        if (sums != nullptr) *sums = totals;
    });
    return gx;
}

// Turns the gradient `gx` of the gated map into that of x·scale + shift, in place; gives its sums. `extra` [N, C] is the
// gradient that comes through the pooling.
std::vector<double> gate_gradient(const at::Tensor& x, const Norm& norm, const at::Tensor& gates,
                                  const at::Tensor& extra, const at::Tensor& gx) {
    const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3);
    return with_element(x, [&](auto* element) {
        using T = std::remove_pointer_t<decltype(element)>;
        const auto& table = of<T>(kernels());
        const T* input = data<T>(x);
        T* output = mutable_data<T>(gx);
        const float *gate = data<float>(gates), *added = data<float>(extra);
        return sum_over_rows(x.size(0) * pixels, pixels, channels, [&](int64_t first, int64_t rows, float* to) {
            const int64_t at = first * channels, row = first / pixels * channels;
            table.normalise_backward(size_t(rows), int(channels), input + at, output + at, norm, gate + row,
                                                added + row, output + at, to);
        });
    });
}

at::Tensor matrix(const at::Tensor& weight) { return weight.view({weight.size(0), weight.size(1)}); }

// The gates and what their backward pass needs.
struct Gates {
    at::Tensor pooled, hidden, logits, values;

    void compute(const at::Tensor& x, const Norm& norm, const SqueezeExcite& layer) {
        pooled = ofa::pooled(x, norm, at::Tensor()).div_(double(x.size(2) * x.size(3)));
        hidden = at::addmm(layer.reduce_bias.value, pooled, matrix(layer.reduce_weight.value).t()).relu_();
        logits = at::addmm(layer.expand_bias.value, hidden, matrix(layer.expand_weight.value).t());
        values = at::hardsigmoid(logits).contiguous();
    }

    // From the gradient of the gates to that of the pooled values; appends those of the weights.
    at::Tensor backward(const at::Tensor& gradient, const SqueezeExcite& layer,
                        torch::autograd::variable_list& results) const {
        const auto deliver = [](const Parameter& parameter, const at::Tensor& fresh) {
            return parameter.needs_gradient() ? parameter.deliver(fresh.view(parameter.value.sizes())) : at::Tensor();
        };
        const at::Tensor g_logits = at::hardsigmoid_backward(gradient, logits);
        const at::Tensor g_hidden = at::threshold_backward(at::mm(g_logits, matrix(layer.expand_weight.value)), hidden, 0);
        results.push_back(deliver(layer.reduce_weight, at::mm(g_hidden.t(), pooled)));
        results.push_back(deliver(layer.reduce_bias, g_hidden.sum(0)));
        results.push_back(deliver(layer.expand_weight, at::mm(g_logits.t(), hidden)));
        results.push_back(deliver(layer.expand_bias, g_logits.sum(0)));
        return at::mm(g_hidden, matrix(layer.reduce_weight.value));
    }
};

struct PointwiseBackward : torch::autograd::Node {
    at::Tensor x;
    NormState norm;
    Parameter weight;
    std::optional<SqueezeExcite> squeeze_excite;
    Gates gates;

    std::string name() const override { return "OfaPointwiseBackward"; }
    void release_variables() override {
        x.reset();
        gates = Gates();
    }
    torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
        TORCH_CHECK(x.defined(), "the backward pass of a pointwise convolution ran before");
        if (!gradients[0].defined()) return torch::autograd::variable_list(8);
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        const at::Tensor gy = channels_last(gradients[0]);
        torch::autograd::variable_list results(2), gate_results;
        if (weight.needs_gradient()) {
            results[1] = weight.deliver(weight_gradient(x, norm.norm(), gates.values, weight.value, gy));
        }
        std::vector<double> sums;
        if (squeeze_excite) {
            const at::Tensor gx = input_gradient(x, Norm(), weight.value, gy, nullptr);
            const at::Tensor g_gates = pooled(x, norm.norm(), gx);
            const at::Tensor g_pooled = gates.backward(g_gates, *squeeze_excite, gate_results);
            const at::Tensor extra = (g_pooled / double(x.size(2) * x.size(3))).contiguous();
            sums = gate_gradient(x, norm.norm(), gates.values, extra, gx);
            results[0] = gx;
        } else if (norm || task_should_compute_output(0)) {
            results[0] = input_gradient(x, norm.norm(), weight.value, gy, &sums);
        }
        if (norm) norm.finish(x, results[0], sums, results[0], results);
        results.resize(4);
        results.insert(results.end(), gate_results.begin(), gate_results.end());
        results.resize(8);
        return results;
    }
};
}  // namespace

Raw pointwise(const at::Tensor& map, const NormState& norm, const SqueezeExcite* squeeze_excite,
              const at::Tensor& weight) {
    TORCH_CHECK(squeeze_excite == nullptr || norm, "squeeze-excite follows a batch norm");
    const Parameter parameter(weight);
    const at::Tensor x = channels_last(map.detach());
    Raw result;
    Gates gates;
    {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        if (squeeze_excite != nullptr) gates.compute(x, norm.norm(), *squeeze_excite);
        std::vector<double> sums;
        result.map = forward(x, norm.norm(), gates.values, parameter.value, &sums);
        result.statistics = statistics_of(sums, double(result.map.numel() / result.map.size(1)));
    }
    const bool gates_need_gradient = squeeze_excite != nullptr && squeeze_excite->needs_gradient();
    if (is_recorded({map}, parameter.needs_gradient() || norm.needs_gradient() || gates_need_gradient)) {
        auto node = new_node<PointwiseBackward>();
        torch::autograd::edge_list edges{torch::autograd::impl::gradient_edge(map), parameter.edge};
        norm.add_edges(edges);
        if (squeeze_excite != nullptr) {
            node->squeeze_excite = *squeeze_excite;
            const SqueezeExcite& s = *squeeze_excite;
            for (const Parameter* each : {&s.reduce_weight, &s.reduce_bias, &s.expand_weight, &s.expand_bias}) {
                edges.push_back(each->edge);
            }
        }
        edges.resize(8);
        node->x = x;
        node->norm = norm;
        node->weight = parameter;
        node->gates = gates;
        node->set_next_edges(std::move(edges));
        torch::autograd::set_history(result.map, node);
    }
    return result;
}
}  // namespace ofa
