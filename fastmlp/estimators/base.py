"""What MLPClassifier and MLPRegressor share: scikit-learn's semantics around the training engine."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.io.model_files import Savable
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.model.initializers import INITIALIZERS, check_init, initial_parameters
from fastmlp.model.layered_network import try_own_rules
from fastmlp.model.optimizers import Optimizer
from fastmlp.prediction.network import HasPredictionNetwork, PredictionNetwork
from fastmlp.training.callbacks import NO_CALLBACKS, Callbacks
from fastmlp.training.problem import Problem
from fastmlp.training.scaling import scalings_of
from fastmlp.training.schedules import SCHEDULES, Schedule
from fastmlp.training.streams import Stream, check_n_rows
from fastmlp.validation.checks import check_memory
from fastmlp.validation.sklearn_compat import Interval, Options, StrOptions, check_feature_names, fit_context

from . import samples as samples_of
from .architecture import SCIKIT_SCHEDULES, SOLVERS, plan_of
from .evaluation import evaluation_of
from .fitting import FitCall, lbfgs_fit, restore, start_curves, stochastic_fit
from .network import FittedNetwork
from .prediction import predictor_of
from .sklearn_callbacks import scikit_callbacks
from .sklearn_optimizer import ScikitOptimizer

# What fit leaves behind, beside the network.
FITTED = (
    "feature_names_in_", "classes_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "backend_", "backend_reason_", "_label_type", "_sparse_labels", "_targets",
    "evals_result_", "_initial_rate",
)  # fmt: skip
NOT_SHARED = {"loss_curve_", "validation_scores_", "evals_result_"}


@contextmanager
def restored_on_error(estimator, before, kind):
    """An error of that kind leaves the estimator with the attributes of ``before``."""
    try:
        yield
    except kind:
        restore(estimator, before)
        raise


class BaseMLP(HasPredictionNetwork, Savable, CallbackSupportMixin, BaseEstimator, ABC):
    """Everything but the kinds of targets. Parameters and attributes: see the two estimators."""

    _net = None  # a FittedNetwork

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({name for name, row in ACTIVATIONS.items() if not row.rowwise}), tuple, list],
        "solver": [StrOptions(set(SOLVERS)), Optimizer, tuple],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*SCIKIT_SCHEDULES, *SCHEDULES}), Schedule, tuple],
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
        if not self._may_have(self._net.network.loss, self.out_activation_):
            raise ValueError(f"a {type(self).__name__} with {self._net.network.loss} and {self.out_activation_}")

    @abstractmethod
    def _decode(self, output):
        """Network outputs of shape (rows, outputs) -> what predict returns."""

    @abstractmethod
    def _score(self, X, y, sample_weight):
        """The score that early stopping watches; NaN where predictions are not finite."""

    @fit_context(prefer_skip_nested_validation=True)
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

    def _fit(self, X, y, sample_weight, n_epochs=None, classes=None, callbacks=NO_CALLBACKS, evaluation=None,
             stream=None):  # fmt: skip
        """See FitCall; X, y and sample_weight are the first block of a stream."""
        before = dict(vars(self))
        with restored_on_error(self, before, BaseException):
            if self.early_stopping and n_epochs is not None:
                raise ValueError("partial_fit does not support early_stopping=True")
            first_pass = not (self._net is not None and (self.warm_start or n_epochs is not None))
            call = FitCall(first_pass, before, n_epochs, classes, stream, evaluation, callbacks)
            plan, problem, samples, held_out = self._prepare(X, y, sample_weight, call)
            if self.solver == "lbfgs":
                train = lbfgs_fit(self, call, problem, samples)
            else:
                train = stochastic_fit(self, call, plan, problem, samples, held_out)
        train()
        return self

    def _prepare(self, X, y, sample_weight, call):
        """Check everything and draw initial weights. Returns (Plan, Problem, Samples, Samples held out or None)."""
        self._validate_params()  # scikit-learn's wrapper leaves it out for a later partial_fit
        if call.first_pass:
            vars(self).pop("classes_", None)
        hidden = self._hidden_widths()
        self.backend_, kernels, self.backend_reason_ = registry.choose(self.backend)
        samples = samples_of.validated(self, X, y, sample_weight, call.in_parts, call.first_pass, call.classes)
        samples = samples_of.weighted(self, samples, call.in_parts)
        self._random_state = check_random_state(self.random_state)
        plan = plan_of(self, samples.X.shape[1], list(map(int, hidden)), samples.y.shape[1])
        problem = Problem(kernels, plan.network, plan.penalty._replace(alpha=float(self.alpha)), plan.noise)
        self._set_network(problem, samples.X.dtype, call.first_pass)
        self._net.make_writable()
        samples, held_out = samples_of.in_dtype(self, samples, call.in_parts), None
        if self.early_stopping and self.solver != "lbfgs" and call.evaluation is None:
            samples, held_out = samples_of.split_off(self, samples)
        if call.first_pass:
            self._set_scaling(samples, call.stream)
        samples = samples_of.as_network_sees(self, samples)
        if held_out is not None:
            held_out = samples_of.as_network_sees(self, held_out)
            if not self._watches_loss():
                held_out = held_out._replace(y=self._decode(held_out.y))
        if call.first_pass:
            self._warn_of_targets(samples.y, samples.weight)
        if call.stream is not None:
            check_n_rows(call.stream.n_rows, plan.optimizer)
        if call.evaluation is not None:
            call.evaluation.begin()
        return plan, problem, samples, held_out

    def _set_scaling(self, samples, stream):
        """Measure what ``scale`` asks for."""
        if self.scale is None:
            return
        parts = [samples]
        if stream is not None and stream.comes_again:
            parts = stream.blocks(None, partial(samples_of.unscaled_block, self))
        scalings = scalings_of(parts, self.scale != "targets", self._scales_targets())
        self._net.scaling, self._net.target_scaling = scalings

    def _scales_targets(self):
        """Whether ``scale`` asks for standardised targets."""
        return False

    def _warn_of_targets(self, y, sample_weight):
        """Warn of targets that are hard to learn."""

    def _watches_loss(self):
        """Whether early stopping watches the loss; for scikit-learn's losses it watches what scikit-learn does."""
        return getattr(self.loss, "name", self.loss) not in self._scikit_losses

    def _mean_loss(self, samples):
        """Loss without penalties, of samples as the network sees them."""
        return predictor_of(self).loss(samples)

    def _shuffled(self, order):
        """scikit-learn's: each epoch permutes the order of the last."""
        return order[self._random_state.permutation(len(order))]

    def prediction_network(self):
        """The PredictionNetwork for inputs and outputs in the user's units."""
        check_is_fitted(self)
        return PredictionNetwork(*self._net.with_scaling_in_weights(), "numbers")

    def check_feature_names(self, X):
        """Raise, or warn, as scikit-learn does where the column names of X are not those of the first fit."""
        check_feature_names(self, X, reset=False)

    @property
    def _optimizer(self):
        """The learning rates of the last fit, where scikit-learn's estimators have them."""
        if self._net is None or self._net.training is None:
            raise AttributeError(f"{type(self).__name__} has no '_optimizer' before a fit, or after one by 'lbfgs'.")
        return ScikitOptimizer(self)

    @property
    def _no_improvement_count(self):
        """scikit-learn's name for the epochs without improvement."""
        return self._net.progress.stalled

    def _set_learning_rate(self, rate):
        self._net.training.optimizer = self._net.training.optimizer._replace(learning_rate=rate)

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

    def _set_network(self, problem, dtype, first_pass):
        """Take the network, with new weights or those of the last fit."""
        network, fitted = problem.network, None if first_pass else self._net.network
        if not first_pass and (network.blocks, network.skips) != (fitted.blocks, fitted.skips):
            change = f"layers of {fitted.sizes} units, data and hidden_layer_sizes now ask for {network.sizes}"
            if network.sizes == fitted.sizes:
                change = "other skips or learned slopes than skip and activation now ask for"
            raise ValueError(f"the fitted network has {change}: warm_start and partial_fit cannot change them.")
        self.out_activation_ = network.activations[-1]
        if not first_pass:
            try_own_rules(problem.kernels, network, self._net.parameters)
            self._net = self._net.shallow_copy()  # an error before training brings the old one back
            self._net.network, self._net.noise = network, problem.noise
            return
        self.n_iter_ = self.t_ = 0
        self.n_outputs_, self.n_layers_ = network.sizes[-1], len(network.sizes)
        # For the gain, scikit-learn takes the output layer to have the hidden activation too.
        gains = (self.activation,) * len(network.sizes) if isinstance(self.activation, str) else network.activations
        init = check_init(self.init)
        parameters = initial_parameters(network, init, gains, self._random_state, dtype)
        try_own_rules(problem.kernels, network, parameters)
        self._net = FittedNetwork(network, parameters, problem.noise)
        if self.solver != "lbfgs":
            start_curves(self)

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
        return registry.choose(self.backend).module.row_predictor(*self._net.with_scaling_in_weights())

    @property
    def coefs_(self):
        return self._fitted_net("coefs_").coefs

    @coefs_.setter
    def coefs_(self, arrays):
        self._fitted_net("coefs_").coefs = arrays

    @property
    def intercepts_(self):
        return self._fitted_net("intercepts_").intercepts

    @intercepts_.setter
    def intercepts_(self, arrays):
        self._fitted_net("intercepts_").intercepts = arrays

    def _fitted_net(self, attribute):
        if self._net is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r} before fit.")
        return self._net

    def __setstate__(self, state):
        super().__setstate__(state)
        if self._net is not None:
            for name in NOT_SHARED & state.keys():  # by a shallow copy, which goes on by itself
                setattr(self, name, deepcopy(state[name]))
            self._net = self._net.independent_copy()

    def saved_state(self):
        """What a model file holds of this estimator."""
        saved = {"params": self.get_params(deep=False)}
        if self._net is not None:
            saved["fitted"] = {name: getattr(self, name) for name in FITTED if hasattr(self, name)}
            saved["net"] = self._net.to_dict()
        return saved

    @classmethod
    def from_saved_state(cls, saved):
        """The estimator of ``saved_state``."""
        model = cls(**saved["params"])
        if "net" in saved:
            for name in FITTED:
                if name in saved["fitted"]:
                    setattr(model, name, saved["fitted"][name])
            model._net = FittedNetwork.from_dict(saved["net"])
            network = model._net.network
            model.n_features_in_, model.n_outputs_ = network.sizes[0], network.sizes[-1]
            model.n_layers_, model.out_activation_ = len(network.sizes), network.activations[-1]
            model._check_outputs()
        return model

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.scale in (None, "targets")
        return tags
