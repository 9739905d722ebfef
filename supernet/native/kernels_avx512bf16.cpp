// AVX-512 (F, BW, DQ, VL, BF16).
#define OFA_AVX512
#define OFA_NAME "avx512bf16"
#define OFA_TABLE avx512bf16_kernels
#include "kernels.inl"
