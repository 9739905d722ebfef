#include "gradients.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <unordered_set>
#include <utility>

namespace ofa {
namespace {
thread_local GradientWatch* watching = nullptr;

// Autograd has added all that it adds to a leaf's gradient in this pass.
struct Accumulated final : torch::autograd::PostAccumulateGradHook {
    explicit Accumulated(GradientWatch* watch) : watch(watch) {}
    void operator()(const torch::autograd::Variable& leaf) override { watch->arrived(leaf); }
    GradientWatch* watch;
};

// The leaves whose gradients autograd itself adds up in the backward pass of `loss`.
std::vector<at::Tensor> accumulated_by(const at::Tensor& loss) {
    std::vector<at::Tensor> leaves;
    std::unordered_set<torch::autograd::Node*> seen;
    std::vector<torch::autograd::Node*> left{loss.grad_fn().get()};
    while (!left.empty()) {
        torch::autograd::Node* node = left.back();
        left.pop_back();
        if (node == nullptr || !seen.insert(node).second) continue;
        if (auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(node)) leaves.push_back(leaf->variable);
        for (const torch::autograd::Edge& edge : node->next_edges()) left.push_back(edge.function.get());
    }
    return leaves;
}
}  // namespace

GradientWatch::GradientWatch(std::vector<at::Tensor> weights) : weights_(std::move(weights)) {
    for (size_t i = 0; i < weights_.size(); ++i) slots_[weights_[i].unsafeGetTensorImpl()] = {i};
    watching = this;
}

GradientWatch::~GradientWatch() { watching = nullptr; }

GradientWatch* GradientWatch::current() { return watching; }

void GradientWatch::expect(const at::Tensor& leaf) {
    const auto slot = slots_.find(leaf.unsafeGetTensorImpl());
    if (slot != slots_.end()) ++slot->second.left;
}

void GradientWatch::arrived(const at::Tensor& leaf) {
    const auto slot = slots_.find(leaf.unsafeGetTensorImpl());
    if (slot != slots_.end() && --slot->second.left == 0 && heard_ != nullptr) heard_(context_, slot->second.weight);
}

void GradientWatch::backward(const at::Tensor& loss, Heard heard, void* context) {
    const std::vector<at::Tensor> leaves = accumulated_by(loss);
    for (const at::Tensor& leaf : leaves) expect(leaf);
    for (const auto& [leaf, slot] : slots_) {
        if (slot.left == 0) heard(context, slot.weight);
    }
    heard_ = heard;
    context_ = context;
    struct Hooks {
        explicit Hooks(GradientWatch* watch, const std::vector<at::Tensor>& leaves) : leaves(leaves) {
            for (const at::Tensor& leaf : leaves) {
                torch::autograd::impl::set_post_acc_grad_hooks(leaf, std::make_unique<Accumulated>(watch));
            }
        }
        ~Hooks() {
            for (const at::Tensor& leaf : leaves) torch::autograd::impl::set_post_acc_grad_hooks(leaf, nullptr);
        }
        const std::vector<at::Tensor>& leaves;
    } hooks(this, leaves);
    loss.backward();
    heard_ = nullptr;
}
}  // namespace ofa
