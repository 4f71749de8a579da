"""Code shared by the compiled CPU backends, and the Cython backend."""
