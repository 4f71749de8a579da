"""The compiled CPU backends: what they share, and the Cython one."""
