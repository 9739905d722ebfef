// The kernels of one instruction set. Included by `kernels_*.cpp`, each compiled with its own flags.
//
// Depthwise convolution (forward; Zhang et al. 2020, "High performance depthwise and pointwise convolutions", uses the
// same blocking on Arm): one block of LANES channels of one image at a time. Rows of the input are widened, normalised
// and activated once into a ring of `kernel` zero-padded rows, which stays in the first-level cache; a row of taps and a
// tile of outputs stay in registers. The gradient of the input is a forward pass per phase of the stride, with the taps
// that meet that phase, reversed. The gradient of the weight keeps a row of taps as accumulators.
#include <algorithm>
#include <type_traits>

#include "vector.h"

namespace {
using ofa::Activation;
using ofa::Norm;
using ofa::Plane;

template <Activation A>
OFA_INLINE V activated(V x) {
    if constexpr (A == Activation::Relu) return larger(x, all(0));
    if constexpr (A == Activation::Relu6) return smaller(larger(x, all(0)), all(6));
    if constexpr (A == Activation::HardSwish) {
        return x * (smaller(larger(x + all(3), all(0)), all(6)) * all(1.0f / 6));
    }
    return x;
}

// The derivative, at its kinks as LibTorch has it.
template <Activation A>
OFA_INLINE V slope(V x) {
    if constexpr (A == Activation::Relu) return where_greater(x, all(0), all(1), all(0));
    if constexpr (A == Activation::Relu6) {
        return where_greater(x, all(0), where_greater(all(6), x, all(1), all(0)), all(0));
    }
    if constexpr (A == Activation::HardSwish) {
        const V inner = fma(x, all(1.0f / 3), all(0.5f));
        return where_greater(all(-3), x, all(0), where_greater(x, all(3), all(1), inner));
    }
    return all(1);
}

// Calls `f` with the activation as a constant.
template <class F>
OFA_INLINE void with(Activation activation, F f) {
    switch (activation) {
        case Activation::None: return f(std::integral_constant<Activation, Activation::None>());
        case Activation::Relu: return f(std::integral_constant<Activation, Activation::Relu>());
        case Activation::Relu6: return f(std::integral_constant<Activation, Activation::Relu6>());
        case Activation::HardSwish: return f(std::integral_constant<Activation, Activation::HardSwish>());
    }
}

// One row of `width` pixels, as floats; identity where there is no norm.
template <class T>
inline void load_row(const T* x, int width, int channels, int n, const Norm& norm, float* row) {
    if (norm.scale == nullptr) {
        for (int i = 0; i < width; ++i) store(row + size_t(i) * LANES, load_block(x + size_t(i) * channels, n));
        return;
    }
    const V scale = load_block(norm.scale, n), shift = load_block(norm.shift, n);
    with(norm.activation, [&](auto a) {
        for (int i = 0; i < width; ++i) {
            const V value = fma(load_block(x + size_t(i) * channels, n), scale, shift);
            store(row + size_t(i) * LANES, activated<decltype(a)::value>(value));
        }
    });
}

// Outputs that are computed together.
template <int K>
constexpr int TILE = LANES == 16 ? 8 : 4;

constexpr int padded(int count, int tile) { return (count + tile - 1) / tile * tile; }

// TILE outputs from `count` pairs of a row and its taps; K taps each (0: `kernel`), S apart (0: `stride`).
template <int K, int S>
OFA_INLINE void convolve(const float* const* rows, const float* const* taps, int count, size_t offset, int kernel,
                         int stride, V* out) {
    constexpr int N = TILE<K>;
    V sum[N];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) sum[i] = all(0);
    for (int r = 0; r < count; ++r) {
        const float* row = rows[r] + offset;
        if constexpr (K > 0) {
            V tap[K > 0 ? K : 1];
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) tap[k] = load(taps[r] + k * LANES);
#pragma GCC unroll 32
            for (int j = 0; j < (N - 1) * S + K; ++j) {
                const V x = load(row + j * LANES);
#pragma GCC unroll 16
                for (int k = 0; k < K; ++k) {
                    if (j >= k && (j - k) % S == 0 && (j - k) / S < N) {
                        sum[(j - k) / S] = fma(x, tap[k], sum[(j - k) / S]);
                    }
                }
            }
        } else {
            for (int k = 0; k < kernel; ++k) {
                const V tap = load(taps[r] + size_t(k) * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < N; ++i) {
                    sum[i] = fma(load(row + (size_t(i) * stride + k) * LANES), tap, sum[i]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) out[i] = sum[i];
}

constexpr int MOST_ROWS = 64;

// Columns of a padded row of the input.
inline int input_columns(const Plane& p, int tile) {
    return std::max((padded(p.out_width, tile) - 1) * p.stride + p.kernel, p.padding + p.width);
}

template <class T, int K, int S>
void forward(const Plane& p, int n, const T* x, const float* taps, const Norm& norm, T* y, float* sums,
             float* scratch) {
    constexpr int N = TILE<K>;
    const int kernel = K > 0 ? K : p.kernel, stride = K > 0 ? S : p.stride;
    const size_t row_size = size_t(input_columns(p, N)) * LANES;
    std::memset(scratch, 0, size_t(kernel) * row_size * sizeof(float));
    const float* rows[MOST_ROWS];
    const float* row_taps[MOST_ROWS];
    int loaded = 0;
    V sum = all(0), squares = all(0);
    for (int oy = 0; oy < p.out_height; ++oy) {
        const int top = oy * stride - p.padding;
        const int first = std::max(0, -top), end = std::min(kernel, p.height - top);
        for (loaded = std::max(loaded, top); loaded < std::min(p.height, top + kernel); ++loaded) {
            float* row = scratch + size_t(loaded % kernel) * row_size + size_t(p.padding) * LANES;
            load_row(x + size_t(loaded) * p.width * p.channels, p.width, p.channels, n, norm, row);
        }
        int count = 0;
        for (int k = first; k < end; ++k, ++count) {
            rows[count] = scratch + size_t((top + k) % kernel) * row_size;
            row_taps[count] = taps + size_t(k) * kernel * LANES;
        }
        V row_sum = all(0), row_squares = all(0);
        T* out = y + size_t(oy) * p.out_width * p.channels;
        for (int ox = 0; ox < p.out_width; ox += N) {
            V tile[N];
            convolve<K, S>(rows, row_taps, count, size_t(ox) * stride * LANES, kernel, stride, tile);
            const int valid = std::min(N, p.out_width - ox);
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) {
                if (i < valid) {
                    const V value = as_stored(tile[i], y);
                    store_block(out + size_t(ox + i) * p.channels, tile[i], n);
                    row_sum = row_sum + value;
                    row_squares = fma(value, value, row_squares);
                }
            }
        }
        sum = sum + row_sum;
        squares = squares + row_squares;
    }
    if (sums != nullptr) {
        store(sums, load(sums) + sum);
        store(sums + LANES, load(sums + LANES) + squares);
    }
}

// Adds one row of the output's gradient times one row of the input to a row of taps' gradients.
template <int K, int S>
OFA_INLINE void correlate(const float* row, const float* g, int tiles, int kernel, int stride, float* gtaps) {
    constexpr int N = TILE<K>;
    if constexpr (K > 0) {
        V sum[K > 0 ? K : 1];
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) sum[k] = load(gtaps + k * LANES);
        for (int t = 0; t < tiles; ++t, row += N * S * LANES, g += N * LANES) {
            V part[N];
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) part[i] = load(g + i * LANES);
#pragma GCC unroll 32
            for (int j = 0; j < (N - 1) * S + K; ++j) {
                const V x = load(row + j * LANES);
#pragma GCC unroll 16
                for (int k = 0; k < K; ++k) {
                    if (j >= k && (j - k) % S == 0 && (j - k) / S < N) sum[k] = fma(x, part[(j - k) / S], sum[k]);
                }
            }
        }
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) store(gtaps + k * LANES, sum[k]);
    } else {
        for (int k = 0; k < kernel; ++k) {
            V sum = load(gtaps + size_t(k) * LANES);
            for (int i = 0; i < tiles * N; ++i) {
                sum = fma(load(row + (size_t(i) * stride + k) * LANES), load(g + size_t(i) * LANES), sum);
            }
            store(gtaps + size_t(k) * LANES, sum);
        }
    }
}

