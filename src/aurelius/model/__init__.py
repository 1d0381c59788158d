"""The Llama, its kernels for the CPU, and its files."""
