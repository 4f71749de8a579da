"""Fused bfloat16 kernels on tensor cores, for narrow networks.

Local arrays stay in registers, because the device functions that use them are inlined (composition.inlined).
kernels/cuda/__init__.py explains the arguments of device functions.
"""