constexpr int phase_taps(int kernel, int stride, int phase) { return phase < kernel ? (kernel - phase - 1) / stride + 1 : 0; }

// [ky][phase][taps of that phase, last first]: input column x meets taps k ≡ x + padding (mod stride).
void arrange_back_taps(int kernel, int stride, const float* taps, float* back_taps) {
    for (int ky = 0; ky < kernel; ++ky) {
        for (int phase = 0; phase < stride; ++phase) {
            for (int t = phase_taps(kernel, stride, phase) - 1; t >= 0; --t) {
                const int kx = phase + t * stride;
                std::memcpy(back_taps, taps + size_t(ky * kernel + kx) * LANES, LANES * sizeof(float));
                back_taps += LANES;
            }
        }
    }
}

// Columns before the first of a padded row of the output's gradient, and all of them.
inline int gradient_margin(const Plane& p) { return std::max(0, (p.kernel - 1 - p.padding + p.stride - 1) / p.stride); }
inline int gradient_columns(const Plane& p, int tile) {
    const int last = (p.width - 1 + p.padding) / p.stride;
    return gradient_margin(p) + std::max(p.out_width, last + 1) + tile;
}

// One phase of one row of the input's gradient.
template <class T, int K>
OFA_INLINE void gradient_phase(const Plane& p, int n, const float* const* rows, const float* const* taps, int count,
                               int phase, int kernel, const T* x, const Norm& norm, T* gx, V& sum, V& products) {
    constexpr int N = TILE<K>;
    // The first column of this phase, and where its taps begin in a padded row.
    const int start = ((phase - p.padding) % p.stride + p.stride) % p.stride;
    const int begin = (start + p.padding - phase) / p.stride - (kernel - 1) + gradient_margin(p);
    const int columns = start < p.width ? (p.width - start - 1) / p.stride + 1 : 0;
    const bool has_norm = norm.scale != nullptr;
    const V scale = has_norm ? load_block(norm.scale, n) : all(1), shift = has_norm ? load_block(norm.shift, n) : all(0);
    const V mean = has_norm ? load_block(norm.mean, n) : all(0);
    with(has_norm ? norm.activation : Activation::None, [&](auto a) {
        for (int u = 0; u < columns; u += N) {
            V tile[N];
            convolve<K, 1>(rows, taps, count, size_t(begin + u) * LANES, kernel, 1, tile);
            const int valid = std::min(N, columns - u);
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) {
                if (i < valid) {
                    const size_t at = (size_t(start) + size_t(u + i) * p.stride) * p.channels;
                    if (has_norm) {
                        const V input = load_block(x + at, n);
                        const V g = tile[i] * slope<decltype(a)::value>(fma(input, scale, shift));
                        store_block(gx + at, g, n);
                        const V kept = as_stored(g, gx);
                        sum = sum + kept;
                        products = fma(kept, input - mean, products);
                    } else {
                        store_block(gx + at, tile[i], n);
                    }
                }
            }
        }
    });
}

