"""Gradient checks, plots and the training report."""
