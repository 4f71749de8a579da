"""Training of wide networks by cuBLASLt matrix products."""
