"""The training engine, written once in Python and compiled by both Cython and Numba."""
