"""Kernels that assign one number to each thread, for any network: training, prediction, and their device functions.

Kernels are composed from device functions that are made for each layer of a network. kernels/cuda/__init__.py explains
the arguments.
"""
