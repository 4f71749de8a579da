"""What MLPClassifier and MLPRegressor share: scikit-learn's semantics around the training engine."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastmlp.backends import registry
from fastmlp.backends.threads import ThreadLimit
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.model.initializers import INITIALIZERS, check_init, initial_parameters
from fastmlp.model.layered_network import try_own_rules
from fastmlp.training.callbacks import NO_CALLBACKS, Callbacks
from fastmlp.training.interruption import Interruption
from fastmlp.training.lbfgs import loss_and_gradient_in_blocks
from fastmlp.training.scaling import scaled, scalings_of
from fastmlp.training.schedules import SCHEDULES
from fastmlp.training.streams import Stream, check_n_rows
from fastmlp.validation.arrays import as_labels, as_numbers
from fastmlp.validation.checks import check_memory, check_sum_of_weights, check_weights

from .architecture import SCIKIT_SCHEDULES, SOLVERS, network_of, noise_of, optimizer_of, penalty_of
from .evaluation import evaluation_of
from .flat_parameters import FlatParameters
from .lbfgs_fit import LbfgsFit
from .prediction import EstimatorPrediction
from .sklearn_callbacks import scikit_callbacks
from .stochastic_fit import StochasticFit


@contextmanager
def restored_on_error(estimator, before, kind):
    """An error of that kind leaves the estimator with the attributes of ``before``."""
    try:
        yield
    except kind:
        restore(estimator, before)
        raise


def restore(estimator, before):
    vars(estimator).clear()
    vars(estimator).update(before)


@contextmanager
def kept_on_error(estimator, before, first_pass):
    """Keep the weights so far after an error, such as one of a callback.

    Where new weights were drawn and no epoch has ended, restore the attributes of ``before`` instead.
    """
    try:
        yield
    except Exception:
        if first_pass and not estimator.n_iter_:
            restore(estimator, before)
        else:
            estimator._keep_weights()
        raise


class BaseMLP(
    FlatParameters, StochasticFit, LbfgsFit, EstimatorPrediction, CallbackSupportMixin, BaseEstimator, ABC
):  # fmt: skip
    """Everything but the kinds of targets. Parameters and attributes: see the two estimators."""

    # (mean, standard deviation) of inputs and of targets, with ``scale``
    _scaling = _target_scaling = None

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
        "backend": [StrOptions(set(registry.NAMES))],
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

    _scikit_losses = ()  # names of the losses that scikit-learn's estimator has

    @abstractmethod
    def _validate_input(self, X, y, in_parts, reset, classes):
        """(X, y) as given by the user -> (X, y) with y numeric, of one or two dimensions."""

    def _weigh(self, y, sample_weight, in_parts):
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, eval_set=None, eval_X=None, eval_y=None, eval_names=None,
            eval_metric=None, callbacks=None):  # fmt: skip
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
        eval_X, eval_y : array-like, or tuple of such, default=None
            The same sets as two arguments, so that a pipeline can transform them: ``Pipeline(...,
            transform_input=["eval_X"])`` with scikit-learn's metadata routing.
        eval_names : list of str, default=None
            Of the sets; None calls them 'validation_0', 'validation_1' ...
        eval_metric : str, callable or list, default=None
            Names of scikit-learn's scorers ('accuracy', 'neg_log_loss', 'r2' ...), 'neg_loss' for minus the loss
            without penalties, or functions (estimator, X, y) -> float; more is better. None is what ``score`` gives,
            and 'neg_loss' with a loss that scikit-learn does not have.
        callbacks : fastmlp.Callback, function (model, epoch, results), or a list, default=None
            Called between epochs; what returns a true value ends the fit. ``set_callbacks`` takes those of
            ``sklearn.callback``.

        Returns
        -------
        self : object
            Ctrl-C ends a fit early with the weights so far, and with a warning. An error of a callback or a metric is
            raised; after at least one epoch the weights so far are kept, or with ``early_stopping`` the best ones.

        Raises
        ------
        ValueError
            For invalid input; and where the fit diverges. Then the estimator is fitted with the last finite weights. If
            early stopping has weights to restore there is only a warning.
        """
        callbacks = Callbacks(callbacks, self, *scikit_callbacks(self, X, y, sample_weight))
        evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
        return self._fit(X, y, sample_weight, callbacks=callbacks, evaluation=evaluation)

    def _fit_stream(self, blocks, n_mixed, n_rows, classes, evaluation, callbacks):
        """The ``fit_stream`` of both estimators; ``classes`` of a classifier."""
        if self.solver == "lbfgs":
            raise ValueError("fit_stream is for gradient descent: 'lbfgs' needs all rows at once.")
        if self.early_stopping and evaluation is None:
            raise ValueError("early_stopping of fit_stream needs an eval_set: no rows are held out of blocks.")
        stream = Stream(blocks, n_mixed, n_rows, self.max_iter)
        callbacks = Callbacks(callbacks, self, *scikit_callbacks(self, None, None, None))
        return self._fit(*stream.first(), classes=classes, callbacks=callbacks, evaluation=evaluation, stream=stream)

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _fit(self, X, y, sample_weight, epochs=None, classes=None, callbacks=NO_CALLBACKS, evaluation=None,
             stream=None):  # fmt: skip
        """``epochs``: of partial_fit, else None. ``stream``: what X, y and sample_weight are the first block of."""
        before = dict(vars(self))
        with restored_on_error(self, before, BaseException):
            if self.early_stopping and epochs is not None:
                raise ValueError("partial_fit does not support early_stopping=True")
            first_pass = not (hasattr(self, "coefs_") and (self.warm_start or epochs is not None))
            if first_pass:
                vars(self).pop("classes_", None)
            in_parts = epochs is not None or stream is not None
            holds_out = self.early_stopping and self.solver != "lbfgs" and evaluation is None
            data = self._prepare(X, y, sample_weight, in_parts, first_pass, classes, holds_out, stream)
            if stream is not None:
                check_n_rows(stream.n_rows, optimizer_of(self, self._network))
            if evaluation is not None:
                evaluation.begin()
        kernels = registry.choose(self.backend).module
        limit = ThreadLimit(self.n_jobs, kernels)
        with Interruption() as interruption, limit, callbacks:
            with kept_on_error(self, before, first_pass):
                if self.solver == "lbfgs":
                    error = self._fit_lbfgs(kernels, *data[:3], interruption, callbacks, evaluation)
                else:
                    error = self._fit_stochastic(kernels, *data, epochs, interruption, callbacks, evaluation, stream)
            if error is not None:  # of a fit that diverged, which keeps its last finite weights
                raise error
        return self

    def _prepare(self, X, y, sample_weight, in_parts, first_pass, classes, holds_out, stream):
        """Check everything and draw initial weights. Returns (X, y, sample_weight, rows held out) for the kernels."""
        self._validate_params()  # scikit-learn's wrapper leaves it out for a later partial_fit
        hidden = self._hidden_widths()
        self.backend_, _, self.backend_reason_ = registry.choose(self.backend)
        X, y, sample_weight = self._checked_rows(X, y, sample_weight, in_parts, first_pass, classes)
        self._random_state = check_random_state(self.random_state)
        self._set_network(X.shape[1], list(map(int, hidden)), y.shape[1], X.dtype, first_pass)
        self._make_writable()
        X, y, sample_weight = self._in_dtype(X, y, sample_weight, in_parts)
        held_out = None
        if holds_out:
            X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight)
        if first_pass:
            self._scaling = self._target_scaling = None
        if first_pass and self.scale is not None:
            parts = [(X, y, sample_weight)]
            if stream is not None and stream.comes_again:
                parts = stream.blocks(None, self._block_in_dtype)
            which = self.scale != "targets", self._scales_targets()
            self._scaling, self._target_scaling = scalings_of(parts, *which)
        X, y = self._scaled(X, y)
        if held_out is not None:
            held_out[:2] = self._scaled(*held_out[:2])
            if not self._watches_loss():
                held_out[1] = self._decode(held_out[1])
        if first_pass:
            self._warn_of_targets(y, sample_weight)
        return X, y, sample_weight, held_out

    def _scales_targets(self):
        """Whether ``scale`` asks for standardised targets."""
        return False

    def _warn_of_targets(self, y, sample_weight):
        """Warn of targets that are hard to learn."""

    def _scaled(self, X, y):
        """Inputs and targets as the network sees them."""
        X = X if self._scaling is None else scaled(X, self._scaling)
        y = y if self._target_scaling is None else scaled(y, self._target_scaling)
        return X, np.ascontiguousarray(y, self._parameters.dtype)

    def _validated_rows(self, X, y, sample_weight, in_parts, reset, classes):
        X, y = as_numbers(X, "X"), as_labels(y, "y")
        X, y = self._validate_input(X, y, in_parts, reset, classes)
        sample_weight = check_weights(sample_weight, X, X.dtype, in_parts)
        return X, y.reshape(-1, 1) if y.ndim == 1 else y, sample_weight

    def _checked_rows(self, X, y, sample_weight, in_parts, reset, classes):
        X, y, sample_weight = self._validated_rows(X, y, sample_weight, in_parts, reset, classes)
        return X, y, self._weigh(y, sample_weight, in_parts)

    def _in_dtype(self, X, y, sample_weight, in_parts):
        """Checked rows in the dtype of the parameters; targets that are to be scaled in float64."""
        dtype = self._parameters.dtype
        X = X.tocsr().astype(dtype, copy=False) if issparse(X) else np.ascontiguousarray(X, dtype)
        with np.errstate(over="ignore"):
            y = np.ascontiguousarray(y, np.float64 if self._scales_targets() else dtype)
        if not np.isfinite(y).all():
            raise ValueError(f"y contains values too large for {dtype}: scale it, or pass X in float64.")
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"y makes {y.shape[1]} columns, but the network has {self.n_outputs_} outputs.")
        if sample_weight is not None:
            with np.errstate(over="ignore"):  # which the check refuses
                sample_weight = sample_weight.astype(dtype, copy=False)
            check_sum_of_weights(sample_weight, in_parts)
        return X, y, sample_weight

    def _watches_loss(self):
        """Whether early stopping watches the loss; for scikit-learn's losses it watches what scikit-learn does."""
        return (self.loss[0] if isinstance(self.loss, tuple) else self.loss) not in self._scikit_losses

    def _mean_loss(self, X, y, sample_weight):
        """Loss without penalties, of rows that are ready for the kernels."""
        kernels = registry.choose(self.backend).module
        with ThreadLimit(self.n_jobs, kernels):
            given = kernels, self._network, self._current_parameters(), X, y, sample_weight
            return float(loss_and_gradient_in_blocks(*given, 0.0)[0])

    def _loss_of(self, X, y, sample_weight):
        """The same of rows as a user gives them; weights of classes do not count."""
        X, y, sample_weight = self._in_dtype(*self._validated_rows(X, y, sample_weight, True, False, None), False)
        return self._mean_loss(*self._scaled(X, y), sample_weight)

    def _block_in_dtype(self, X, y, sample_weight):
        return self._in_dtype(*self._checked_rows(X, y, sample_weight, True, False, None), True)

    def _checked_block(self, X, y, sample_weight):
        """A block of a stream for the kernels."""
        X, y, sample_weight = self._block_in_dtype(X, y, sample_weight)
        return *self._scaled(X, y), sample_weight

    def _hidden_widths(self):
        """Units of the hidden layers, by whichever parameters say them."""
        if self.n_layers is not None or self.width is not None:
            layers, width = (
                usual if given is None else given for given, usual in ((self.n_layers, 1), (self.width, 100))
            )
            layers, width = int(layers), int(width)
            check_memory((layers - 1) * width * (width + 1), np.float32)  # before there is a list of that length
            return [width] * layers
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
            try_own_rules(registry.choose(self.backend).module, network, self._parameters)
            return
        self.n_iter_ = self.t_ = 0
        self.n_outputs_ = n_outputs
        self.n_layers_ = len(network.sizes)
        self._training = self._best_parameters = None
        # For the gain, scikit-learn takes the output layer to have the hidden activation too.
        gains = (self.activation,) * len(network.sizes) if isinstance(self.activation, str) else network.activations
        init = check_init(self.init)
        parameters = initial_parameters(network, init, gains, self._random_state, dtype)
        try_own_rules(registry.choose(self.backend).module, network, parameters)
        self._bind(parameters)
        if self.solver != "lbfgs":
            self._start_curves()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.scale in (None, "targets")
        return tags
