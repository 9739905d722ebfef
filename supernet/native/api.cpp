// What Rust calls. Tensors are pointers to `at::Tensor`, as in torch-sys; results are new ones, which the caller frees.
// No exception leaves: a function returns null, or a message that the caller frees with `ofa_free_message`.
#include <cstdlib>
#include <cstring>
#include <exception>

#include "depthwise.h"
#include "gradients.h"
#include "pointwise.h"
#include "sgd.h"
#include "store.h"

namespace {
char* message_of(const char* text) {
    const size_t size = std::strlen(text) + 1;
    char* copy = static_cast<char*>(std::malloc(size));
    if (copy != nullptr) std::memcpy(copy, text, size);
    return copy;
}

template <class F>
char* guarded(F f) {
    try {
        f();
        return nullptr;
    } catch (const c10::Error& error) {
        return message_of(error.what_without_backtrace());
    } catch (const std::exception& error) {
        return message_of(error.what());
    } catch (...) {
        return message_of("an exception that is no std::exception");
    }
}
}  // namespace

extern "C" {
struct OfaNorm;
}

namespace {
ofa::NormState state_of(const OfaNorm* norm);
void put(at::Tensor** out, const ofa::Raw& raw) {
    out[0] = new at::Tensor(raw.map);
    out[1] = new at::Tensor(raw.statistics);
}
}  // namespace

extern "C" {
void ofa_free_message(char* message) { std::free(message); }

// Whether this processor runs them.
bool ofa_has_kernels(const char* name) { return ofa::kernels_named(name) != nullptr; }

// For tests. False where this processor does not run them.
bool ofa_use_kernels(const char* name) {
    const ofa::Kernels* table = ofa::kernels_named(name);
    if (table != nullptr) ofa::use_kernels(table);
    return table != nullptr;
}

// Batch norm and activation of a layer's input; a null pointer to it: the input as it is.
struct OfaNorm {
    const at::Tensor* gamma;
    const at::Tensor* beta;
    const at::Tensor* statistics;
    double eps;
    int activation;
};

struct OfaSqueezeExcite {
    const at::Tensor* reduce_weight;
    const at::Tensor* reduce_bias;
    const at::Tensor* expand_weight;
    const at::Tensor* expand_bias;
};

// `out` gets the feature map and its statistics.
char* ofa_depthwise(at::Tensor** out, const at::Tensor* x, const OfaNorm* norm, const at::Tensor* weight,
                    int64_t stride) {
    return guarded([&] { put(out, ofa::depthwise(*x, state_of(norm), *weight, stride)); });
}

char* ofa_pointwise(at::Tensor** out, const at::Tensor* x, const OfaNorm* norm, const OfaSqueezeExcite* layer,
                    const at::Tensor* weight) {
    return guarded([&] {
        if (layer == nullptr) return put(out, ofa::pointwise(*x, state_of(norm), nullptr, *weight));
        const ofa::SqueezeExcite squeeze_excite{
            ofa::Parameter(*layer->reduce_weight), ofa::Parameter(*layer->reduce_bias),
            ofa::Parameter(*layer->expand_weight), ofa::Parameter(*layer->expand_bias)};
        put(out, ofa::pointwise(*x, state_of(norm), &squeeze_excite, *weight));
    });
}

// `residual` may be null.
char* ofa_normalise(at::Tensor** out, const at::Tensor* x, const OfaNorm* norm, const at::Tensor* residual) {
    return guarded([&] {
        *out = new at::Tensor(ofa::normalise(*x, state_of(norm), residual != nullptr ? *residual : at::Tensor()));
    });
}

char* ofa_average_pool(at::Tensor** out, const at::Tensor* x, const OfaNorm* norm) {
    return guarded([&] { *out = new at::Tensor(ofa::average_pool(*x, state_of(norm))); });
}

// In this thread; null: not any more.
void ofa_synchronise_statistics(ofa::SumOverRanks sum) { ofa::synchronise_statistics(sum); }

// From now on, in this thread, the gradients of these leaves; ended with `ofa_end_watch`.
char* ofa_watch_gradients(ofa::GradientWatch** out, size_t count, at::Tensor* const* weights) {
    return guarded([&] {
        std::vector<at::Tensor> leaves;
        for (size_t i = 0; i < count; ++i) leaves.push_back(*weights[i]);
        *out = new ofa::GradientWatch(std::move(leaves));
    });
}
char* ofa_watched_backward(ofa::GradientWatch* watch, const at::Tensor* loss, ofa::Heard heard, void* context) {
    return guarded([&] { watch->backward(*loss, heard, context); });
}
void ofa_end_watch(ofa::GradientWatch* watch) { delete watch; }

// A client of the store at this address, and the store itself where `serves`; freed with `ofa_close_store`.
char* ofa_open_store(ofa::Store** out, const char* host, uint16_t port, bool serves, int64_t seconds) {
    return guarded([&] { *out = ofa::open_store(host, port, serves, seconds); });
}
void ofa_close_store(ofa::Store* store) { ofa::close_store(store); }
char* ofa_store_set(ofa::Store* store, const char* key, const char* value) {
    return guarded([&] { ofa::store_set(store, key, value); });
}
// Waits until there is a value; the caller frees it with `ofa_free_message`.
char* ofa_store_get(char** out, ofa::Store* store, const char* key) {
    return guarded([&] { *out = message_of(ofa::store_get(store, key).c_str()); });
}

char* ofa_moments(at::Tensor** out, const at::Tensor* x, const at::Tensor* statistics) {
    return guarded([&] { *out = new at::Tensor(ofa::moments(*x, *statistics)); });
}

char* ofa_statistics(at::Tensor** out, const at::Tensor* x) {
    return guarded([&] { *out = new at::Tensor(ofa::statistics_of(*x)); });
}

// `gradients` and `averages` may hold null; `averages` may be null.
char* ofa_sgd(size_t count, at::Tensor* const* weights, at::Tensor* const* velocities, at::Tensor* const* averages,
              const float* decays, float scale, float rate, float momentum, float average_decay) {
    return guarded([&] {
        std::vector<ofa::SgdSlot> slots;
        for (size_t i = 0; i < count; ++i) {
            const at::Tensor &weight = *weights[i], &gradient = weight.grad();
            const auto pointer = [&](const at::Tensor& tensor) {
                TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.is_cpu() &&
                                tensor.numel() == weight.numel(),
                            "a weight and what belongs to it are contiguous, float32, on the CPU and of one size");
                return ofa::mutable_data<float>(tensor);
            };
            slots.push_back({pointer(weight), pointer(*velocities[i]), gradient.defined() ? pointer(gradient) : nullptr,
                             averages != nullptr && averages[i] != nullptr ? pointer(*averages[i]) : nullptr, decays[i],
                             weight.numel()});
        }
        ofa::sgd(slots, scale, rate, momentum, average_decay);
    });
}
}

namespace {
ofa::NormState state_of(const OfaNorm* norm) {
    if (norm == nullptr) return {};
    return {*norm->gamma, *norm->beta, *norm->statistics, norm->eps, ofa::Activation(norm->activation)};
}
}  // namespace