template <class T, int K, int S>
void backward(const Plane& p, int n, const T* x, const T* gy, const float* back_taps, const Norm& norm, T* gx,
              float* sums, float* gtaps, float* scratch) {
    constexpr int N = TILE<K>;
    const int kernel = K > 0 ? K : p.kernel, stride = K > 0 ? S : p.stride;
    if (gtaps != nullptr) {
        const size_t row_size = size_t(input_columns(p, N)) * LANES;
        const size_t g_size = size_t(padded(p.out_width, N)) * LANES;
        float* g = scratch + size_t(kernel) * row_size;
        std::memset(scratch, 0, (size_t(kernel) * row_size + g_size) * sizeof(float));
        int loaded = 0;
        for (int oy = 0; oy < p.out_height; ++oy) {
            const int top = oy * stride - p.padding;
            const int first = std::max(0, -top), end = std::min(kernel, p.height - top);
            for (loaded = std::max(loaded, top); loaded < std::min(p.height, top + kernel); ++loaded) {
                float* row = scratch + size_t(loaded % kernel) * row_size + size_t(p.padding) * LANES;
                load_row(x + size_t(loaded) * p.width * p.channels, p.width, p.channels, n, norm, row);
            }
            load_row(gy + size_t(oy) * p.out_width * p.channels, p.out_width, p.channels, n, Norm(), g);
            for (int k = first; k < end; ++k) {
                correlate<K, S>(scratch + size_t((top + k) % kernel) * row_size, g, padded(p.out_width, N) / N, kernel,
                                stride, gtaps + size_t(k) * kernel * LANES);
            }
        }
    }
    if (gx == nullptr) return;
    const size_t row_size = size_t(gradient_columns(p, 16)) * LANES;
    std::memset(scratch, 0, size_t(kernel) * row_size * sizeof(float));
    const float* rows[MOST_ROWS];
    const float* row_taps[MOST_ROWS];
    int loaded = 0;
    V sum = all(0), products = all(0);
    for (int y = 0; y < p.height; ++y) {
        const int bottom = std::min(p.out_height - 1, (y + p.padding) / stride);
        for (; loaded <= bottom; ++loaded) {
            float* row = scratch + size_t(loaded % kernel) * row_size + size_t(gradient_margin(p)) * LANES;
            load_row(gy + size_t(loaded) * p.out_width * p.channels, p.out_width, p.channels, n, Norm(), row);
        }
        V row_sum = all(0), row_products = all(0);
        const T* in = x + size_t(y) * p.width * p.channels;
        T* out = gx + size_t(y) * p.width * p.channels;
        int before = 0;
        for (int phase = 0; phase < stride; ++phase) {
            int count = 0;
            for (int k = (y + p.padding) % stride; k < kernel; k += stride) {
                const int oy = (y + p.padding - k) / stride;
                if (y + p.padding < k || oy >= p.out_height) continue;
                rows[count] = scratch + size_t(oy % kernel) * row_size;
                row_taps[count++] = back_taps + size_t(k * kernel + before) * LANES;
            }
            const int taps = phase_taps(kernel, stride, phase);
            before += taps;
            if constexpr (K > 0 && S == 1) {
                gradient_phase<T, K>(p, n, rows, row_taps, count, phase, K, in, norm, out, row_sum, row_products);
            } else if constexpr (K > 0 && S == 2) {
                if (phase == 0) {
                    constexpr int E = (K + 1) / 2;
                    gradient_phase<T, E>(p, n, rows, row_taps, count, 0, E, in, norm, out, row_sum, row_products);
                } else {
                    constexpr int E = K / 2;
                    gradient_phase<T, E>(p, n, rows, row_taps, count, 1, E, in, norm, out, row_sum, row_products);
                }
            } else {
                gradient_phase<T, 0>(p, n, rows, row_taps, count, phase, taps, in, norm, out, row_sum, row_products);
            }
        }
        sum = sum + row_sum;
        products = products + row_products;
    }
    if (sums != nullptr) {
        store(sums, load(sums) + sum);
        store(sums + LANES, load(sums + LANES) + products);
    }
}

