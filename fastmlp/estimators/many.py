"""Fit many models at once: ``fit_many`` for any, ``cross_val_fit`` for the folds and seeds of an estimator."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from fastmlp.backends import registry
from fastmlp.distributed.data_parallel import check_communicator
from fastmlp.distributed.fits import fit_of
from fastmlp.model.mlp import MLP
from fastmlp.training.callbacks import progress_bar
from fastmlp.training.many import Fit, run_fits
from fastmlp.typing import ArrayLike, MatrixLike, NDArray
from fastmlp.validation.arrays import as_labels, as_numbers, checked_sparse, is_frame, is_listing
from fastmlp.validation.checks import NOT_NUMBERS, check_flags, check_n_jobs
from fastmlp.validation.sklearn_compat import num_samples, rows_of

from .base import BaseMLP


def fit_many(
    models: Sequence[Any],
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    *,
    rows: Sequence[ArrayLike | None] | None = None,
    data: Sequence[tuple[MatrixLike, ArrayLike]] | None = None,
    fit_params: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> dict[int, Exception]:
    """Fit many models at once, each in a thread of its own, or on the workers of a joblib backend such as dask.

    The results are exactly those of a ``fit`` of each model; with the solver 'lm' and the backend 'numpy', whose
    products are made by BLAS, they agree up to rounding. Short epochs without callbacks and scores run in compiled code
    alone, so that the threads rarely wait for the GIL.

    Parameters
    ----------
    models : sequence of MLP, MLPClassifier or MLPRegressor
        Different objects of any kind, shape and settings. They are fitted in place.
    X : array-like or sparse matrix of shape (n_samples, n_inputs)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Data for all models.
    rows : sequence of array-like of int, default=None
        For each model the indices of its samples, or None for all samples.
    data : sequence of (X, y), default=None
        Data for each model, instead of ``X``, ``y`` and ``rows``.
    fit_params : dict, or sequence of dicts, default=None
        Further arguments of ``fit``, such as ``epochs`` of an MLP: for all models, or for each of them. With ``rows`` a
        ``sample_weight`` belongs to the samples of X, and each model gets those of its rows.
    n_jobs : int or None, default=None
        Number of threads; it limits the threads of all fits together. None uses the cores available to the process, -1
        all cores.
    progress : bool, default=False
        Whether to show a progress bar of fits on stderr.

    Returns
    -------
    dict of int to Exception
        The errors of single fits, such as the DivergenceError of an estimator, by the index of the model; the other
        models are fitted. A warning reports them. An MLP that diverges has ``diverged=True`` instead of an error.

    Raises
    ------
    ValueError
        If an argument is invalid, or a model runs on a GPU.
    TypeError
        If something cannot be pickled that has to be sent to another process.
    Exception
        The first error if every fit fails.

    Notes
    -----
    Ctrl-C ends all fits with a warning: models whose fit has begun keep their current weights, the others are
    unchanged.

    Inside ``joblib.parallel_config(backend=...)`` with "dask", "ray", "loky" or another backend of processes the fits
    run there. Callbacks are then called on the workers: what a Callback collects in its attributes comes back if no
    other fit has it. After Ctrl-C only models whose fit has ended are changed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier, fit_many
    >>> X, y = load_iris(return_X_y=True)
    >>> models = [MLPClassifier(8, learning_rate_init=0.1, random_state=seed) for seed in range(10)]
    >>> fit_many(models, X, y)
    {}
    >>> min(model.score(X, y) for model in models) > 0.9
    True
    """
    if not is_listing(models):
        raise TypeError(f"models must be a list of models, got {type(models).__name__}.")
    models = list(models)
    check_models(models)
    (progress,), n_jobs = check_flags(progress=progress), check_n_jobs(n_jobs)
    given = _data_of_each(models, X, y, rows, data)
    more = _fit_params_of_each(models, fit_params)
    for (own_X, _, own_rows), params in zip(given, more):
        _check_weights_of_rows(own_X, own_rows, params)
    fits = [
        Fit(_fit, model, {"X": X, "y": y, "rows": rows, "fit_params": params})
        for model, (X, y, rows), params in zip(models, given, more)
    ]
    return run_and_report(fits, n_jobs, progress).errors


def check_models(models):
    """Raise an error unless they can be fitted at the same time."""
    for model in models:
        if not isinstance(model, (MLP, BaseMLP)):
            raise TypeError(f"models must be MLP, MLPClassifier or MLPRegressor objects, got {type(model).__name__}.")
        check_alone(model)
        if registry.runs_on_gpu(model.backend):
            raise ValueError(
                f"many fits at once run on the CPU, but a model has backend={model.backend!r}: use backend='auto', "
                "'cython' or 'numba', or fit that model alone."
            )
    if len(set(map(id, models))) < len(models):
        raise ValueError("models has the same object several times: use clone or copy.deepcopy.")
    generators = [model._random_state if isinstance(model, MLP) else model.random_state for model in models]
    shared = Counter(id(one) for one in generators if isinstance(one, np.random.RandomState))
    if shared and max(shared.values()) > 1:
        raise ValueError(
            "several models draw from the same RandomState, in an order that depends on the threads: give each its own "
            "random_state, such as an integer."
        )


def check_alone(model):
    """Raise ValueError if a model that is to be fitted in a thread is trained by several processes."""
    if fit_of(check_communicator(model.communicator)).n_ranks > 1:
        raise ValueError(
            "models fitted in threads cannot share a communicator, which needs the same order of fits in all "
            "processes: fit them one after the other, set communicator to None, or use TabularMLPClassifier or "
            "TabularMLPRegressor, which share members out to the processes."
        )


def run_and_report(fits, n_jobs, progress):
    """Run fits with a progress bar, and warn of errors and Ctrl-C. Raises the first error if all fail.

    Returns an Ended.
    """
    ended = run_fits(fits, n_jobs, bar=progress_bar(progress)(total=len(fits), unit=" fits"))
    errors = ended.errors
    if ended.interrupted:
        warnings.warn(f"Training interrupted by user: {len(ended.indices)} of {len(fits)} models have been fitted.")
    if errors and len(errors) == len(fits):
        raise errors[0]
    if errors:
        index, error = next(iter(errors.items()))
        warnings.warn(f"{len(errors)} of {len(fits)} fits failed. The first error is that of model {index}: {error}")
    return ended


def _data_of_each(models, X, y, rows, data):
    """(X, y, rows or None) for each model."""
    if data is not None:
        if X is not None or y is not None or rows is not None:
            raise ValueError("data holds X and y of each model: do not pass X, y or rows with it.")
        pairs = _one_for_each("data", data, models)
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
            raise ValueError("data must have a pair (X, y) for each model; other arguments of fit go into fit_params.")
        return [(*pair, None) for pair in pairs]
    if X is None or y is None:
        raise ValueError("fit_many requires X and y, or data with a pair (X, y) for each model.")
    if rows is None:
        return [(X, y, None)] * len(models)
    X, y = _with_rows(X, y)
    n_samples = num_samples(X)
    return [(X, y, _checked_rows("rows", given, n_samples)) for given in _one_for_each("rows", rows, models)]


def _with_rows(X, y):
    """X and y in containers that rows can be taken from. Raises ValueError if their lengths differ."""
    for name, given in {"X": X, "y": y}.items():
        if not (is_listing(given) or is_frame(given) or issparse(given)):
            raise ValueError(f"{name} must be an array, a frame or a list, got {type(given).__name__}.")
    X, y = (np.asarray(given) if isinstance(given, memoryview) else given for given in (X, y))
    return indexable(checked_sparse(X, "X"), checked_sparse(y, "y"))


def _checked_rows(name, rows, n_samples):
    if rows is None:
        return None
    rows = as_numbers(rows, name)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size or rows.min() < 0 or rows.max() >= n_samples:
        also = ", or None for all samples, for each model" if name == "rows" else ""
        raise ValueError(
            f"{name} must hold indices of samples from 0 to {n_samples - 1} (np.flatnonzero converts a mask){also}, "
            f"got {rows!r}."
        )
    return rows


def _fit_params_of_each(models, fit_params):
    if fit_params is None or isinstance(fit_params, Mapping):
        return [_checked_fit_params(fit_params)] * len(models)
    return [_checked_fit_params(params) for params in _one_for_each("fit_params", fit_params, models)]


def _checked_fit_params(fit_params):
    fit_params = {} if fit_params is None else fit_params
    if not isinstance(fit_params, Mapping) or not all(isinstance(name, str) for name in fit_params):
        raise ValueError(f"fit_params must be a dict of arguments of fit by name, or None, got {fit_params!r}.")
    return fit_params


def _check_weights_of_rows(X, rows, fit_params):
    """Raise ValueError if rows are to be taken from a ``sample_weight`` that is not one of the samples of X."""
    weight = fit_params.get("sample_weight")
    if rows is not None and is_listing(weight) and num_samples(weight) != num_samples(X):
        raise ValueError(
            f"sample_weight must have a weight for each of the {num_samples(X)} samples of X, of which each fit gets "
            f"those of its rows, got {num_samples(weight)} weights. For weights of each fit alone use fit_many with "
            "data instead of rows."
        )


def _one_for_each(name, given, models):
    if not is_listing(given):
        raise ValueError(f"{name} must be a list with an element for each model, got {type(given).__name__}.")
    given = list(given)
    if len(given) != len(models):
        raise ValueError(f"{name} must have one element for each of the {len(models)} models, got {len(given)}.")
    return given


def _fit(model, X, y, rows, fit_params):
    if rows is not None:
        X, y = rows_of(X, rows), rows_of(y, rows)
        if is_listing(fit_params.get("sample_weight")):
            fit_params = {**fit_params, "sample_weight": rows_of(fit_params["sample_weight"], rows)}
    model.fit(X, y, **fit_params)


def _fit_and_score(model, X, y, rows, fit_params, held_out, score):
    _fit(model, X, y, rows, fit_params)
    return score(model, rows_of(X, held_out), rows_of(y, held_out))


def _folds(cv, X, y, groups, by_class):
    """Pairs of indices of the samples to fit, and of those to score."""
    cv = list(cv) if is_listing(cv) else cv
    if isinstance(cv, (list, Mapping)):
        is_sound = all(isinstance(fold, (tuple, list)) and len(fold) == 2 for fold in cv)
    else:
        is_sound = cv is None or hasattr(cv, "split") or _is_integer(cv)
    if not is_sound:
        raise ValueError("cv must be an int, a splitter, or a list of pairs (rows to fit, rows to score).")
    folds = check_cv(cv, y, classifier=by_class).split(X, y, groups)
    return [tuple(_checked_rows("cv", rows, num_samples(X)) for rows in fold) for fold in folds]


def _is_integer(given):
    return isinstance(given, Integral) and not isinstance(given, NOT_NUMBERS)


def _is_seed(given):
    return _is_integer(given) and 0 <= given < 2**32


class CrossValFit(NamedTuple):
    """Result of ``cross_val_fit``.

    Attributes
    ----------
    models : list of lists of estimators
        ``models[i][j]`` is the estimator with seed i, fitted without the samples of fold j.
    scores : ndarray of shape (n_seeds, n_folds)
        Score of each on the samples of its fold; NaN after an error.
    test_rows : list of ndarray of int
        Indices of the samples of each fold.
    errors : dict of (int, int) to Exception
        Errors of single fits, by seed and fold.
    """

    models: list[list[Any]]
    scores: NDArray
    test_rows: list[NDArray]
    errors: dict[tuple[int, int], Exception]


def cross_val_fit(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    cv: Any = None,
    groups: ArrayLike | None = None,
    seeds: Sequence[int] | None = None,
    scoring: Any = None,
    fit_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> CrossValFit:
    """Fit clones of an estimator for every fold of a cross-validation and every seed, all at once as ``fit_many`` does.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    cv : int, cross-validation splitter or iterable, default=None
        As in ``sklearn.model_selection.cross_validate``: None is five folds, stratified for a classifier.
    groups : array-like of shape (n_samples,), default=None
        Groups for the splitter.
    seeds : sequence of int, default=None
        Values of ``random_state``. None: that of the estimator.
    scoring : str or callable, default=None
        Score on the left-out samples. None: the estimator's ``score``.
    fit_params : dict, default=None
        Further arguments of ``fit``. A ``sample_weight`` belongs to the samples of X; the scores do not use it.
    n_jobs, progress
        As for ``fit_many``.

    Returns
    -------
    CrossValFit
        The fitted estimators, ``models[seed][fold]``, and their ``scores``, of shape (n_seeds, n_folds).

    Raises
    ------
    ValueError
        If an argument is invalid.
    Exception
        The first error if every fit fails.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier, cross_val_fit
    >>> found = cross_val_fit(MLPClassifier((16,), tol=0.01), *load_iris(return_X_y=True), cv=5, seeds=range(3))
    >>> found.scores.shape
    (3, 5)
    """
    if not isinstance(estimator, BaseMLP):
        raise TypeError(f"estimator must be an MLPClassifier or MLPRegressor, got {type(estimator).__name__}.")
    (progress,), n_jobs = check_flags(progress=progress), check_n_jobs(n_jobs)
    if seeds is not None and not (is_listing(seeds) and all(map(_is_seed, seeds))):
        raise ValueError(f"seeds must be None or a list of integers from 0 to {2**32 - 1}, got {seeds!r}.")
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise ValueError(f"scoring must be None, a name or a function that gives one score, got {scoring!r}.")
    fit_params = _checked_fit_params(fit_params)
    if X is None or y is None:
        raise ValueError("cross_val_fit requires X and y.")
    X, y = _with_rows(X, y)
    _check_weights_of_rows(X, slice(None), fit_params)
    seeds = [estimator.random_state] if seeds is None else list(seeds)
    by_class = is_classifier(estimator) and estimator.missing_targets != "ignore"  # only multilabel y has missing ones
    if groups is not None and num_samples(as_labels(groups, "groups")) != num_samples(X):
        raise ValueError(f"groups must have a value for each of the {num_samples(X)} samples of X.")
    folds = _folds(cv, X, y, groups, by_class)
    score = check_scoring(estimator, scoring)
    models = [[clone(estimator).set_params(random_state=seed) for _ in folds] for seed in seeds]
    check_models([model for row in models for model in row])
    scores = np.full((len(seeds), len(folds)), np.nan)
    places, given = list(np.ndindex(scores.shape)), {"X": X, "y": y, "fit_params": fit_params, "score": score}
    fits = [
        Fit(_fit_and_score, models[i][j], given | {"rows": folds[j][0], "held_out": folds[j][1]}) for i, j in places
    ]
    ended = run_and_report(fits, n_jobs, progress)
    for index, value in ended.values.items():
        scores[places[index]] = value
    errors = {places[index]: error for index, error in ended.errors.items()}
    return CrossValFit(models, scores, [test for _, test in folds], errors)
