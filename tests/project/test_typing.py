"""Type hints: the public API is annotated, and type checkers see names that are imported lazily."""

import ast
import inspect
from pathlib import Path

import pytest

import fastmlp

ROOT = Path(fastmlp.__file__).parent


def functions_of(name):
    """{name: function} for a public name: the function itself, or the public methods and properties of a class."""
    public = getattr(fastmlp, name)
    if not inspect.isclass(public):
        return {name: public}
    found = {}
    for base in reversed(public.__mro__):
        if not base.__module__.startswith("fastmlp"):
            continue
        for key, member in vars(base).items():
            if key.startswith("_") and key != "__init__":
                continue
            member = getattr(member, "fn", getattr(member, "__func__", member))  # available_if, classmethod
            for function in (member.fget, member.fset) if isinstance(member, property) else (member,):
                if inspect.isfunction(function):
                    found[f"{name}.{key}" + "=" * (function is getattr(member, "fset", None))] = function
    if not issubclass(public, tuple):
        return found
    return {**found, f"{name}.__new__": public.__new__}


def missing(name, function):
    """Parameters and returns without an annotation."""
    signature = inspect.signature(function)
    parameters = [key for key in signature.parameters if key not in ("self", "cls", "_cls")]
    bare = [f"{name}: {key}" for key in parameters if signature.parameters[key].annotation is inspect.Parameter.empty]
    if signature.return_annotation is inspect.Signature.empty and not name.endswith("__new__"):
        bare.append(f"{name}: return")
    return bare


@pytest.mark.parametrize("name", fastmlp.__all__)
def test_the_public_api_is_annotated(name):
    functions = functions_of(name)
    assert functions
    assert not [bare for key, function in functions.items() for bare in missing(key, function)]


def test_methods_of_base_classes_are_checked():
    assert {"MLP.fit", "MLP.predict", "MLP.save", "MLP.load", "MLP.optimizer="} <= set(functions_of("MLP"))
    assert {"MLPClassifier.partial_fit", "MLPClassifier.fit"} <= set(functions_of("MLPClassifier"))


def test_type_checkers_see_every_public_name():
    """The block ``if TYPE_CHECKING`` of the package imports each name from the module that defines it."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {alias.asname: node.module for node in block.body for alias in node.names}
    assert found == fastmlp._HOME


def test_the_package_has_py_typed():
    assert (ROOT / "py.typed").is_file()
