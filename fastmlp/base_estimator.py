"""What MLPClassifier and MLPRegressor share: scikit-learn's semantics around the training engine."""

import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.kernels.rules import ACTIVATIONS

from . import backends, lbfgs
from .architecture import SCIKIT_SCHEDULES, SOLVERS, network_of, noise_of, optimizer_of, penalty_of
from .callbacks import NO_CALLBACKS, Callbacks
from .checks import check_integer, check_weights
from .device_rows import to_host
from .evaluation import Evaluation
from .flat_parameters import FlatParameters
from .initialization import INITIALIZERS, check_init, initial_parameters
from .interruption import Interruption
from .layered_network import try_own_rules
from .prediction import predict_rows, sample_rows
from .scaling import folded, scaled, scaling_of
from .schedules import SCHEDULES
from .scikit_callbacks import scikit_callbacks
from .stochastic_fit import StochasticFit
from .threads import ThreadLimit


@contextmanager
def restored_on_error(estimator, before, kind):
    """An error of that kind leaves the estimator with the attributes of ``before``."""
    try:
        yield
    except kind:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class BaseMLP(FlatParameters, StochasticFit, CallbackSupportMixin, BaseEstimator, ABC):
    """Everything but the kinds of targets. Parameters and attributes: see the two estimators."""

    _scaling = None  # (mean, deviation) of inputs, with ``scale``

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({name for name, row in ACTIVATIONS.items() if not row.rowwise}), tuple, list],
        "solver": [StrOptions(set(SOLVERS)), tuple],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*SCIKIT_SCHEDULES, *SCHEDULES}), tuple],
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
        "l1": [Interval(Real, 0, None, closed="left")],
        "activity_l1": [Interval(Real, 0, None, closed="left")],
        "activity_l2": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "input_noise": [Interval(Real, 0, None, closed="left")],
        "init": [StrOptions(set(INITIALIZERS)), tuple, list],
        "skip": [Options(Integral, {0}), Interval(Integral, 2, None, closed="left")],
        "skip_weights": ["boolean"],
        "n_layers": [Interval(Integral, 0, None, closed="left"), None],
        "width": [Interval(Integral, 1, None, closed="left"), None],
        "scale": [StrOptions({"standard"}), None],
    }

    # What a subclass says about its targets.

    @abstractmethod
    def _validate_input(self, X, y, incremental, reset, classes):
        """(X, y) as given by the user -> (X, y) with y numeric, of one or two dimensions."""

    def _weigh(self, y, sample_weight, incremental):
        """Weights of rows, where something beside ``sample_weight`` weighs them."""
        return sample_weight

    @abstractmethod
    def _loss_and_output(self):
        """(loss as check_loss takes it, name of the output activation)."""

    @abstractmethod
    def _may_have(self, loss, output_activation):
        """Whether a fitted estimator of this kind can have them."""

    def _check_outputs(self):
        """ValueError if network and targets, as they came out of a file, do not belong together."""
        if not self._may_have(self._network.loss, self.out_activation_):
            raise ValueError(f"a {type(self).__name__} with {self._network.loss} and {self.out_activation_}")

    @abstractmethod
    def _decode(self, output):
        """Network outputs of shape (rows, outputs) -> what predict returns."""

    @abstractmethod
    def _score(self, X, y, sample_weight):
        """The score that early stopping watches; NaN where predictions are not finite."""

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, eval_set=None, eval_names=None, eval_metric=None, callbacks=None):
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix (CSR, CSC) of shape (n_samples, n_features)
            Inputs. float32 is trained in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss; a zero weight equals an absent row.
        eval_set : (X, y), (X, y, sample_weight), or a list of such, default=None
            Rows to score after each epoch, into ``evals_result_``: {name: {metric: scores}}. With ``early_stopping``
            the first set is watched, by the first metric, and no rows are held out.
        eval_names : list of str, default=None
            Of the sets; None calls them 'validation_0', 'validation_1' ...
        eval_metric : str, callable or list, default=None
            Names of scikit-learn's scorers ('accuracy', 'neg_log_loss', 'r2' ...), or functions (estimator, X, y) ->
            float; more is better. None is what ``score`` gives.
        callbacks : fastmlp.Callback, function (model, epoch, results), or a list, default=None
            Called between epochs; what returns a true value ends the fit. ``set_callbacks`` takes those of
            ``sklearn.callback``.

        Returns
        -------
        self : object
            Ctrl-C ends a fit early with the weights so far, and with a warning.
        """
        callbacks = Callbacks(callbacks, self, *scikit_callbacks(self, X, y, sample_weight))
        if eval_set is None and not (eval_names is None and eval_metric is None):
            raise ValueError("eval_names and eval_metric need an eval_set.")
        evaluation = None if eval_set is None else Evaluation(self, eval_set, eval_names, eval_metric)
        return self._fit(X, y, sample_weight, callbacks=callbacks, evaluation=evaluation)

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _fit(self, X, y, sample_weight, epochs=None, classes=None, callbacks=NO_CALLBACKS, evaluation=None):
        """``epochs``: of partial_fit, else None."""
        incremental = epochs is not None
        before = dict(vars(self))
        with restored_on_error(self, before, BaseException):
            holds_out = self.early_stopping and self.solver != "lbfgs" and evaluation is None
            data = self._prepare(X, y, sample_weight, incremental, classes, holds_out)
            if not incremental:
                vars(self).pop("evals_result_", None)
        kernels = backends.choose(self.backend).module
        # Where weights were drawn anew the old ones are still whole, if something fails that is neither divergence nor
        # Ctrl-C: no memory, no stdout to print to.
        drawn_anew = self._parameters is not before.get("_parameters")
        guard = restored_on_error(self, before, Exception) if drawn_anew else nullcontext()
        with callbacks, guard, ThreadLimit(self.n_jobs), Interruption() as interruption:
            if self.solver == "lbfgs":
                self._fit_lbfgs(kernels, *data[:3], interruption, callbacks, evaluation)
            else:
                self._fit_stochastic(kernels, *data, epochs, interruption, callbacks, evaluation)
        return self

    def _prepare(self, X, y, sample_weight, incremental, classes, holds_out):
        """Check everything and draw initial weights. Returns (X, y, sample_weight, rows held out) for the kernels."""
        self._validate_params()  # scikit-learn's wrapper leaves it out for a later partial_fit
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        hidden = self._hidden_widths()
        self.backend_, _, self.backend_reason_ = backends.choose(self.backend)
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y, sample_weight = map(to_host, (X, y, sample_weight))
        X, y = self._validate_input(X, y, incremental, first_pass, classes)
        sample_weight = check_weights(sample_weight, X, X.dtype)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        sample_weight = self._weigh(y, sample_weight, incremental)
        self._random_state = check_random_state(self.random_state)
        self._set_network(X.shape[1], list(map(int, hidden)), y.shape[1], X.dtype, first_pass)
        self._make_writable()
        dtype = self._parameters.dtype
        X = X.tocsr().astype(dtype, copy=False) if issparse(X) else np.ascontiguousarray(X, dtype)
        with np.errstate(over="ignore"):
            y = np.ascontiguousarray(y, dtype)
        if not np.isfinite(y).all():
            raise ValueError(f"y contains values too large for {dtype}: scale it, or pass X in float64.")
        sample_weight = None if sample_weight is None else sample_weight.astype(dtype, copy=False)
        held_out = None
        if holds_out:
            X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight)
        if first_pass:
            self._scaling = None if self.scale is None else scaling_of(X, sample_weight)
        if self._scaling is not None:
            X = scaled(X, self._scaling)
            held_out = held_out and [scaled(held_out[0], self._scaling), *held_out[1:]]
        if self.solver != "lbfgs" and self.batch_size != "auto" and self.batch_size > X.shape[0]:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        return X, y, sample_weight, held_out

    def _hidden_widths(self):
        """Units of the hidden layers, by whichever parameters say them."""
        if self.n_layers is not None or self.width is not None:
            layers, width = (
                usual if given is None else given for given, usual in ((self.n_layers, 1), (self.width, 100))
            )
            return [int(width)] * layers
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if any(not isinstance(width, Integral) or width <= 0 for width in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0 and integers, got {hidden}.")
        return hidden

    def _set_network(self, n_inputs, hidden, n_outputs, dtype, first_pass):
        """The network that parameters and data ask for, with weights drawn anew or kept."""
        network, dropout = network_of(self, n_inputs, hidden, n_outputs)
        if not first_pass and (network.blocks, network.skips) != (self._network.blocks, self._network.skips):
            change = f"layers of {self._network.sizes} units, data and hidden_layer_sizes now ask for {network.sizes}"
            if network.sizes == self._network.sizes:
                change = "other skips or learned slopes than skip and activation now ask for"
            raise ValueError(f"the fitted network has {change}: warm_start and partial_fit cannot change them.")
        penalty_of(self)
        if self.solver != "lbfgs":
            optimizer_of(self, network)
        self._network, self._noise = network, noise_of(self, network, dropout, 0)
        self.out_activation_ = network.activations[-1]
        if not first_pass:
            try_own_rules(backends.choose(self.backend).module, network, self._parameters)
            return
        self.n_iter_ = self.t_ = 0
        self.n_outputs_ = n_outputs
        self.n_layers_ = len(network.sizes)
        self._training = self._best_parameters = None
        # For the gain, scikit-learn takes the output layer to have the hidden activation too.
        gains = (self.activation,) * len(network.sizes) if isinstance(self.activation, str) else network.activations
        init = check_init(self.init)
        parameters = initial_parameters(network, init, gains, self._random_state, dtype)
        try_own_rules(backends.choose(self.backend).module, network, parameters)
        self._bind(parameters)
        if self.solver != "lbfgs":
            self._start_curves()

    def _fit_lbfgs(self, kernels, X, y, sample_weight, interruption, callbacks, evaluation):
        if evaluation is not None:
            self._start_curves()
            self._begin_evaluation(evaluation)
        stopped = False

        def on_iteration(loss):
            nonlocal stopped
            if self.verbose:
                print(f"Loss = {loss:.8f}")
            if evaluation is not None:
                self.loss_ = loss
                self.loss_curve_.append(loss)
                self._watch(None, evaluation)
                stopped = self.early_stopping and self._no_improvement_count > self.n_iter_no_change
            if callbacks:
                stopped |= callbacks.after_epoch({"loss": loss} | (evaluation.last() if evaluation else {}))
            return stopped

        result = lbfgs.fit_lbfgs(
            kernels, self._network, self._parameters, X, y, sample_weight, float(self.alpha), penalty_of(self),
            max_iter=self.max_iter, max_fun=self.max_fun, tol=self.tol, interruption=interruption,
            on_iteration=on_iteration,
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
        elif result.status != 0 and not stopped:
            more = f" Increase max_iter (now {self.max_iter})." if self.n_iter_ == self.max_iter else ""
            message = (
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={result.status}): "
                f"{result.message}.{more} You might also want to scale the data (StandardScaler)."
            )
            warnings.warn(message, ConvergenceWarning)
        if evaluation is not None:
            self._restore_best()

    # Prediction.

    def _output(self, X):
        """Network outputs of shape (rows, outputs) for input as the user gives it."""
        if self._is_plain(X):
            kernels, parameters = backends.choose(self.backend).module, self._current_parameters()
            with ThreadLimit(self.n_jobs):
                output = kernels.forward(self._network, parameters, np.ascontiguousarray(X, parameters.dtype), True)
            if output is not None:
                return output
        check_is_fitted(self)
        X = self._checked(X)
        return self._forward(X)

    def _checked(self, X):
        """Rows to predict from, as scikit-learn wants them."""
        X = to_host(X)
        sparse = ["csr", "csc"] if self._scaling is None else False
        X = validate_data(self, X, accept_sparse=sparse, dtype=(np.float64, np.float32), reset=False)
        return X if self._scaling is None else scaled(X, self._scaling)

    def _is_plain(self, X):
        """Whether scikit-learn's validation, which takes its time, could find nothing but infinity or NaN."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float64, np.float32)
            and X.shape[1:] == (getattr(self, "n_features_in_", None),)
            and X.size > 0
            and not hasattr(self, "feature_names_in_")
            and self._scaling is None
        )

    def compile_predict(self):
        """A function for one row at a time, without validation, in about a microsecond for a small network.

        Returns
        -------
        callable
            From an array of n_features_in_ numbers in the dtype of ``coefs_`` to the network's outputs, shape
            (n_outputs_,): values, or probabilities of classes (of the second one where there are two; what the logistic
            units say where the loss is not 'cross_entropy'). It knows the
            weights as they are now and gives the same array each time: copy what you keep, and take one per thread.
        """
        check_is_fitted(self)
        return backends.choose(self.backend).module.row_predictor(*self._for_inputs_as_they_are())

    def _for_inputs_as_they_are(self):
        """(network, parameters) with ``scale`` in the weights."""
        parameters = self._current_parameters()
        if self._scaling is not None:
            parameters = folded(self._network, parameters, self._scaling)
        return self._network, parameters

    def _forward(self, X):
        kernels = backends.choose(self.backend).module
        with ThreadLimit(self.n_jobs):
            return predict_rows(kernels, self._network, self._current_parameters(), X)

    def _samples(self, X, mc_samples, transform):
        """(mean, standard deviation) of ``transform`` of the outputs over random passes."""
        check_integer("mc_samples", mc_samples, 2)
        check_is_fitted(self)
        if self._noise is None:
            raise ValueError(
                "mc_samples needs an estimator fitted with dropout or noise: every pass would be the same."
            )
        X = self._checked(X)
        seed = 0 if self._training is None else self._training.seed
        kernels, noise = backends.choose(self.backend).module, self._noise._replace(seed=seed)
        with ThreadLimit(self.n_jobs):
            return sample_rows(kernels, self._network, self._current_parameters(), X, noise, mc_samples, transform)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.scale is None
        return tags
