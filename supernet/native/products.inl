// Matrix products for 1×1 convolutions. Included by `kernels.inl`.
//
// Operands are made of words of 32 bits: a float, or, where the processor has the dot product, two bfloat16 that lie
// one after the other along the summed dimension. A tile of rows × vectors of sums stays in registers; the words of the
// left operand are broadcast from where they lie, those of the right one are packed into panels. All sums are float.

namespace {
#if defined(__AVX512BF16__)
template <class T>
constexpr int PER_WORD = std::is_same_v<T, Bf16> ? 2 : 1;
#else
template <class T>
constexpr int PER_WORD = 1;
#endif

template <int PER>
OFA_INLINE V add_product(V sum, const float* word, V b) {
#if defined(__AVX512BF16__)
    if constexpr (PER == 2) {
        return {_mm512_dpbf16_ps(sum.v, (__m512bh)_mm512_castps_si512(_mm512_set1_ps(*word)),
                                 (__m512bh)_mm512_castps_si512(b.v))};
    }
#endif
    return fma(all(*word), b, sum);
}

constexpr int MOST_VECTORS = LANES == 16 ? 4 : 2;
template <int NV>
constexpr int MOST_TILE_ROWS = LANES == 16 ? (NV == 4 ? 6 : 8) : (NV == 2 ? 4 : 6);

// One tile of sums: element (r, v) is Σ_d a[r·a_row + d·a_step] · b[d·b_step + v·LANES].
template <int PER, int ROWS, int NV>
OFA_INLINE void multiply_tile(int depth, const float* a, size_t a_row, size_t a_step, const float* b, size_t b_step,
                              V (&sum)[ROWS][NV]) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[r][v] = all(0);
    }
    for (int d = 0; d < depth; ++d, a += a_step, b += b_step) {
        V right[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) right[v] = load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[r][v] = add_product<PER>(sum[r][v], a + size_t(r) * a_row, right[v]);
        }
    }
}

// The panels of `columns`: as equal as can be.
struct Panels {
    int vectors, panels;
    explicit Panels(int columns) : vectors((columns + LANES - 1) / LANES), panels((vectors + MOST_VECTORS - 1) / MOST_VECTORS) {}
    int first(int panel) const { return vectors * panel / panels; }
};

template <class T>
size_t packed_size(int inner, int columns) {
    return size_t((inner + PER_WORD<T> - 1) / PER_WORD<T>) * size_t(Panels(columns).vectors) * LANES;
}

// Element (i, c) of the right operand is w[i·inner_stride + c·column_stride].
template <class T>
void pack(int inner, int columns, const float* w, size_t inner_stride, size_t column_stride, float* packed) {
    constexpr int PER = PER_WORD<T>;
    const Panels panels(columns);
    for (int p = 0; p < panels.panels; ++p) {
        const int begin = panels.first(p) * LANES, width = panels.first(p + 1) * LANES - begin;
        for (int i = 0; i < inner; i += PER) {
            for (int c = begin; c < begin + width; ++c) {
                const auto element = [&](int k) {
                    return c < columns && k < inner ? w[size_t(k) * inner_stride + size_t(c) * column_stride] : 0.0f;
                };
                if constexpr (PER == 2) {
                    const uint32_t word = narrow(element(i)).bits | uint32_t(narrow(element(i + 1)).bits) << 16;
                    std::memcpy(packed++, &word, sizeof word);
                } else if constexpr (std::is_same_v<T, Bf16>) {
                    *packed++ = widen(narrow(element(i)));
                } else {
                    *packed++ = element(i);
                }
            }
        }
    }
}

template <int PER, int ROWS, int NV, class T>
OFA_INLINE void multiply_rows(int depth, const float* a, size_t a_row, const float* b, int columns, T* c, size_t ldc,
                              float* sums, size_t sums_stride) {
    V tile[ROWS][NV];
    multiply_tile<PER, ROWS, NV>(depth, a, a_row, 1, b, NV * LANES, tile);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
        const int n = std::min(LANES, columns - v * LANES);
        V sum = all(0), squares = all(0);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            store_block(c + size_t(r) * ldc + v * LANES, tile[r][v], n);
            const V value = as_stored(tile[r][v], c);
            sum = sum + value;
            squares = fma(value, value, squares);
        }
        if (sums != nullptr) {
            float* to = sums + v * LANES;
            store_block(to, load_block(to, n) + sum, n);
            store_block(to + sums_stride, load_block(to + sums_stride, n) + squares, n);
        }
    }
}

