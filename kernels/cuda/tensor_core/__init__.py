"""Fused bfloat16 kernels on tensor cores, for narrow networks."""
