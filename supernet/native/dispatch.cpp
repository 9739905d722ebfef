// Chooses the kernels at run time.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace ofa {
namespace {
thread_local const Kernels* used_here = nullptr;

const Kernels* fastest() {
#if defined(__x86_64__)
    for (const char* name : {"avx512bf16", "avx512", "avx2"}) {
        if (const Kernels* table = kernels_named(name)) return table;
    }
#endif
    return &portable_kernels;
}
}  // namespace

const Kernels* kernels_named(const char* name) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (avx512bf16 && std::strcmp(name, "avx512bf16") == 0) return &avx512bf16_kernels;
    if (avx512 && std::strcmp(name, "avx512") == 0) return &avx512_kernels;
    if (avx2 && std::strcmp(name, "avx2") == 0) return &avx2_kernels;
#endif
    return std::strcmp(name, "portable") == 0 ? &portable_kernels : nullptr;
}

const Kernels& kernels() {
    static const Kernels& chosen = []() -> const Kernels& {
        const char* name = std::getenv("OFA_KERNELS");
        if (name == nullptr || *name == '\0') return *fastest();
        if (const Kernels* table = kernels_named(name)) return *table;
        throw std::invalid_argument(std::string("this processor has no kernels `") + name + "` (OFA_KERNELS)");
    }();
    return used_here != nullptr ? *used_here : chosen;
}

void use_kernels(const Kernels* table) { used_here = table; }

size_t depthwise_scratch(const Plane& p) {
    // The widest block and tile of any instruction set.
    constexpr size_t lanes = 16, tile = 16;
    const size_t kernel = size_t(p.kernel), stride = size_t(p.stride);
    const size_t out = size_t(p.out_width) + tile;
    const size_t input_row = std::max(out * stride + kernel, size_t(p.padding) + size_t(p.width));
    const size_t gradient_row = kernel + std::max(out, (size_t(p.width) + size_t(p.padding)) / stride + 1) + tile;
    return lanes * (kernel * std::max(input_row, gradient_row) + out);
}
}  // namespace ofa
