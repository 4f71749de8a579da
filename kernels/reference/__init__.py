"""The reference implementation in plain NumPy, which every other backend is tested against."""
