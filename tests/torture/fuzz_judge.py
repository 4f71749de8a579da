"""Judge a call: a finite result, or an error that says what is wrong; and nothing that a refused call has changed."""

import ast
import contextlib
import functools
import re
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz_values import OwnError
from scipy import sparse
from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp.io.model_files import ModelFileError
from fastmlp.training.outcomes import DivergenceError

CLEAR = ValueError, TypeError, OSError, ImportError
OURS = tuple(f"/{package}/" for package in ("fastmlp", "sklearn", "click"))
UNCLEAR = re.compile(
    r"(?<![\w.])_[a-z]\w+|'NoneType'|has no attribute|not subscriptable|not iterable|unhashable|ambiguous|bytes-like|"
    r"numba\.|Maximum allowed|broadcast|unpack|out of bounds|__\w+__|not callable|cannot reindex|setting an array"
)
# Errors of what an object is, not of an argument.
STATE = re.compile(
    "no weights yet|requires a call of forward|diverged|classes must be passed|No such file|a model file cannot hold"
)
SAID = re.compile("diverge|overflow|not finite|infinite|NaN", re.IGNORECASE)
# Words by which a message may name a parameter, other than by its name.
ALIASES = {
    "X": "sample|feature|column|input|row|sparse|frame|array",
    "y": "target|label|class|sample|column",
    "blocks": "block|X|y|sample|column",
    "sample_weight": "weight|sample",
    "data": "X|y|sample|rows",
    "validation_data": "X|y|sample|column|feature|label|class",
    "eval_set": "X|y|eval|sample|feature|label|class",
    "eval_X": "X|y|eval|sample|feature|column",
    "eval_y": "X|y|eval|sample|label|class|target",
    "callbacks": "callback",
    "layers": "layer|unit|activation|network",
    "estimator": "model|network",
    "models": "model|fit|estimator",
    "name": "optimizer|loss|schedule",
    "random_state": "seed",
    "source": "file|folder|Parquet",
    "target": "column",
    "columns": "column",
    "n_inputs": "layers",
    "n_layers": "layers",
    "width": "layers",
    "hidden_layer_sizes": "layers",
    "path": "file|folder|path|directory",
}


class Answer:
    """What a call gave: its result or error, its warnings, and what it found changed."""

    def __init__(self, step):
        before, self.result, self.error = frozen(step), None, None
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
            warnings.simplefilter("always")
            try:
                self.result = step.function(**step.arguments)
            except Exception as error:
                self.error = error
            except SystemExit as error:
                self.error = None if error.code in (0, None) else error
        self.said = any(SAID.search(str(warning.message)) for warning in caught)
        after = frozen(step)
        self.changed = sorted(name for name in before if before[name] != after.get(name))

    def fault(self, step):
        """What is wrong with it, or None."""
        if self.error is None:
            inputs = [name for name in self.changed if name in step.arguments]
            if inputs:
                return f"changed its argument {', '.join(inputs)}"
            return (
                None
                if self.said or step.may_overflow or is_finite(self.result)
                else "gave a number that is not finite, and said nothing"
            )
        if isinstance(self.error, OwnError):
            return None
        wrong = unclear(self.error, step)
        if wrong is None and self.changed and not (step.may_train or isinstance(self.error, DivergenceError)):
            wrong = f"changed {', '.join(self.changed)} and refused"
        return wrong and f"{wrong}: {described(self.error)}"


def unclear(error, step):
    """Why an error is unclear, or None."""
    text = str(error)
    if not isinstance(error, CLEAR):
        return "not a documented kind of error"
    if isinstance(error, (NotFittedError, ModelFileError, ImportError)):
        return None
    if STATE.search(text):
        return None
    if UNCLEAR.search(text):
        return "speaks of what is private, or of Python's own"
    if not isinstance(error, OSError) and not raised_on_purpose(error):
        return "comes from elsewhere"
    if len(text) < 20:
        return "says too little"
    names = [name.rpartition("__")[2] for name in step.named]
    words = [word for name in names for word in (name, *ALIASES.get(name, "").split("|")) if word]
    if not any(re.search(rf"(?<![a-zA-Z]){re.escape(word)}", text) for word in words):
        return f"names none of {', '.join(step.named)}"
    return None


@functools.cache
def raises(path):
    """Lines of the statements 'raise' in a Python file."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return frozenset(line for node in found for line in range(node.lineno, node.end_lineno + 1))


def raised_on_purpose(error):
    """Whether an error was raised by a statement of ours or of scikit-learn's validation, not by a library below."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if Path(last.filename).name == "engine.pyx":
        return True
    return any(name in last.filename for name in OURS) and last.lineno in raises(last.filename)


def described(error):
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-2:]]
    return f"{type(error).__name__}: {str(error)[:300]!r} ({' > '.join(places)})"


def frozen(step):
    """What a refused call must leave as it is, in a form that can be compared."""
    parts = {name: content(value) for name, value in step.arguments.items()}
    if step.subject is not None:
        state = {f"its {name}": value for name, value in vars(step.subject).items() if not name.startswith("_")}
        if isinstance(step.subject, fastmlp.MLP):
            state |= {f"its {name}": getattr(step.subject, name) for name in ("alpha", "optimizer", "layers")}
            with contextlib.suppress(ValueError):  # it has no weights yet
                state["its parameters"] = step.subject.parameters
        if hasattr(step.subject, "coefs_"):
            state["its coefs_"] = list(step.subject.coefs_)
        parts |= {name: content(value) for name, value in state.items()}
    return parts


def content(value):
    """A value in a form that can be compared: the bytes of arrays, and the repr of what is plain."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if sparse.issparse(value):
        parts = [getattr(value, name) for name in ("data", "indices", "indptr", "coords") if hasattr(value, name)]
        return [content(part) for part in parts]
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return content(value.to_numpy())
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [content(part) for part in value]
    if isinstance(value, dict):
        return [(key if isinstance(key, (str, int)) else None, content(part)) for key, part in value.items()]
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return repr(value)
    return type(value).__name__


def is_finite(result, depth=0):
    """Whether all numbers in a result are finite, also those of a fitted model."""
    if isinstance(result, (float, np.floating)):
        return bool(np.isfinite(result))
    if isinstance(result, np.ndarray):
        return result.dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return depth > 4 or all(is_finite(part, depth + 1) for part in result)
    if isinstance(result, fastmlp.MLP):
        return result.diverged or not result.epoch or is_finite(result.parameters)
    if hasattr(result, "coefs_"):
        return is_finite([list(result.coefs_), result.loss_])
    return True


def shown(value):
    """A short text of an argument."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {value.shape}>"
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return " ".join(text.split())[:120]
