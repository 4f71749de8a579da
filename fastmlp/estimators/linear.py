"""Single-layer networks: Perceptron, Adaline, and linear, logistic and softmax regression."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.model.exclusive import UsedByThreads, one_at_a_time, reads
from fastmlp.model.mlp import MLP
from fastmlp.model.optimizers import make_optimizer
from fastmlp.typing import ArrayLike, Backend, FloatArray, NDArray, OptimizerSpec, RandomState
from fastmlp.validation.arrays import as_labels, as_numbers
from fastmlp.validation.checks import check_integer, check_real

from .restoring import restored_on_error
from .scoring import weights_to_score


class OneLayerClassifier(ClassifierMixin, UsedByThreads, BaseEstimator, ABC):
    """Base class of Perceptron and Adaline: one unit for two classes, otherwise one unit per class."""

    _activation: str
    _loss: str
    _low: int  # the target of the other classes; that of a unit's own class is 1

    def __init__(
        self, learning_rate: float, max_iter: int, *, shuffle: bool, random_state: RandomState, backend: Backend
    ) -> None:
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.backend = backend

    @one_at_a_time
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the weights to X of shape (n_samples, n_features) and class labels y of shape (n_samples,)."""
        with restored_on_error(self, dict(vars(self)), Exception):
            self._train(*self._start(X, y))
        return self

    @abstractmethod
    def _train(self, X: FloatArray, targets: NDArray) -> None:
        """Train ``model_`` and set the attributes of the fit."""

    def _start(self, X, y):
        """Validate the input and set ``model_`` to an MLP with zero weights. Returns (X, targets)."""
        check_real("learning_rate", self.learning_rate, 0, open_low=True)
        check_integer("max_iter", self.max_iter, 1)
        X, y = validate_data(self, as_numbers(X, "X"), as_labels(y, "y"), dtype=np.float64)
        check_classification_targets(y)
        binarizer = LabelBinarizer(neg_label=self._low).fit(y)
        self.classes_ = binarizer.classes_
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two classes, got one class {self.classes_[0]!r}.")
        targets = binarizer.transform(y)
        self.model_ = MLP(
            [(targets.shape[1], self._activation)], self._loss, make_optimizer("sgd", self.learning_rate), init="zeros",
            dtype="float64", backend=self.backend, random_state=self.random_state,
        )  # fmt: skip
        return X, targets

    @reads
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy of the predictions for X."""
        return super().score(X, as_labels(y, "y"), weights_to_score(X, y, sample_weight))

    @property
    def coef_(self) -> FloatArray:
        """Weights of shape (units, n_features)."""
        check_is_fitted(self, "model_")
        return self.model_.weights[0].T

    @property
    def intercept_(self) -> FloatArray:
        """Biases of shape (units,)."""
        check_is_fitted(self, "model_")
        return self.model_.biases[0]

    @reads
    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Compute the pre-activations of the output units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        check_is_fitted(self, "model_")
        X = validate_data(self, as_numbers(X, "X"), dtype=np.float64, reset=False)
        z = X @ self.coef_.T + self.intercept_
        return z[:, 0] if z.shape[1] == 1 else z

    @reads
    def predict(self, X: ArrayLike) -> NDArray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            The class with the largest pre-activation; for two classes, the second one if it is positive.
        """
        z = self.decision_function(X)
        return self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)]


class Perceptron(OneLayerClassifier):
    """Rosenblatt's perceptron (1958), a linear classifier trained by the perceptron rule.

    The weights of a step unit change by learning_rate (t - y) x after each sample. Training converges if the classes
    are linearly separable, and never does otherwise (Minsky & Papert 1969): ``fit`` then warns after ``max_iter``
    passes.

    Parameters
    ----------
    learning_rate : float > 0, default=1
        Scale of the weights. It does not change predictions, because the weights start at 0.
    max_iter : int, default=1000
        Maximum number of passes over the samples.
    shuffle : bool, default=True
        Whether to shuffle the samples before each pass.
    random_state : int, RandomState or None, default=None
        Determines the shuffling.
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'
        Compute backend.

    Attributes
    ----------
    converged_ : bool
        Whether the last pass made no errors.
    errors_ : list of float
        Sum of |t - y| over the samples of each pass.
    n_iter_ : int
        Number of passes.
    coef_, intercept_ : ndarrays of shape (units, n_features) and (units,)
        Weights and biases.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    model_ : MLP
        The single-layer network.

    Examples
    --------
    >>> from fastmlp import Perceptron
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> Perceptron(random_state=0).fit(X, [0, 0, 0, 1]).predict(X)
    array([0, 0, 0, 1])
    """

    _activation, _loss, _low = "step", "perceptron", 0

    def __init__(
        self,
        learning_rate: float = 1.0,
        max_iter: int = 1000,
        *,
        shuffle: bool = True,
        random_state: RandomState = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(learning_rate, max_iter, shuffle=shuffle, random_state=random_state, backend=backend)

    def _train(self, X: FloatArray, targets: NDArray) -> None:
        self.errors_: list[float] = []
        self.converged_ = False
        while len(self.errors_) < self.max_iter and not self.converged_:
            self.model_.fit(X, targets, epochs=1, batch_size=1, shuffle=self.shuffle)
            if self.model_.epoch == len(self.errors_):  # interrupted or diverged, after a warning
                break
            self.errors_.append(self.model_.history["loss"][-1] * len(X))
            self.converged_ = self.errors_[-1] == 0
        self.n_iter_ = len(self.errors_)
        if not self.converged_ and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"the perceptron still makes errors after {self.n_iter_} passes: the classes may not be linearly "
                "separable. Increase max_iter, or use a network with a hidden layer (MLPClassifier).",
                ConvergenceWarning,
            )


