"""Kernels that assign one number to each thread, for any network."""
