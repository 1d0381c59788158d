"""Gradients on a CPU, compiled by Numba: products by BLAS, everything else fused, one thread per story."""
