// AVX2 and FMA.
#define OFA_AVX2
#define OFA_NAME "avx2"
#define OFA_TABLE avx2_kernels
#include "kernels.inl"
