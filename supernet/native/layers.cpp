#include "layers.h"

#include "gradients.h"

#include <torch/csrc/autograd/variable.h>

namespace ofa {

at::Tensor channels_last(const at::Tensor& map) { return map.contiguous(at::MemoryFormat::ChannelsLast); }

at::Tensor new_map(int64_t images, int64_t channels, int64_t height, int64_t width, at::ScalarType type) {
    return at::empty({images, channels, height, width}, at::TensorOptions(type), at::MemoryFormat::ChannelsLast);
}

Parameter::Parameter(const at::Tensor& tensor) {
    value = tensor.detach();
    if (!tensor.requires_grad() || !at::GradMode::is_enabled()) return;
    if (tensor.is_leaf()) {
        leaf = tensor;
    } else if (tensor.is_view() && tensor._base().is_leaf()) {
        leaf = tensor._base();
    } else {
        edge = torch::autograd::impl::gradient_edge(tensor);
    }
    GradientWatch* watch = GradientWatch::current();
    if (watch != nullptr && leaf.defined()) watch->expect(leaf);
}

at::Tensor Parameter::gradient() const {
    at::Tensor& whole = leaf.mutable_grad();
    if (!whole.defined()) whole = at::zeros_like(leaf.detach());
    // So the prefix lies in the gradient where it lies in the leaf.
    TORCH_CHECK(whole.is_contiguous() && leaf.is_contiguous(), "a weight and its gradient are contiguous");
    return whole.detach().as_strided(value.sizes(), value.strides(), value.storage_offset() - leaf.storage_offset());
}

at::Tensor Parameter::deliver(const at::Tensor& fresh) const {
    if (leaf.defined()) {
        gradient().add_(fresh);
        if (GradientWatch* watch = GradientWatch::current()) watch->arrived(leaf);
        return {};
    }
    return edge.is_valid() ? fresh : at::Tensor();
}
}  // namespace ofa
