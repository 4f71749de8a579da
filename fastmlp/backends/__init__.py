"""Compute backends: registry, the choice made by backend="auto", device arrays and thread limits."""