template <int PER, int NV, class T>
void multiply_panel(size_t rows, int depth, const float* a, size_t a_row, const float* b, int columns, T* c, size_t ldc,
                    float* sums, size_t sums_stride) {
    constexpr int ROWS = MOST_TILE_ROWS<NV>;
    size_t r = 0;
    for (; r + ROWS <= rows; r += ROWS) {
        multiply_rows<PER, ROWS, NV>(depth, a + r * a_row, a_row, b, columns, c + r * ldc, ldc, sums, sums_stride);
    }
    for (; r + 2 <= rows; r += 2) {
        multiply_rows<PER, 2, NV>(depth, a + r * a_row, a_row, b, columns, c + r * ldc, ldc, sums, sums_stride);
    }
    if (r < rows) {
        multiply_rows<PER, 1, NV>(depth, a + r * a_row, a_row, b, columns, c + r * ldc, ldc, sums, sums_stride);
    }
}

template <class T>
void multiply(size_t rows, int inner, int columns, const T* a, const float* packed, T* c, float* sums, float* scratch) {
    constexpr int PER = PER_WORD<T>;
    const int depth = (inner + PER - 1) / PER;
    const float* words;
    if constexpr (PER == 2) {
        words = reinterpret_cast<const float*>(a);
        if (inner % 2 != 0) {
            // A row that ends half-way through a word: copied, with a zero after it.
            Bf16* padded = reinterpret_cast<Bf16*>(scratch);
            for (size_t r = 0; r < rows; ++r) {
                std::memcpy(padded + r * 2 * depth, a + r * inner, size_t(inner) * sizeof(Bf16));
                padded[r * 2 * depth + inner] = {0};
            }
            words = scratch;
        }
    } else if constexpr (std::is_same_v<T, Bf16>) {
        for (size_t i = 0; i < rows * inner; ++i) scratch[i] = widen(a[i]);
        words = scratch;
    } else {
        words = a;
    }
    const Panels panels(columns);
    for (int p = 0; p < panels.panels; ++p) {
        const int first = panels.first(p), vectors = panels.first(p + 1) - first, column = first * LANES;
        const float* b = packed + size_t(first) * LANES * depth;
        const int used = std::min(columns - column, vectors * LANES);
        T* to = c + column;
        float* to_sums = sums != nullptr ? sums + column : nullptr;
        switch (vectors) {
            case 1: multiply_panel<PER, 1>(rows, depth, words, depth, b, used, to, columns, to_sums, columns); break;
            case 2: multiply_panel<PER, 2>(rows, depth, words, depth, b, used, to, columns, to_sums, columns); break;
#if defined(OFA_AVX512)
            case 3: multiply_panel<PER, 3>(rows, depth, words, depth, b, used, to, columns, to_sums, columns); break;
            case 4: multiply_panel<PER, 4>(rows, depth, words, depth, b, used, to, columns, to_sums, columns); break;
#endif
        }
    }
}

