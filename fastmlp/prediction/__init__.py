"""Batch prediction: network outputs for many samples."""
