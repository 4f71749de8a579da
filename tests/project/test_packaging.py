"""The wheel and the source distribution are complete, and work outside the checkout."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fastmlp

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheel():
    path = os.environ.get("FASTMLP_WHEEL")
    if not path:
        pytest.skip("needs the built wheel that the environment variable FASTMLP_WHEEL names ('make test' sets it)")
    return (ROOT / path).resolve()


def test_the_suite_runs_on_the_wheel_not_on_the_checkout(wheel):
    assert "site-packages" in fastmlp.__file__
    assert fastmlp.__version__ == importlib.metadata.version("fastmlp") == wheel.name.split("-")[1]
    assert "kernels" not in sys.modules


def test_wheel_has_all_modules_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    code = {name for name in names if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT))
        for kind in ("*.py", "*.html", "py.typed")
        for path in (ROOT / "fastmlp").rglob(kind)
    }
    expected |= {f"fastmlp/{path.relative_to(ROOT)}" for path in (ROOT / "kernels").rglob("*.py")}
    compiled = {name for name in code if re.fullmatch(r"fastmlp/kernels/cpu/engine_\w+\..*\.(so|pyd)", name)}
    levels = {name.split("engine_")[1].split(".")[0] for name in compiled}
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    assert levels == ({"baseline", "x86_64_v3", "x86_64_v4"} if x86 else {"baseline"})
    assert code - compiled == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_source_distribution_has_all_sources_and_no_generated_files(wheel):
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    assert {
        "setup.py",
        "tools/generate_engine.py",
        "tools/typed_cython.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "kernels/cpu/engine.pyx",
        "kernels/cpu/primitives.h",
    } <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "kernels").rglob("*.py")} <= names
    assert not [
        name for name in names if re.search(r"\.(c|cpp|so|pyd|pyc|pxi)$|^(tests|benchmarks|build)/|engine_", name)
    ]


def test_installation_without_a_c_compiler_says_what_is_missing(wheel, tmp_path):
    """Build from the source distribution, for one instruction set level only, because Cython is slow."""
    (archive,) = wheel.parent.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "-v", "--no-build-isolation", "--no-deps", "--no-index"]
    environment = {**os.environ, "CC": str(tmp_path / "no such compiler"), "FASTMLP_LEVELS": "native"}
    built = subprocess.run(
        [*build, "--wheel-dir", tmp_path, archive], env=environment, capture_output=True, text=True, check=True
    )
    assert "fastmlp is built without its extension modules" in built.stdout + built.stderr
    (made,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(made).extractall(tmp_path / "site")
    script = """
import sys, fastmlp
from fastmlp.backends import registry
print(registry.why_not("cython"))
print(*registry.choose()[::2])
sys.modules["numba"] = None
registry.why_not.cache_clear()
for name in [name for name in sys.modules if name.startswith("fastmlp.kernels")]:
    del sys.modules[name]
model = fastmlp.MLP([(1, "identity")]).fit([[0.0], [1.0]], [0, 1], epochs=2)
print(model.backend, model.backend_reason_)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    why, with_numba, without = done.stdout.splitlines()
    assert why.startswith("its extension module was not built, because no C compiler or no Python headers")
    assert with_numba == f"numba compiled at the first fit, because backend 'cython' does not work here: {why}"
    assert without.startswith("numpy slow reference code, because neither 'cython' nor 'numba' works here: its ext")
    assert without.endswith("it needs the package numba: pip install numba")


def test_the_wheel_trains_from_another_folder(wheel, tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, tmp_path / "site", wheel], check=True)
    script = (
        "import fastmlp; from sklearn.datasets import load_iris; X, y = load_iris(return_X_y=True)\n"
        "model = fastmlp.MLPClassifier(solver='lbfgs', random_state=0).fit(X, y)\n"
        "print(fastmlp.__file__, model.backend_, model.score(X, y) > 0.95)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str(tmp_path / "site" / "fastmlp" / "__init__.py"), "cython", "True"]


def test_import_in_the_source_folder_raises_a_clear_error(tmp_path):
    """There ``import fastmlp`` finds the sources instead of the installed package, and they have no kernels."""
    shutil.copytree(ROOT / "fastmlp", tmp_path / "fastmlp")
    without_editable = "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]"
    command = [sys.executable, "-c", f"import sys; {without_editable}; import fastmlp"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "start Python in another folder" in result.stderr


def test_importing_fastmlp_imports_no_large_package():
    script = "import sys, fastmlp; print(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    assert modules.isdisjoint({"numpy", "numba", "scipy", "sklearn", "pandas", "tqdm", "matplotlib", "click"})


def test_every_public_name_can_be_imported():
    for name in fastmlp.__all__:
        assert getattr(fastmlp, name).__doc__, name
    assert set(fastmlp.__all__) <= set(dir(fastmlp))
    with pytest.raises(AttributeError, match="no attribute 'MLPclassifier'"):
        fastmlp.MLPclassifier  # noqa: B018


@pytest.mark.exhaustive  # compiles the whole engine
def test_numba_without_a_writable_cache_still_works(tmp_path):
    """For example in a container with a read-only file system."""
    script = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "from fastmlp.kernels.numba import notice; notice.PATIENCE = 0\n"
        "from fastmlp import MLP; m = MLP([(1, 'identity')], backend='numba').fit([[0.0], [1.0]], [0, 1], epochs=1)\n"
        "print(m.backend)"
    )
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "numba"
    assert "later runs have to compile again, unless NUMBA_CACHE_DIR names a folder" in result.stderr
