"""Conversion of models to other formats and libraries, and back."""
