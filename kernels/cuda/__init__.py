"""Backend 'cuda': training and prediction on an NVIDIA GPU, by kernels that Numba compiles for each network.

Kernels and the device functions that they call are the only functions here with more than ten arguments. Numba supports
no NumPy records with arrays as fields, which rules out the records of the CPU engine. Tuples of arrays would compile to
the same code, because link-time optimisation inlines the device functions, but they would hide which arrays a function
reads and writes. These also differ from call to call: the parameters may be in global memory or a slice of shared
memory, and the gradient may be that of a tile. Arguments that a function only passes on are a tuple, ``*given``.

An argument has the same meaning wherever its name occurs. simt/training_kernel.py and tensor_core/training.py describe
the arguments of the kernels, simt/forward.py and simt/backward.py the indices of threads and rows, and the docstring of
a function that makes a device function describes the other arguments.
"""

from importlib.util import find_spec

INSTALL = "pip install 'fastmlp[cuda]'"


def _is_missing(name):
    try:
        return find_spec(name) is None
    except ImportError:  # its parent package is missing
        return True


for name in ("numba_cuda", "cuda.core", "cuda.bindings", "cuda.pathfinder"):
    if _is_missing(name):
        raise ImportError(f"it needs the package {name.replace('.', '-').replace('_', '-')}: {INSTALL}")
