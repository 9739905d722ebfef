// When the gradient of a weight is complete within a backward pass, so that it can travel while others are computed.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <unordered_map>
#include <vector>

namespace ofa {
// Called with the context that it was given and a weight's place.
using Heard = void (*)(void* context, size_t weight);

// Watches the gradients of some leaves through one forward and one backward pass of this thread. A leaf's gradient comes
// from the kernels of this folder, which add to it directly (`Parameter`), from autograd, or from both; each way is
// counted forwards, so that the last arrival is known.
class GradientWatch {
  public:
    explicit GradientWatch(std::vector<at::Tensor> weights);
    ~GradientWatch();
    GradientWatch(const GradientWatch&) = delete;
    GradientWatch& operator=(const GradientWatch&) = delete;

    // The backward pass. `heard` is called once for each weight, as soon as nothing is added to its gradient any more; for
    // those that take no part before anything is computed.
    void backward(const at::Tensor& loss, Heard heard, void* context);

    // A kernel will add to this leaf's gradient, or has done so.
    void expect(const at::Tensor& leaf);
    void arrived(const at::Tensor& leaf);

    // That of this thread, or null.
    static GradientWatch* current();

  private:
    struct Slot {
        size_t weight;
        int64_t left = 0;
    };
    std::vector<at::Tensor> weights_;
    std::unordered_map<const c10::TensorImpl*, Slot> slots_;
    Heard heard_ = nullptr;
    void* context_ = nullptr;
};
}  // namespace ofa
