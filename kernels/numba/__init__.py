"""The Numba CPU backend: its contract, compiled engine and primitives."""
