"""Shared by all tests: every backend in turn, and data that a machine may or may not have."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastmlp
from fastmlp.backends import registry

# A shell that runs the suite in the background makes it ignore the Ctrl-C that tests send to themselves and to others.
signal.signal(signal.SIGINT, signal.default_int_handler)

WITHOUT_CUDA = find_spec("numba_cuda") is None  # as on macOS
collect_ignore_glob = ["cuda", "kernels/test_cubins*", "kernels/test_wide_host.py"] if WITHOUT_CUDA else []


def pytest_report_header():
    without = ", without the GPU kernels: they need the extra cuda" if WITHOUT_CUDA else ""
    return f"fastmlp from {Path(fastmlp.__file__).parent}{without}"


@pytest.fixture
def data_folder():
    """Real data named by FASTMLP_DATA; tests that need it say so where it is not there."""
    folder = os.environ.get("FASTMLP_DATA")
    if not folder:
        pytest.skip("needs the folder of data sets that the environment variable FASTMLP_DATA names")
    return Path(folder)


@pytest.fixture(params=registry.ON_CPU)
def backend(request):
    """The name of each backend in turn. All must work where the suite runs."""
    assert registry.why_not(request.param) is None
    return request.param


@pytest.fixture
def kernels(backend):
    """The module of each backend in turn."""
    return registry.choose(backend).kernels
