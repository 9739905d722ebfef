#pragma once

#include "layers.h"

namespace ofa {

// A weight, its momentum and its gradient (null: zero), as plain memory.
struct SgdSlot {
    float* weight;
    float* velocity;
    float* gradient;
    float* average;  // or null
    float decay;
    int64_t count;
};

// See `Kernels::sgd`; each gradient is zero afterwards.
void sgd(const std::vector<SgdSlot>& slots, float scale, float rate, float momentum, float average_decay);
}  // namespace ofa
