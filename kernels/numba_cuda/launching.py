"""Starting a kernel."""


def launch(kernel, blocks, threads, stream, shared_bytes, *arguments):
    """One launch; a kernel that waits for its grid is started as a cooperative one by Numba itself."""
    kernel[blocks, threads, stream, shared_bytes](*arguments)
