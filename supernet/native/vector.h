// A register of LANES floats, for whichever instruction set this file is compiled for (see kernels_*.cpp).
//
// Everything lies in an unnamed namespace: the same source is compiled several times with different flags, and the
// linker must never merge two versions of one function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels.h"

#if defined(OFA_AVX512) || defined(OFA_AVX2)
#include <immintrin.h>
#endif

#define OFA_INLINE [[gnu::always_inline]] inline

namespace {
using ofa::Bf16;

OFA_INLINE float widen(Bf16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// To the nearest, ties to even; NaN stays NaN.
[[maybe_unused]] OFA_INLINE Bf16 narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return {0x7fc0};
    return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

#if defined(OFA_AVX512)

constexpr int LANES = 16;
struct V {
    __m512 v;
};
OFA_INLINE V all(float x) { return {_mm512_set1_ps(x)}; }
OFA_INLINE V load(const float* p) { return {_mm512_loadu_ps(p)}; }
OFA_INLINE V load(const Bf16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
OFA_INLINE V load(const float* p, int n) { return {_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p)}; }
OFA_INLINE V load(const Bf16* p, int n) {
    const __m256i bits = _mm256_maskz_loadu_epi16(__mmask16((1u << n) - 1), p);
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
OFA_INLINE __m256i rounded(V x) {
#if defined(__AVX512BF16__)
    return (__m256i)_mm512_cvtneps_pbh(x.v);
#else
    const __m512i bits = _mm512_castps_si512(x.v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i kept = _mm512_mask_mov_epi32(
        up, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
#endif
}
OFA_INLINE void store(float* p, V x) { _mm512_storeu_ps(p, x.v); }
OFA_INLINE void store(Bf16* p, V x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded(x)); }
OFA_INLINE void store(float* p, V x, int n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), x.v); }
OFA_INLINE void store(Bf16* p, V x, int n) {
    // Through memory: masked stores of 16-bit elements are microcoded on some processors.
    alignas(32) Bf16 lanes[LANES];
    store(lanes, x);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
OFA_INLINE V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
OFA_INLINE V operator+(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
OFA_INLINE V operator-(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
OFA_INLINE V operator*(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
OFA_INLINE V larger(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
OFA_INLINE V smaller(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
// yes where a > b, else no.
OFA_INLINE V where_greater(V a, V b, V yes, V no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ), no.v, yes.v)};
}
OFA_INLINE V as_stored(V x, const Bf16*) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded(x)), 16))};
}

#elif defined(OFA_AVX2)

constexpr int LANES = 8;
struct V {
    __m256 v;
};
OFA_INLINE V all(float x) { return {_mm256_set1_ps(x)}; }
OFA_INLINE V load(const float* p) { return {_mm256_loadu_ps(p)}; }
OFA_INLINE V load(const Bf16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
}
template <class T>
OFA_INLINE V load(const T* p, int n) {
    T lanes[LANES] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
}
OFA_INLINE __m128i rounded(V x) {
    const __m256i bits = _mm256_castps_si256(x.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256 no_number = _mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q);
    const __m256i kept = _mm256_blendv_epi8(up, _mm256_set1_epi32(0x7fc00000), _mm256_castps_si256(no_number));
    const __m256i high = _mm256_srli_epi32(kept, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
OFA_INLINE void store(float* p, V x) { _mm256_storeu_ps(p, x.v); }
OFA_INLINE void store(Bf16* p, V x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), rounded(x)); }
template <class T>
OFA_INLINE void store(T* p, V x, int n) {
    T lanes[LANES];
    store(lanes, x);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
OFA_INLINE V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
OFA_INLINE V operator+(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
OFA_INLINE V operator-(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
OFA_INLINE V operator*(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
OFA_INLINE V larger(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }
OFA_INLINE V smaller(V a, V b) { return {_mm256_min_ps(a.v, b.v)}; }
OFA_INLINE V where_greater(V a, V b, V yes, V no) {
    return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))};
}
OFA_INLINE V as_stored(V x, const Bf16*) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(rounded(x)), 16))};
}

#else

constexpr int LANES = 8;
// The compiler's own vectors: pairs of SSE or NEON registers, or whatever there is.
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
struct V {
    Lanes v;
};
OFA_INLINE V all(float x) { return {Lanes{} + x}; }
OFA_INLINE V load(const float* p) {
    V x;
    std::memcpy(&x.v, p, sizeof x.v);
    return x;
}
OFA_INLINE void store(float* p, V x) { std::memcpy(p, &x.v, sizeof x.v); }
OFA_INLINE V load(const Bf16* p) {
    float lanes[LANES];
    for (int i = 0; i < LANES; ++i) lanes[i] = widen(p[i]);
    return load(lanes);
}
OFA_INLINE void store(Bf16* p, V x) {
    float lanes[LANES];
    store(lanes, x);
    for (int i = 0; i < LANES; ++i) p[i] = narrow(lanes[i]);
}
template <class T>
OFA_INLINE V load(const T* p, int n) {
    T lanes[LANES] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
}
template <class T>
OFA_INLINE void store(T* p, V x, int n) {
    T lanes[LANES];
    store(lanes, x);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
OFA_INLINE V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
OFA_INLINE V operator+(V a, V b) { return {a.v + b.v}; }
OFA_INLINE V operator-(V a, V b) { return {a.v - b.v}; }
OFA_INLINE V operator*(V a, V b) { return {a.v * b.v}; }
OFA_INLINE V larger(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
OFA_INLINE V smaller(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
OFA_INLINE V where_greater(V a, V b, V yes, V no) { return {a.v > b.v ? yes.v : no.v}; }
OFA_INLINE V as_stored(V x, const Bf16*) {
    Bf16 lanes[LANES];
    store(lanes, x);
    return load(lanes);
}

#endif

// What a later load of a stored value gives.
OFA_INLINE V as_stored(V x, const float*) { return x; }

// The first n lanes of a block of channels, of which only the last of a pixel is ever partial.
template <class T>
OFA_INLINE V load_block(const T* p, int n) {
    return n == LANES ? load(p) : load(p, n);
}
template <class T>
OFA_INLINE void store_block(T* p, V x, int n) {
    if (n == LANES) {
        store(p, x);
    } else {
        store(p, x, n);
    }
}
}  // namespace
