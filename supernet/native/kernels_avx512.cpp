// AVX-512 (F, BW, DQ, VL), without its bfloat16 instructions.
#define OFA_AVX512
#define OFA_NAME "avx512"
#define OFA_TABLE avx512_kernels
#include "kernels.inl"