template <class T>
void depthwise_forward(const Plane& p, int n, const T* x, const float* taps, const Norm& norm, T* y, float* sums,
                       float* scratch) {
    const int s = p.stride;
    if (p.kernel == 3 && s == 1) return forward<T, 3, 1>(p, n, x, taps, norm, y, sums, scratch);
    if (p.kernel == 3 && s == 2) return forward<T, 3, 2>(p, n, x, taps, norm, y, sums, scratch);
    if (p.kernel == 5 && s == 1) return forward<T, 5, 1>(p, n, x, taps, norm, y, sums, scratch);
    if (p.kernel == 5 && s == 2) return forward<T, 5, 2>(p, n, x, taps, norm, y, sums, scratch);
    if (p.kernel == 7 && s == 1) return forward<T, 7, 1>(p, n, x, taps, norm, y, sums, scratch);
    if (p.kernel == 7 && s == 2) return forward<T, 7, 2>(p, n, x, taps, norm, y, sums, scratch);
    forward<T, 0, 0>(p, n, x, taps, norm, y, sums, scratch);
}

template <class T>
void depthwise_backward(const Plane& p, int n, const T* x, const T* gy, const float* taps, const Norm& norm, T* gx,
                        float* sums, float* gtaps, float* scratch) {
    const int s = p.stride;
    if (p.kernel == 3 && s == 1) return backward<T, 3, 1>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    if (p.kernel == 3 && s == 2) return backward<T, 3, 2>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    if (p.kernel == 5 && s == 1) return backward<T, 5, 1>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    if (p.kernel == 5 && s == 2) return backward<T, 5, 2>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    if (p.kernel == 7 && s == 1) return backward<T, 7, 1>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    if (p.kernel == 7 && s == 2) return backward<T, 7, 2>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
    backward<T, 0, 0>(p, n, x, gy, taps, norm, gx, sums, gtaps, scratch);
}

