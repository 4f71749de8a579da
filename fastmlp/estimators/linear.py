"""The classics, as networks of one layer: Perceptron, Adaline, and linear, logistic and softmax regression."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.model.mlp import MLP
from fastmlp.model.optimizers import make_optimizer
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import check_integer, check_real

from .base import restored_on_error


class OneLayerClassifier(ClassifierMixin, BaseEstimator):
    """What Perceptron and Adaline share: one unit for two classes, else one unit for each."""

    def _start(self, X, y, activation, loss, low):
        """(checked X, targets ``low`` and 1, an MLP of one layer with weights 0)."""
        check_real("learning_rate", self.learning_rate, 0, open_low=True)
        check_integer("max_iter", self.max_iter, 1)
        X, y = validate_data(self, as_numbers(X, "X"), y, dtype=np.float64)
        check_classification_targets(y)
        binarizer = LabelBinarizer(neg_label=low).fit(y)
        self.classes_ = binarizer.classes_
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two classes, got the one class {self.classes_[0]!r}.")
        targets = binarizer.transform(y)
        self.model_ = MLP(
            [(targets.shape[1], activation)], loss, make_optimizer("sgd", self.learning_rate), init="zeros",
            dtype="float64", backend=self.backend, random_state=self.random_state,
        )  # fmt: skip
        return X, targets

    @property
    def coef_(self):
        """Weights of shape (units, n_features)."""
        check_is_fitted(self, "model_")
        return self.model_.weights[0].T

    @property
    def intercept_(self):
        """Biases of shape (units,)."""
        check_is_fitted(self, "model_")
        return self.model_.biases[0]

    def decision_function(self, X):
        """Pre-activations, shape (n_samples,) for two classes, else (n_samples, n_classes)."""
        check_is_fitted(self, "model_")
        X = validate_data(self, as_numbers(X, "X"), dtype=np.float64, reset=False)
        z = X @ self.coef_.T + self.intercept_
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X):
        """The class on whose side of the line a row is, or whose unit says yes the loudest."""
        z = self.decision_function(X)
        return self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)]


class Perceptron(OneLayerClassifier):
    """Rosenblatt's perceptron (1958): a step unit, changed by learning_rate (t - y) x after each row.

    It finds weights without an error where a straight line parts the classes, and else goes on for ever (Minsky &
    Papert 1969): then ``fit`` warns.

    Parameters
    ----------
    learning_rate : float > 0, default=1
        It scales the weights and changes nothing else, as they start at 0.
    max_iter : int, default=1000
        Passes over the rows.
    shuffle : bool, default=True
        Whether rows are shuffled before each pass.
    random_state : int, RandomState or None, default=None
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'

    Attributes
    ----------
    converged_ : bool
        Whether a pass was made without an error.
    errors_ : list of float
        Sum of |t - y| over the rows of each pass.
    n_iter_ : int
        Passes made.
    coef_, intercept_ : arrays of shape (units, n_features) and (units,)
    classes_ : array
    model_ : MLP
        The network of one layer.

    Examples
    --------
    >>> from fastmlp import Perceptron
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> Perceptron(random_state=0).fit(X, [0, 0, 0, 1]).predict(X)
    array([0, 0, 0, 1])
    """

    def __init__(self, learning_rate=1.0, max_iter=1000, *, shuffle=True, random_state=None, backend="auto"):
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.backend = backend

    def fit(self, X, y):
        """Learn from rows X of shape (n_samples, n_features) and labels y of shape (n_samples,)."""
        with restored_on_error(self, dict(vars(self)), Exception):
            X, targets = self._start(X, y, "step", "perceptron", low=0)
        self.errors_, self.converged_ = [], False
        while len(self.errors_) < self.max_iter and not self.converged_:
            self.model_.fit(X, targets, epochs=1, batch_size=1, shuffle=self.shuffle)
            if self.model_.epoch == len(self.errors_):  # interrupted or diverged, and a warning said so
                break
            self.errors_.append(self.model_.history["loss"][-1] * len(X))
            self.converged_ = self.errors_[-1] == 0
        self.n_iter_ = len(self.errors_)
        if not self.converged_ and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"the perceptron still makes errors after {self.n_iter_} passes: perhaps no straight line parts the "
                "classes. A hidden layer can (MLPClassifier); otherwise raise max_iter.",
                ConvergenceWarning,
            )
        return self


class Adaline(OneLayerClassifier):
    """Adaptive linear neuron (Widrow & Hoff 1960): gradient descent on the squared error of a linear unit.

    Targets are -1 and 1; what is learned is the least squares fit, whether or not a line parts the classes.

    Parameters
    ----------
    learning_rate : float > 0, default=0.01
    max_iter : int, default=100
        Passes over the rows.
    batch_size : int or None, default=None
        Rows of a step: None takes all of them (gradient descent), 1 is Widrow and Hoff's own rule.
    shuffle : bool, default=True
    random_state : int, RandomState or None, default=None
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'

    Attributes
    ----------
    losses_ : list of float
        Half the mean squared error of each pass.
    n_iter_ : int
        Passes made.
    coef_, intercept_, classes_, model_
        As of Perceptron.
    """

    def __init__(self, learning_rate=0.01, max_iter=100, *, batch_size=None, shuffle=True, random_state=None,
                 backend="auto"):  # fmt: skip
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random_state = random_state
        self.backend = backend

    def fit(self, X, y):
        """Learn from rows X of shape (n_samples, n_features) and labels y of shape (n_samples,)."""
        with restored_on_error(self, dict(vars(self)), Exception):
            X, targets = self._start(X, y, "identity", "squared_error", low=-1)
        self.model_.fit(X, targets, self.max_iter, self.batch_size, shuffle=self.shuffle)
        self.losses_ = self.model_.history["loss"]
        self.n_iter_ = len(self.losses_)
        return self


def linear_regression(n_outputs=1, optimizer="lbfgs", **options):
    """An MLP without hidden layers for least squares: y = x W + b.

    Parameters
    ----------
    n_outputs : int, default=1
    optimizer : as for MLP, default='lbfgs'
    **options
        Further ones of MLP: alpha (ridge), l1 (lasso), random_state ...

    Returns
    -------
    MLP
        Not yet fitted.
    """
    return MLP([(n_outputs, "identity")], "squared_error", optimizer, init="zeros", **options)


def logistic_regression(n_outputs=1, optimizer="lbfgs", **options):
    """The same for yes or no, each output by itself: p = 1 / (1 + e^-(x W + b)), by cross-entropy."""
    return MLP([(n_outputs, "logistic")], "binary_cross_entropy", optimizer, init="zeros", **options)


def softmax_regression(n_classes, optimizer="lbfgs", **options):
    """The same for several classes: p = softmax(x W + b), by cross-entropy."""
    return MLP([(n_classes, "softmax")], "categorical_cross_entropy", optimizer, init="zeros", **options)
