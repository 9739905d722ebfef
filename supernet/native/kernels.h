// The arithmetic of training on the CPU, one table of functions for each instruction set.
//
// Feature maps are channels-last: element (n, y, x, c) of an [N, C, H, W] tensor lies at ((n·H + y)·W + x)·C + c. They
// are float or bfloat16; everything else is float, and so are all sums. No function here allocates, throws or starts a
// thread: `layers.cpp` divides the work.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ofa {

struct Bf16 {
    uint16_t bits;
};

enum class Activation : int { None = 0, Relu = 1, Relu6 = 2, HardSwish = 3 };

// Batch norm and activation on the way into a layer: a(x·scale + shift), per channel. `scale` null: the input as it is.
struct Norm {
    const float* scale = nullptr;
    const float* shift = nullptr;
    const float* mean = nullptr;  // only for the sums of the backward pass
    Activation activation = Activation::None;
};

// A depthwise convolution of one image.
struct Plane {
    int height, width, out_height, out_width;
    int channels;  // of a pixel in memory
    int kernel, stride, padding;
};

template <class T>
struct FeatureMapKernels {
    // One image, one block of channels, `n` of them used. `taps` is [kernel·kernel][lanes]. `sums` [2][lanes] gets the
    // sum and the sum of squares of the output added. `scratch` holds `depthwise_scratch` floats.
    void (*depthwise_forward)(const Plane&, int n, const T* x, const float* taps, const Norm&, T* y, float* sums,
                              float* scratch);
    // Gradients from that of the output: `gx` (may be null) is that of the input before its batch norm's affine map,
    // i.e. already times the activation's derivative; `sums` [2][lanes] gets its sum and its sum times (x - mean)
    // added; `gtaps` [kernel·kernel][lanes] gets the gradient of the taps added. `back_taps` is as
    // `arrange_back_taps` makes it.
    void (*depthwise_backward)(const Plane&, int n, const T* x, const T* gy, const float* back_taps, const Norm&,
                               T* gx, float* sums, float* gtaps, float* scratch);
    // Sum and sum of squares of each channel of `rows` pixels, added to `sums` [2][channels].
    void (*statistics)(size_t rows, int channels, const T* x, float* sums);
    // y = a(x·scale + shift)·gate + residual; gate [channels] and residual may be null.
    void (*normalise)(size_t rows, int channels, const T* x, const Norm&, const float* gate, const T* residual, T* y);
    // With g the gradient of a(x·scale + shift) (null: zero): gx = (g·gate + extra)·a'(x·scale + shift), gate and extra [channels]
    // or null; its sum and its sum times (x - mean) are added to `sums` [2][channels].
    void (*normalise_backward)(size_t rows, int channels, const T* x, const T* g, const Norm&, const float* gate,
                               const float* extra, T* gx, float* sums);
    // gx = g·a + x·b + c per channel: what batch norm's own statistics add to a gradient. gx may be g.
    void (*affine)(size_t rows, int channels, const T* g, const T* x, const float* a, const float* b, const float* c,
                   T* gx);
    // Floats of `pack`.
    size_t (*packed_size)(int inner, int columns);
    // The right operand of `multiply`: element (i, c) is w[i·inner_stride + c·column_stride].
    void (*pack)(int inner, int columns, const float* w, size_t inner_stride, size_t column_stride, float* packed);
    // y [rows][columns] = x [rows][inner] · packed; the sum and the sum of squares of each column are added to `sums`
    // [2][columns] where not null. `scratch` holds rows·(inner + 1) floats.
    void (*multiply)(size_t rows, int inner, int columns, const T* x, const float* packed, T* y, float* sums,
                     float* scratch);
    // Floats of scratch memory for `add_outer`, and columns of its result: `right` rounded up to whole registers.
    size_t (*outer_scratch)(size_t rows, int left, int right);
    // c [left][columns] += gᵀ·z over rows, with g [rows][left] and z [rows][right] = a(x·scale + shift)·gate. `gates`
    // (may be null) has a row for each image of `image_rows` rows, which has to be even unless all rows are of one
    // image; `first_row` is the place of the first in the batch.
    void (*add_outer)(size_t rows, int left, int right, const T* g, const T* x, const Norm&, const float* gates,
                      size_t image_rows, size_t first_row, float* c, float* scratch);
    // Sum of a(x·scale + shift), or of its product with g where g is not null, added to `sum` [channels].
    void (*pool)(size_t rows, int channels, const T* x, const Norm&, const T* g, float* sum);
};

struct Kernels {
    const char* name;
    int lanes;
    FeatureMapKernels<float> f32;
    FeatureMapKernels<Bf16> bf16;
    // Taps of one block for the gradient of the input, from [kernel·kernel][lanes] to as many floats.
    void (*arrange_back_taps)(int kernel, int stride, const float* taps, float* back_taps);
    // g = scale·g + decay·w; v = momentum·v + g; w -= rate·(g + momentum·v); g = 0. `g` may be null: zero. `average`, where not
    // null, moves by (1 - average_decay) towards w.
    void (*sgd)(size_t count, float* w, float* v, float* g, float scale, float rate, float momentum, float decay,
                float* average, float average_decay);
};

// Floats of scratch memory that either pass of a depthwise convolution needs, for any instruction set.
size_t depthwise_scratch(const Plane& plane);

template <class T>
inline const FeatureMapKernels<T>& of(const Kernels& kernels);
template <>
inline const FeatureMapKernels<float>& of<float>(const Kernels& kernels) {
    return kernels.f32;
}
template <>
inline const FeatureMapKernels<Bf16>& of<Bf16>(const Kernels& kernels) {
    return kernels.bf16;
}

extern const Kernels portable_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const Kernels avx512bf16_kernels;
#endif

// The fastest that this processor runs, or the one that the environment variable OFA_KERNELS names (`avx512bf16`, `avx512`,
// `avx2`, `portable`). Throws where that is not one which runs here.
const Kernels& kernels();
// The table of this name if this processor runs it, else null. For tests.
const Kernels* kernels_named(const char* name);
// From now on `kernels()` is this table where this thread asks. For tests.
void use_kernels(const Kernels* table);

}  // namespace ofa
