// Whatever the compiler makes of it for the processor at hand.
#define OFA_NAME "portable"
#define OFA_TABLE portable_kernels
#include "kernels.inl"
