"""Compute backends: which exist, which work here, and which one backend='auto' takes."""