// Blocks of channels of a row, each with the channels it uses.
template <class F>
OFA_INLINE void each_block(int channels, F f) {
    int c = 0;
    for (; c + LANES <= channels; c += LANES) f(c, std::integral_constant<int, LANES>());
    if (c < channels) f(c, channels - c);
}

// Rows are summed up in float this many at a time before they join the sums.
constexpr size_t SUMMED_ROWS = 64;

template <class T>
void statistics(size_t rows, int channels, const T* x, float* sums) {
    for (size_t begin = 0; begin < rows; begin += SUMMED_ROWS) {
        const size_t end = std::min(rows, begin + SUMMED_ROWS);
        each_block(channels, [&](int c, auto n) {
            V sum = all(0), squares = all(0);
            for (size_t r = begin; r < end; ++r) {
                const V value = load_block(x + r * channels + c, n);
                sum = sum + value;
                squares = fma(value, value, squares);
            }
            store_block(sums + c, load_block(sums + c, n) + sum, n);
            store_block(sums + channels + c, load_block(sums + channels + c, n) + squares, n);
        });
    }
}

template <class T>
void normalise(size_t rows, int channels, const T* x, const Norm& norm, const float* gate, const T* residual, T* y) {
    with(norm.activation, [&](auto a) {
        for (size_t r = 0; r < rows; ++r, x += channels, y += channels) {
            each_block(channels, [&](int c, auto n) {
                V value = load_block(x + c, n);
                if (norm.scale != nullptr) value = fma(value, load_block(norm.scale + c, n), load_block(norm.shift + c, n));
                value = activated<decltype(a)::value>(value);
                if (gate != nullptr) value = value * load_block(gate + c, n);
                if (residual != nullptr) value = value + load_block(residual + c, n);
                store_block(y + c, value, n);
            });
            if (residual != nullptr) residual += channels;
        }
    });
}