class Adaline(OneLayerClassifier):
    """Adaptive linear neuron (Widrow & Hoff 1960), a linear classifier trained on the squared error.

    Gradient descent fits a linear unit to the targets -1 and 1. It converges to the least squares solution, whether or
    not the classes are linearly separable.

    Parameters
    ----------
    learning_rate : float > 0, default=0.01
        Step size of gradient descent.
    max_iter : int, default=100
        Number of passes over the samples.
    batch_size : int or None, default=None
        Samples per step. None uses all samples (full-batch gradient descent); 1 is the rule of Widrow and Hoff.
    shuffle : bool, default=True
        Whether to shuffle the samples before each pass.
    random_state : int, RandomState or None, default=None
        Determines the shuffling.
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'
        Compute backend.

    Attributes
    ----------
    losses_ : list of float
        Half the mean squared error of each pass.
    n_iter_ : int
        Number of passes.
    coef_, intercept_, classes_, model_
        As for ``Perceptron``.
    """

    _activation, _loss, _low = "identity", "squared_error", -1

    def __init__(
        self,
        learning_rate: float = 0.01,
        max_iter: int = 100,
        *,
        batch_size: int | None = None,
        shuffle: bool = True,
        random_state: RandomState = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(learning_rate, max_iter, shuffle=shuffle, random_state=random_state, backend=backend)
        self.batch_size = batch_size

    def _train(self, X: FloatArray, targets: NDArray) -> None:
        self.model_.fit(X, targets, self.max_iter, self.batch_size, shuffle=self.shuffle)
        self.losses_ = self.model_.history["loss"]
        self.n_iter_ = len(self.losses_)


def linear_regression(n_outputs: int = 1, optimizer: OptimizerSpec = "lbfgs", **options: Any) -> MLP:
    """Linear regression: an MLP without hidden layers, y = x W + b, with squared error.

    Parameters
    ----------
    n_outputs : int, default=1
        Number of targets.
    optimizer : str or the result of ``make_optimizer``, default='lbfgs'
    **options
        Further parameters of ``MLP``, such as ``alpha`` (ridge), ``l1`` (lasso) and ``random_state``.

    Returns
    -------
    MLP
        An unfitted model.
    """
    units = check_integer("n_outputs", n_outputs, 1)
    return MLP([(units, "identity")], "squared_error", optimizer, **{"init": "zeros"} | options)


def logistic_regression(n_outputs: int = 1, optimizer: OptimizerSpec = "lbfgs", **options: Any) -> MLP:
    """Logistic regression: an MLP without hidden layers, p = 1 / (1 + e^-(x W + b)), with binary cross-entropy.

    Parameters
    ----------
    n_outputs : int, default=1
        Number of independent labels.
    optimizer, **options
        As for ``linear_regression``.

    Returns
    -------
    MLP
        An unfitted model.
    """
    units = check_integer("n_outputs", n_outputs, 1)
    return MLP([(units, "logistic")], "binary_cross_entropy", optimizer, **{"init": "zeros"} | options)


def softmax_regression(n_classes: int, optimizer: OptimizerSpec = "lbfgs", **options: Any) -> MLP:
    """Softmax regression: an MLP without hidden layers, p = softmax(x W + b), with categorical cross-entropy.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    optimizer, **options
        As for ``linear_regression``.

    Returns
    -------
    MLP
        An unfitted model.
    """
    units = check_integer("n_classes", n_classes, 2)
    return MLP([(units, "softmax")], "categorical_cross_entropy", optimizer, **{"init": "zeros"} | options)
