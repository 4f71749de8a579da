"""Fixtures of all tests: each backend, and the folder of data sets."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import pytest

import fastmlp
from fastmlp.backends import registry

# A process that a shell starts in the background ignores SIGINT, which some tests send to themselves and to others.
signal.signal(signal.SIGINT, signal.default_int_handler)

WITHOUT_CUDA = find_spec("numba_cuda") is None  # as on macOS
collect_ignore_glob = ["cuda", "kernels/test_cubins*", "kernels/test_wide_host.py"] if WITHOUT_CUDA else []


def pytest_addoption(parser):
    parser.addoption("--part", metavar="K/N", help="run one Nth of the exhaustive tests, number K from 0 on")


def pytest_collection_modifyitems(config, items):
    """Leave out the exhaustive tests that are not in the --part."""
    if not config.getoption("part"):
        return
    number, n_parts = map(int, config.getoption("part").split("/"))
    out = [
        item for item in items
        if item.get_closest_marker("exhaustive") and crc32(item.nodeid.encode()) % n_parts != number
    ]  # fmt: skip
    config.hook.pytest_deselected(items=out)
    left_out = set(out)
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header():
    without = ", without the GPU kernels: they need the extra cuda" if WITHOUT_CUDA else ""
    return f"fastmlp from {Path(fastmlp.__file__).parent}{without}"


@pytest.fixture
def data_folder():
    """Folder of data sets, named by FASTMLP_DATA; without it, tests that need it are skipped with the reason."""
    folder = os.environ.get("FASTMLP_DATA")
    if not folder:
        pytest.skip("needs the folder of data sets that the environment variable FASTMLP_DATA names")
    return Path(folder)


@pytest.fixture(params=registry.ON_CPU)
def backend(request):
    """Name of each backend. All must work where the suite runs."""
    assert registry.why_not(request.param) is None
    return request.param


@pytest.fixture
def kernels(backend):
    """Module of each backend."""
    return registry.choose(backend).kernels
