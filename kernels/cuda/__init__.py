"""Backend 'cuda': training and prediction on an NVIDIA GPU, by kernels that Numba compiles for each network."""

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