// Rows of words, each of PER_WORD rows one after the other, `width` words to a row: zero beyond the channels.
template <class T>
void interleave(size_t rows, int channels, const T* x, const Norm& norm, const float* gate, int width, float* words) {
    constexpr int PER = PER_WORD<T>;
    with(norm.scale != nullptr ? norm.activation : Activation::None, [&](auto act) {
        for (int c = 0; c < channels; c += LANES) {
            const int n = std::min(LANES, channels - c);
            const bool has_norm = norm.scale != nullptr;
            const V scale = has_norm ? load_block(norm.scale + c, n) : all(1);
            const V shift = has_norm ? load_block(norm.shift + c, n) : all(0);
            const V factor = gate != nullptr ? load_block(gate + c, n) : all(1);
            const auto element = [&](size_t r) {
                if (r >= rows) return all(0);
                const V value = load_block(x + r * channels + c, n);
                if (!has_norm) return value;
                return as_stored(activated<decltype(act)::value>(fma(value, scale, shift)) * factor, x);
            };
            for (size_t r = 0; r < rows; r += PER) {
                float* to = words + r / PER * width + c;
#if defined(__AVX512BF16__)
                if constexpr (PER == 2) {
                    const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(element(r).v), 16);
                    const __m512i high = _mm512_castps_si512(element(r + 1).v);
                    store(to, V{_mm512_castsi512_ps(_mm512_or_si512(low, high))});
                    continue;
                }
#endif
                store(to, element(r));
            }
        }
    });
}

template <int PER, int ROWS, int NV>
OFA_INLINE void add_outer_tile(int depth, const float* a, size_t a_step, const float* b, size_t b_step, float* c,
                               size_t ldc) {
    V tile[ROWS][NV];
    multiply_tile<PER, ROWS, NV>(depth, a, 1, a_step, b, b_step, tile);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            float* to = c + size_t(r) * ldc + v * LANES;
            store(to, load(to) + tile[r][v]);
        }
    }
}

template <int PER, int NV>
void add_outer_panel(int rows, int depth, const float* a, size_t a_step, const float* b, size_t b_step, float* c,
                     size_t ldc) {
    constexpr int ROWS = MOST_TILE_ROWS<NV>;
    int r = 0;
    for (; r + ROWS <= rows; r += ROWS) add_outer_tile<PER, ROWS, NV>(depth, a + r, a_step, b, b_step, c + r * ldc, ldc);
    for (; r < rows; ++r) add_outer_tile<PER, 1, NV>(depth, a + r, a_step, b, b_step, c + r * ldc, ldc);
}

constexpr int whole_vectors(int channels) { return (channels + LANES - 1) / LANES * LANES; }

template <class T>
size_t outer_scratch(size_t rows, int left, int right) {
    return (rows + 1) * size_t(whole_vectors(left) + whole_vectors(right));
}

// c[l][r] += Σ_rows g[row][l] · z[row][r], with z = a(x·scale + shift)·gate; c is [left][whole_vectors(right)]. Images
// of `image_rows` rows have a gate each.
template <class T>
void add_outer(size_t rows, int left, int right, const T* g, const T* x, const Norm& norm, const float* gates,
               size_t image_rows, size_t first_row, float* c, float* scratch) {
    constexpr int PER = PER_WORD<T>;
    const int lw = whole_vectors(left), rw = whole_vectors(right);
    const int depth = int((rows + PER - 1) / PER);
    float* a = scratch;
    float* b = scratch + size_t(depth) * lw;
    interleave(rows, left, g, Norm(), nullptr, lw, a);
    if (gates == nullptr) {
        interleave(rows, right, x, norm, nullptr, rw, b);
    } else {
        // Rows of a chunk that belong to one image; a chunk begins at a whole word.
        for (size_t r = 0; r < rows;) {
            const size_t image = (first_row + r) / image_rows, end = std::min(rows, (image + 1) * image_rows - first_row);
            interleave(end - r, right, x + r * right, norm, gates + image * right, rw, b + r / PER * rw);
            r = end;
        }
    }
    const Panels panels(right);
    for (int p = 0; p < panels.panels; ++p) {
        const int first = panels.first(p) * LANES, vectors = panels.first(p + 1) - panels.first(p);
        switch (vectors) {
            case 1: add_outer_panel<PER, 1>(left, depth, a, lw, b + first, rw, c + first, rw); break;
            case 2: add_outer_panel<PER, 2>(left, depth, a, lw, b + first, rw, c + first, rw); break;
#if defined(OFA_AVX512)
            case 3: add_outer_panel<PER, 3>(left, depth, a, lw, b + first, rw, c + first, rw); break;
            case 4: add_outer_panel<PER, 4>(left, depth, a, lw, b + first, rw, c + first, rw); break;
#endif
        }
    }
}
}  // namespace
