// What the files of this folder that know LibTorch share.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <vector>

#include "kernels.h"

namespace ofa {

template <class T>
constexpr at::ScalarType scalar_type = at::kFloat;
template <>
constexpr at::ScalarType scalar_type<Bf16> = at::kBFloat16;

template <class T>
inline const T* data(const at::Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
inline T* mutable_data(const at::Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls `f` with a null pointer of the element type of a feature map: float or Bf16.
template <class F>
inline auto with_element(const at::Tensor& map, F f) {
    if (map.scalar_type() == at::kBFloat16) return f(static_cast<Bf16*>(nullptr));
    TORCH_CHECK(map.scalar_type() == at::kFloat, "a feature map is float32 or bfloat16, not ", map.scalar_type());
    return f(static_cast<float*>(nullptr));
}

// A feature map in the layout that the kernels read; no copy where it already is.
at::Tensor channels_last(const at::Tensor& map);
// A fresh one.
at::Tensor new_map(int64_t images, int64_t channels, int64_t height, int64_t width, at::ScalarType type);

// The share of thread `part` of `parts` of `count` items: [begin, end).
inline int64_t share(int64_t count, int64_t parts, int64_t part) { return count * part / parts; }

// f(part) for every part in [0, parts), on as many threads. What a part does depends on its number alone, so results
// are the same in every run with the same number of threads.
template <class F>
inline void in_parallel(int64_t parts, F f) {
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; ++part) f(part);
    });
}

inline int64_t parts_for(int64_t items) { return std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), items)); }

// A trained tensor as a layer uses it: all or a prefix of a leaf, or the result of a computation.
//
// The gradient of a prefix is added straight to the leaf's: autograd would fill a tensor of the leaf's full size with
// zeros, copy the prefix there and add it up, for every subnet of a step.
struct Parameter {
    at::Tensor value;  // detached
    at::Tensor leaf;   // undefined: the gradient goes along `edge`, or nowhere
    torch::autograd::Edge edge;

    Parameter() = default;
    explicit Parameter(const at::Tensor& tensor);
    bool needs_gradient() const { return leaf.defined() || edge.is_valid(); }
    // Where the gradient accumulates, of the value's shape and strides; only with a leaf.
    at::Tensor gradient() const;
    // Adds `fresh` (of the value's shape) to the leaf's gradient, or returns it for the edge.
    at::Tensor deliver(const at::Tensor& fresh) const;
};

template <class N>
std::shared_ptr<N> new_node() {
    return std::shared_ptr<N>(new N(), torch::autograd::deleteNode);
}

// Whether autograd has to know of a function of these tensors (some may be undefined) and parameters.
inline bool is_recorded(std::initializer_list<at::Tensor> tensors, bool parameter_needs_gradient) {
    if (!at::GradMode::is_enabled()) return false;
    bool needed = parameter_needs_gradient;
    for (const at::Tensor& tensor : tensors) needed |= tensor.defined() && tensor.requires_grad();
    return needed;
}
}  // namespace ofa
