"""The docstrings of everything public: sections, and the parameters in the order of the signature."""

import inspect
import re

import fastmlp


def documented():
    """(name, object) of all public functions, classes and their methods."""
    for name in fastmlp.__all__:
        public = getattr(fastmlp, name)
        if callable(public):
            yield name, public
        for method in vars(public) if inspect.isclass(public) else ():
            if not method.startswith("_") and callable(getattr(public, method)):
                yield f"{name}.{method}", getattr(public, method)


def names_in(text):
    """The parameters in the section Parameters of a numpydoc text."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n---|\Z)", text, re.M | re.S)
    entries = re.findall(r"^(\S.*)$", section[1], re.M) if section else []
    return [name.strip("* ") for entry in entries for name in entry.split(" : ")[0].split(",")]


def test_documented_parameters_are_those_of_the_signature():
    faults = []
    for name, public in documented():
        text = inspect.getdoc(public)
        found = names_in(text)
        named = [given for given in inspect.signature(public).parameters if given != "self"]
        if (found and found != named) or re.search(r"\{[A-Z_]+\}", text):  # or a text that was not filled in
            faults.append((name, found, named))
    assert not faults


def test_shared_texts_are_in_the_docstrings():
    for kind in (fastmlp.MLPClassifier, fastmlp.MLPRegressor):
        text = inspect.getdoc(kind)
        assert len(names_in(text)) > 35
        assert all(f"{name} : " in text or f"{name}, " in text for name in ("coefs_", "loss_curve_", "backend_"))
        for method, last in ((kind.fit_stream, "n_samples : int"), (kind.partial_fit, "epochs : int")):
            assert last in method.__doc__
            assert "\nReturns\n-------\nself : object\n    Ctrl-C ends " in inspect.getdoc(method)
