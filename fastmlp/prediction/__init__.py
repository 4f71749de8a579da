"""Outputs of a network for many samples."""
