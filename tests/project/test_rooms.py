"""The import graph: no folder imports from one above it, and there are no import cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import fastmlp

# Layers from the top. Modules that are in none of these folders (fastmlp/extras.py) are below all.
FLOORS = (
    ("cli",), ("export", "inspection", "torch"), ("estimators",), ("model",), ("distributed",), ("tables",),
    ("training",), ("prediction", "sources"), ("validation",), ("io", "backends"), ("kernels",),
)  # fmt: skip
LEVEL = {name: -height for height, names in enumerate(FLOORS) for name in names}
# The same for the folders and modules of kernels.
KERNELS = (
    ("cuda", "numba"),
    ("cpu",),
    ("engine",),
    ("reference",),
    ("spec",),
    ("rules",),
    ("device_errors", "inputs", "machine"),
)
KERNEL_LEVEL = {name: -height for height, names in enumerate(KERNELS) for name in names}

ROOT = Path(fastmlp.__file__).parent


def modules():
    """{dotted name: path} of all modules of fastmlp, including kernels."""
    found = {}
    for folder, package in ((ROOT, "fastmlp"), (Path(fastmlp.kernels.__path__[0]), "fastmlp.kernels")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if package == "fastmlp" and parts[0] == "kernels":
                continue
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def is_for_type_checkers(test):
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def imports(name, path, known):
    """Modules that a module imports at run time, at its top or in functions; a package means its __init__."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                yield from (found for found in (f"{base}.{alias.name}", base) if found in known)


def graph():
    known = modules()
    return {
        name: {found for found in imports(name, path, known) if found != name and not name.startswith(f"{found}.")}
        for name, path in known.items()
    }


def room(name):
    return name.split(".")[1] if "." in name else ""


def test_no_folder_imports_from_one_above():
    upward = [
        f"{name} -> {found}"
        for name, all_found in graph().items()
        for found in all_found
        if room(name) in LEVEL and room(found) in LEVEL and LEVEL[room(found)] > LEVEL[room(name)]
    ]
    assert not upward


def test_kernels_import_nothing_else_of_the_package():
    outward = [
        f"{name} -> {found}"
        for name, all_found in graph().items()
        for found in all_found
        if room(name) == "kernels" and room(found) != "kernels"
    ]
    assert not outward


def test_no_backend_is_imported_from_below():
    level = lambda name: KERNEL_LEVEL.get((*name.split("."), "", "")[2], 1)  # noqa: E731
    upward = [
        f"{name} -> {found}"
        for name, all_found in graph().items()
        for found in all_found
        if room(name) == room(found) == "kernels" and level(found) > level(name)
    ]
    assert not upward


def test_there_are_no_import_cycles():
    TopologicalSorter(graph()).prepare()  # raises CycleError


def test_imports_are_found():
    found = graph()
    assert "fastmlp.training.trainer" in found["fastmlp.distributed.fits"]
    assert len(found) > 100


def test_private_imports_of_scikit_learn_are_in_one_module():
    found = {
        path.stem
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sklearn"
        if "._" in node.module or any(alias.name.startswith("_") for alias in node.names)
    }
    assert found == {"sklearn_compat"}
