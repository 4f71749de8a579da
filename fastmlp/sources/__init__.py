"""Blocks of samples from many files and from lazy data frames, for ``fit_stream``; see ``fastmlp.read_blocks``."""