template <class T>
void normalise_backward(size_t rows, int channels, const T* x, const T* g, const Norm& norm, const float* gate,
                        const float* extra, T* gx, float* sums) {
    with(norm.activation, [&](auto a) {
        for (size_t begin = 0; begin < rows; begin += SUMMED_ROWS) {
            const size_t end = std::min(rows, begin + SUMMED_ROWS);
            each_block(channels, [&](int c, auto n) {
                const V scale = load_block(norm.scale + c, n), shift = load_block(norm.shift + c, n);
                const V mean = load_block(norm.mean + c, n);
                const V factor = gate != nullptr ? load_block(gate + c, n) : all(1);
                const V added = extra != nullptr ? load_block(extra + c, n) : all(0);
                V sum = all(0), products = all(0);
                for (size_t r = begin; r < end; ++r) {
                    const V input = load_block(x + r * channels + c, n);
                    V value = g != nullptr ? fma(load_block(g + r * channels + c, n), factor, added) : added;
                    value = value * slope<decltype(a)::value>(fma(input, scale, shift));
                    if (gx != nullptr) {
                        store_block(gx + r * channels + c, value, n);
                        value = as_stored(value, gx);
                    }
                    sum = sum + value;
                    products = fma(value, input - mean, products);
                }
                store_block(sums + c, load_block(sums + c, n) + sum, n);
                store_block(sums + channels + c, load_block(sums + channels + c, n) + products, n);
            });
        }
    });
}

template <class T>
void affine(size_t rows, int channels, const T* g, const T* x, const float* a, const float* b, const float* d, T* gx) {
    for (size_t r = 0; r < rows; ++r, g += channels, x += channels, gx += channels) {
        each_block(channels, [&](int c, auto n) {
            const V rest = fma(load_block(x + c, n), load_block(b + c, n), load_block(d + c, n));
            store_block(gx + c, fma(load_block(g + c, n), load_block(a + c, n), rest), n);
        });
    }
}

template <class T>
void pool(size_t rows, int channels, const T* x, const Norm& norm, const T* g, float* sum) {
    with(norm.activation, [&](auto a) {
        each_block(channels, [&](int c, auto n) {
            V total = all(0);
            const V scale = norm.scale != nullptr ? load_block(norm.scale + c, n) : all(1);
            const V shift = norm.scale != nullptr ? load_block(norm.shift + c, n) : all(0);
            for (size_t r = 0; r < rows; ++r) {
                V value = activated<decltype(a)::value>(fma(load_block(x + r * channels + c, n), scale, shift));
                if (g != nullptr) value = value * load_block(g + r * channels + c, n);
                total = total + value;
            }
            store_block(sum + c, load_block(sum + c, n) + total, n);
        });
    });
}

}  // namespace

#include "products.inl"

namespace {
void sgd(size_t count, float* w, float* v, float* g, float scale, float rate, float momentum, float decay,
         float* average, float average_decay) {
    const V scales = all(scale), rates = all(-rate), momenta = all(momentum), decays = all(decay), towards = all(1 - average_decay);
    for (size_t i = 0; i < count; i += LANES) {
        const int n = int(std::min(size_t(LANES), count - i));
        const V weight = load_block(w + i, n);
        const V gradient = fma(weight, decays, g != nullptr ? load_block(g + i, n) * scales : all(0));
        const V velocity = fma(load_block(v + i, n), momenta, gradient);
        const V updated = fma(fma(velocity, momenta, gradient), rates, weight);
        store_block(v + i, velocity, n);
        store_block(w + i, updated, n);
        if (g != nullptr) store_block(g + i, all(0), n);
        if (average != nullptr) {
            const V old = load_block(average + i, n);
            store_block(average + i, fma(updated - old, towards, old), n);
        }
    }
}

template <class T>
constexpr ofa::FeatureMapKernels<T> feature_map_kernels() {
    return {depthwise_forward<T>, depthwise_backward<T>, statistics<T>, normalise<T>,
            normalise_backward<T>, affine<T>, packed_size<T>, pack<T>, multiply<T>, outer_scratch<T>, add_outer<T>,
            pool<T>};
}
}  // namespace

namespace ofa {
extern const Kernels OFA_TABLE;
const Kernels OFA_TABLE = {OFA_NAME, LANES, feature_map_kernels<float>(), feature_map_kernels<Bf16>(),
                           arrange_back_taps, sgd};
}  // namespace ofa
