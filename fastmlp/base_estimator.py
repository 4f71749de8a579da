"""What MLPClassifier and MLPRegressor share: scikit-learn's semantics around the training engine."""

import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp.kernels.network import Network, aligned_copy, layer_views, optimizer

from . import backends, lbfgs
from .checks import check_network
from .initialization import glorot_uniform
from .interruption import Interruption
from .prediction import predict_rows
from .saving import load, save
from .threads import ThreadLimit
from .training import Diverged, Epochs, Interrupted, TrainingState

STOCHASTIC_SOLVERS = ("sgd", "adam")

# What fit leaves behind, beside the network and its training state.
FITTED = (
    "n_features_in_", "feature_names_in_", "classes_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_",
    "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "backend_",
    "backend_reason_", "_no_improvement_count", "_best_parameters", "_random_state", "_label_type",
)  # fmt: skip

DIVERGED = (
    "Training diverged in iteration {iteration}: loss or weights are no longer finite. The weights of the end of "
    "iteration {kept} are kept. Scale the inputs (StandardScaler), or lower learning_rate_init (now {rate:g})."
)


class BaseMLP(BaseEstimator, ABC):
    """Everything but the kinds of targets. Parameters and attributes: see the two estimators."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [StrOptions(set(backends.NAMES))],
        "n_jobs": [
            None,
            Interval(Integral, None, -1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
    }

    # What a subclass says about its targets.

    @abstractmethod
    def _validate_input(self, X, y, incremental, reset):
        """(X, y) as given by the user -> (X, y) with y numeric, of one or two dimensions."""

    @abstractmethod
    def _loss_and_output(self):
        """(name of the loss, name of the output activation)."""

    @abstractmethod
    def _decode(self, output):
        """Network outputs of shape (rows, outputs) -> what predict returns."""

    @abstractmethod
    def _score(self, X, y, sample_weight):
        """The score that early stopping watches; NaN where predictions are not finite."""

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix (CSR, CSC) of shape (n_samples, n_features)
            Inputs. float32 is trained in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; a zero weight equals an absent row.

        Returns
        -------
        self : object
            Ctrl-C ends a fit early with the weights so far, and with a warning.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _check_solver(self):
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _fit(self, X, y, sample_weight, incremental):
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if any(not isinstance(width, Integral) or width <= 0 for width in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0 and integers, got {hidden}.")
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, reset=first_pass)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        choice = backends.choose(self.backend)
        self.backend_, self.backend_reason_ = choice.name, choice.reason
        self._random_state = check_random_state(self.random_state)
        sizes = (X.shape[1], *map(int, hidden), y.shape[1])
        if first_pass:
            self._initialize(sizes, X.dtype)
        elif sizes != self._network.sizes:
            raise ValueError(
                f"the fitted network has layers of {self._network.sizes} units, data and hidden_layer_sizes now ask "
                f"for {sizes}: warm_start and partial_fit cannot change them."
            )
        self._make_writable()
        dtype = self._parameters.dtype
        X = X.tocsr().astype(dtype, copy=False) if issparse(X) else np.ascontiguousarray(X, dtype)
        with np.errstate(over="ignore"):
            y = np.ascontiguousarray(y, dtype)
        if not np.isfinite(y).all():
            raise ValueError(f"y contains values too large for {dtype}: scale it, or pass X in float64.")
        sample_weight = None if sample_weight is None else sample_weight.astype(dtype, copy=False)
        with ThreadLimit(self.n_jobs), Interruption() as interruption:
            if self.solver == "lbfgs":
                self._fit_lbfgs(choice.module, X, y, sample_weight, interruption)
            else:
                self._fit_stochastic(choice.module, X, y, sample_weight, incremental, interruption)
        return self

    def _initialize(self, sizes, dtype):
        loss, self.out_activation_ = self._loss_and_output()
        hidden = (self.activation,) * (len(sizes) - 2)
        self._network = Network(sizes, (*hidden, self.out_activation_), loss)
        self.n_iter_ = self.t_ = 0
        self.n_outputs_ = sizes[-1]
        self.n_layers_ = len(sizes)
        self._training = self._best_parameters = None
        self._bind(glorot_uniform(self._network, (self.activation,) * len(sizes), self._random_state, dtype))
        if self.solver in STOCHASTIC_SOLVERS:
            self._start_curves()

    def _start_curves(self):
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        if self.early_stopping:
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf

    def _optimizer(self):
        if self.solver == "adam":
            return optimizer(
                "adam", self.learning_rate_init, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon
            )
        name = "nesterov" if self.nesterovs_momentum else "momentum"
        return optimizer(name, self.learning_rate_init, decay=self.momentum)

    def _fit_stochastic(self, kernels, X, y, sample_weight, incremental, interruption):
        if self._training is None or not incremental:
            self._training = TrainingState.start(self._parameters, self._optimizer())
        self._training.order = None
        if not hasattr(self, "loss_curve_") or self.early_stopping != (self.best_loss_ is None):
            self._start_curves()  # an earlier fit had another solver or rule for stopping
        held_out = None
        if self.early_stopping:
            X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight)
        n_rows = X.shape[0]
        batch_size = min(200, n_rows) if self.batch_size == "auto" else self.batch_size
        if batch_size > n_rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
            batch_size = n_rows
        epochs = Epochs(
            kernels, self._network, self._training, X, y, sample_weight, batch_size=int(batch_size),
            alpha=float(self.alpha), random_state=self._random_state if self.shuffle else None,
            interruption=interruption,
        )  # fmt: skip
        self.n_iter_ = 0
        try:
            for _ in range(1 if incremental else self.max_iter):
                self.loss_ = epochs.run()
                self.n_iter_ += 1
                self.t_ += n_rows
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if self._note_progress(held_out):
                    self._best_parameters = self._parameters.copy()
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    self._set_learning_rate(self.learning_rate_init / (self.t_ + 1) ** self.power_t)
                if self._no_improvement_count > self.n_iter_no_change and self._is_over():
                    break
            else:
                if not incremental:
                    message = f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization"
                    warnings.warn(f"{message} hasn't converged yet.", ConvergenceWarning)
        except Diverged:
            message = DIVERGED.format(iteration=self.n_iter_ + 1, kept=self.n_iter_, rate=self.learning_rate_init)
            warnings.warn(message, ConvergenceWarning)
        except (Interrupted, KeyboardInterrupt):
            warnings.warn("Training interrupted by user.")
        if self.early_stopping and self._best_parameters is not None:
            self._parameters[...] = self._best_parameters

    def _hold_out(self, X, y, sample_weight):
        """Split off the validation set, stratified for classes. Returns (X, y, weights, (X, y, weights) held out)."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = (X, y) if sample_weight is None else (X, y, sample_weight)
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        train, validation = [*parts[0::2], None][:3], [*parts[1::2], None][:3]
        if validation[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        X, y = (train[0] if issparse(X) else np.ascontiguousarray(train[0])), np.ascontiguousarray(train[1])
        validation[1] = self._decode(validation[1])
        return X, y, train[2], validation

    def _note_progress(self, held_out):
        """Count epochs without improvement. True where the validation score is the best so far."""
        if held_out is None:
            improved = self.loss_ <= self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
            is_best = False
        else:
            score = self._score(*held_out)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            improved = not score < self.best_validation_score_ + self.tol
            is_best = score > self.best_validation_score_
            self.best_validation_score_ = score if is_best else self.best_validation_score_
        self._no_improvement_count = 0 if improved else self._no_improvement_count + 1
        return is_best

    def _is_over(self):
        """No more improvement: stop, unless an adaptive learning rate can still be lowered."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        rate = self._training.optimizer.learning_rate
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        stop = not adaptive or rate <= 1e-6
        if stop:
            message += " Learning rate too small. Stopping." if adaptive else " Stopping."
        else:
            self._set_learning_rate(rate / 5)
            self._no_improvement_count = 0
            message += f" Setting learning rate to {rate / 5:f}"
        if self.verbose:
            print(message)
        return stop

    def _set_learning_rate(self, rate):
        self._training.optimizer = self._training.optimizer._replace(learning_rate=rate)

    def _fit_lbfgs(self, kernels, X, y, sample_weight, interruption):
        def report(loss):
            if self.verbose:
                print(f"Loss = {loss:.8f}")

        result = lbfgs.fit_lbfgs(
            kernels, self._network, self._parameters, X, y, sample_weight, float(self.alpha), max_iter=self.max_iter,
            max_fun=self.max_fun, tol=self.tol, interruption=interruption, on_iteration=report,
        )  # fmt: skip
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = float(result.fun)
        if result.status == lbfgs.INTERRUPTED:
            warnings.warn("Training interrupted by user.")
        elif result.status == lbfgs.DIVERGED:
            message = (
                f"lbfgs diverged after {self.n_iter_} iteration(s); the last finite weights are kept. Scale the inputs "
                "and targets (StandardScaler)."
            )
            warnings.warn(message, ConvergenceWarning)
        elif result.status != 0:
            more = f" Increase max_iter (now {self.max_iter})." if self.n_iter_ == self.max_iter else ""
            message = (
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={result.status}): "
                f"{result.message}.{more} You might also want to scale the data (StandardScaler)."
            )
            warnings.warn(message, ConvergenceWarning)

    # Parameters: one flat vector, seen through coefs_ and intercepts_.

    def _bind(self, parameters):
        """Make ``parameters`` the model's, with coefs_ and intercepts_ as views of it."""
        self._parameters = parameters
        self.coefs_, self.intercepts_ = layer_views(self._network, parameters)
        self._views = (*self.coefs_, *self.intercepts_)
        if self._training is not None:
            self._training.parameters = parameters

    def _current_parameters(self):
        """The flat vector, after copying in any array that the user has put into coefs_ or intercepts_."""
        current = (*self.coefs_, *self.intercepts_)
        if any(given is not view for given, view in zip(current, self._views, strict=True)):
            for given, view in zip(current, self._views):
                if np.shape(given) != view.shape:
                    raise ValueError(f"coefs_ and intercepts_ must keep their shapes: {view.shape}, {np.shape(given)}.")
                view[...] = given
            self._bind(self._parameters)
        return self._parameters

    def _make_writable(self):
        """Copy what came out of a read-only memory map (joblib.load with mmap_mode)."""
        if not self._current_parameters().flags.writeable:
            self._bind(aligned_copy(self._parameters))
        if self._training is not None and not self._training.slots.flags.writeable:
            self._training.slots = aligned_copy(self._training.slots)

    def __getstate__(self):
        """Without the views, which would pickle every parameter again."""
        views = ("coefs_", "intercepts_", "_views")
        if hasattr(self, "_views"):
            self._current_parameters()
        return {key: value for key, value in super().__getstate__().items() if key not in views}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_parameters" in state:
            self._bind(self._parameters)

    # Files.

    def save(self, path):
        """Write parameters, fitted state and optimizer state to a model file (docs: ``fastmlp.saving``)."""
        save(self, path)

    @classmethod
    def load(cls, path):
        """The estimator in a file that ``save`` wrote; ModelFileError if it is anything else."""
        return load(path, cls.__name__)

    def saved_state(self):
        """What a model file holds of this estimator."""
        saved = {"params": self.get_params(deep=False)}
        if hasattr(self, "coefs_"):
            saved |= {
                "fitted": {name: getattr(self, name) for name in FITTED if hasattr(self, name)},
                "network": tuple(self._network),
                "parameters": self._current_parameters(),
                "training": None if self._training is None else self._training.to_dict(),
            }
        return saved

    @classmethod
    def from_saved_state(cls, saved):
        """The estimator of ``saved_state``."""
        model = cls(**saved["params"])
        if "network" in saved:
            for name in FITTED:
                if name in saved["fitted"]:
                    setattr(model, name, saved["fitted"][name])
            model._network = Network(*saved["network"])
            check_network(model._network.activations, model._network.loss)
            parameters = aligned_copy(saved["parameters"])
            training = saved["training"]
            model._training = training and TrainingState.from_dict(training, model._network, parameters.dtype)
            model._bind(parameters)
        return model

    # Prediction.

    def _output(self, X):
        """Network outputs of shape (rows, outputs) for input as the user gives it."""
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        return self._forward(X)

    def _forward(self, X):
        kernels = backends.choose(self.backend).module
        with ThreadLimit(self.n_jobs):
            return predict_rows(kernels, self._network, self._current_parameters(), X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
