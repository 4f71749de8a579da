"""Base class of MLPClassifier and MLPRegressor: scikit-learn's API on top of the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.io.model_files import Savable
from fastmlp.model.initializers import check_init, initial_parameters
from fastmlp.model.layered_network import compile_custom_functions
from fastmlp.prediction.network import HasPredictionNetwork, PredictionNetwork
from fastmlp.training.callbacks import NO_CALLBACKS, CombinedCallbacks
from fastmlp.training.problem import Problem
from fastmlp.training.scaling import scalings_of
from fastmlp.training.streams import Stream, check_n_samples
from fastmlp.typing import ArrayLike, Callbacks, DataSet, FloatArray, MatrixLike, Metric
from fastmlp.validation.checks import check_memory
from fastmlp.validation.sklearn_compat import check_feature_names, fit_context

from . import samples as samples_of
from .architecture import plan_of
from .evaluation import evaluation_of
from .fitting import FitCall, lbfgs_fit, restore, start_curves, stochastic_fit
from .network import FittedNetwork
from .prediction import predictor_of
from .sklearn_callbacks import scikit_callbacks
from .sklearn_optimizer import ScikitOptimizer

# Attributes that fit sets, apart from the network.
FITTED = (
    "feature_names_in_", "classes_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "backend_", "backend_reason_", "_label_type", "_sparse_labels", "_targets",
    "evals_result_", "_initial_rate",
)  # fmt: skip
NOT_SHARED = {"loss_curve_", "validation_scores_", "evals_result_"}


@contextmanager
def restored_on_error(estimator, before, kind):
    """Context manager: after an error of that kind the estimator has the attributes in ``before`` again."""
    try:
        yield
    except kind:
        restore(estimator, before)
        raise


class BaseMLP(HasPredictionNetwork, Savable, CallbackSupportMixin, BaseEstimator, ABC):
    """Base class of MLPClassifier and MLPRegressor, which document the parameters and attributes."""

    _net: Any = None  # a FittedNetwork

    # Subclasses define how targets are validated, encoded, decoded and scored.

    _scikit_losses: tuple[str, ...] = ()  # names of the losses of scikit-learn's estimator

    @abstractmethod
    def _validate_input(self, X, y, in_parts, reset, classes):
        """Validate X and y. Returns (X, y) with numeric y of one or two dimensions."""

    def _weigh(self, y, sample_weight, in_parts):
        """Sample weights; a classifier multiplies them with class weights."""
        return sample_weight

    @abstractmethod
    def _loss_and_output(self):
        """(loss as accepted by check_loss, name of the output activation)"""

    @abstractmethod
    def _may_have(self, loss, output_activation):
        """Whether a fitted estimator of this class can have this loss and output activation."""

    def _check_outputs(self):
        """Raise ValueError if network and targets, as read from a file, are inconsistent."""
        if not self._may_have(self._net.network.loss, self.out_activation_):
            raise ValueError(
                f"a {type(self).__name__} cannot have the loss {self._net.network.loss} with the output activation "
                f"{self.out_activation_}"
            )

    @abstractmethod
    def _decode(self, output):
        """Predictions from network outputs of shape (n_samples, n_outputs)."""

    @abstractmethod
    def _score(self, X, y, sample_weight):
        """The score that early stopping monitors; NaN if predictions are not finite."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        eval_set: DataSet | list[DataSet] | None = None,
        eval_X: MatrixLike | tuple[MatrixLike, ...] | None = None,
        eval_y: ArrayLike | tuple[ArrayLike, ...] | None = None,
        eval_names: list[str] | None = None,
        eval_metric: Metric | list[Metric] | None = None,
        callbacks: Callbacks | None = None,
    ) -> Self:
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix (CSR, CSC) of shape (n_samples, n_features)
            Inputs. Training is in float32 if X is float32, otherwise in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss; a sample of weight 0 is ignored.
        eval_set : (X, y), (X, y, sample_weight), or a list of such, default=None
            Evaluation sets, scored after each epoch; scores are stored in ``evals_result_``: {name: {metric: scores}}.
            ``early_stopping`` then monitors the first metric on the first set, and no samples are held out.
        eval_X, eval_y : array-like, or tuple of such, default=None
            The evaluation sets as two arguments instead of ``eval_set``, so that a pipeline can transform them:
            ``Pipeline(..., transform_input=["eval_X"])`` with scikit-learn's metadata routing.
        eval_names : list of str, default=None
            Names of the evaluation sets; by default 'validation_0', 'validation_1' ...
        eval_metric : str, callable or list, default=None
            Names of scikit-learn's scorers ('accuracy', 'neg_log_loss', 'r2' ...), 'neg_loss' for the negative loss
            without penalties, or functions (estimator, X, y) -> float; higher is better. By default the metric of
            ``score``, or 'neg_loss' for a loss that scikit-learn does not have.
        callbacks : fastmlp.Callback, function (model, epoch, results), or a list, default=None
            Called between epochs; return True to stop training. Callbacks of ``sklearn.callback`` are passed to
            ``set_callbacks`` instead.

        Returns
        -------
        self : object
            Ctrl-C ends the fit early with a warning; the current weights are kept. Errors raised by a callback or a
            metric are propagated; after at least one epoch the current weights are kept, or with ``early_stopping`` the
            best ones.

        Raises
        ------
        ValueError
            If the input is invalid, or if training diverges. In the latter case the estimator is fitted with the last
            finite weights. If early stopping has weights to restore, there is only a warning.
        """
        combined = CombinedCallbacks(callbacks, self, *scikit_callbacks(self, X, y, sample_weight))
        evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
        return self._fit(X, y, sample_weight, callbacks=combined, evaluation=evaluation)

    def _fit_stream(self, blocks, shuffle_blocks, n_samples, classes, evaluation, callbacks):
        """Implementation of ``fit_stream``; ``classes`` is None for a regressor."""
        if self.solver == "lbfgs":
            raise ValueError(
                "fit_stream requires a stochastic solver such as 'adam' or 'sgd', got 'lbfgs', which needs all samples "
                "at once."
            )
        if self.early_stopping and evaluation is None:
            raise ValueError(
                "early_stopping in fit_stream requires an eval_set, because no samples are held out of the blocks."
            )
        stream = Stream(blocks, shuffle_blocks, n_samples, self.max_iter)
        callbacks = CombinedCallbacks(callbacks, self, *scikit_callbacks(self, None, None, None))
        return self._fit(*stream.first(), classes=classes, callbacks=callbacks, evaluation=evaluation, stream=stream)

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _fit(self, X, y, sample_weight, n_epochs=None, classes=None, callbacks=NO_CALLBACKS, evaluation=None,
             stream=None):  # fmt: skip
        """Fit to X and y, or to a stream whose first block they are. The other arguments are explained in FitCall."""
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
        """Validate everything and draw initial weights. Returns (Plan, Problem, Samples, held-out Samples or None)."""
        self._validate_params()  # scikit-learn's wrapper skips it in later calls of partial_fit
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
            check_n_samples(call.stream.n_samples, plan.optimizer)
        if call.evaluation is not None:
            call.evaluation.begin()
        return plan, problem, samples, held_out

    def _set_scaling(self, samples, stream):
        """Compute the mean and standard deviation for ``scale``."""
        if self.scale is None:
            return
        parts = [samples]
        if stream is not None and stream.is_repeatable:
            parts = stream.blocks(None, partial(samples_of.unscaled_block, self))
        scalings = scalings_of(parts, self.scale != "targets", self._scales_targets())
        self._net.scaling, self._net.target_scaling = scalings

    def _scales_targets(self):
        """Whether targets are standardised."""
        return False

    def _warn_of_targets(self, y, sample_weight):
        """Warn about targets that are far from 0."""

    def _watches_loss(self):
        """Whether early stopping monitors the loss. For scikit-learn's losses it monitors scikit-learn's score."""
        return getattr(self.loss, "name", self.loss) not in self._scikit_losses

    def _mean_loss(self, samples):
        """Loss without penalties of scaled and encoded samples."""
        return predictor_of(self).loss(samples)

    def _shuffled(self, order):
        """The sample order of the next epoch: as in scikit-learn, a permutation of the previous order."""
        return order[self._random_state.permutation(len(order))]

    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork for unscaled inputs and outputs."""
        check_is_fitted(self)
        network, parameters = self._net.with_scaling_in_weights()
        return PredictionNetwork(network, parameters, "numbers")

    def check_feature_names(self, X: Any) -> None:
        """Compare the column names of X with ``feature_names_in_``, with scikit-learn's errors and warnings."""
        check_feature_names(self, X, reset=False)

    @property
    def _optimizer(self):
        """The learning rates of the last fit, under the name that scikit-learn uses."""
        if self._net is None or self._net.training is None:
            raise AttributeError(f"{type(self).__name__} has no '_optimizer' before a fit, or after one by 'lbfgs'.")
        return ScikitOptimizer(self)

    @property
    def _no_improvement_count(self):
        """Number of epochs without improvement, under the name that scikit-learn uses."""
        return self._net.progress.stalled

    def _set_learning_rate(self, rate):
        self._net.training.optimizer = self._net.training.optimizer._replace(learning_rate=rate)

    def _hidden_widths(self):
        """Units of the hidden layers, from ``n_layers`` and ``width`` or from ``hidden_layer_sizes``."""
        if self.n_layers is not None or self.width is not None:
            layers = 1 if self.n_layers is None else int(self.n_layers)
            width = 100 if self.width is None else int(self.width)
            check_memory((layers - 1) * width * (width + 1), np.float32)  # before a list of that length is made
            return [width] * layers
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if any(not isinstance(width, Integral) or width <= 0 for width in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0 and integers, got {hidden}.")
        return hidden

    def _set_network(self, problem, dtype, first_pass):
        """Set ``_net`` to the network, with new weights or those of the previous fit."""
        network, fitted = problem.network, None if first_pass else self._net.network
        if not first_pass and (network.blocks, network.skips) != (fitted.blocks, fitted.skips):
            change = f"layer sizes {fitted.sizes}, but data and hidden_layer_sizes now require {network.sizes}"
            if network.sizes == fitted.sizes:
                change = "skip connections or trainable slopes that differ from the current skip and activation"
            raise ValueError(
                f"the fitted network has {change}: warm_start and partial_fit cannot change the architecture. Use a "
                "new estimator or clone."
            )
        self.out_activation_ = network.activations[-1]
        if not first_pass:
            compile_custom_functions(problem.kernels, network, self._net.parameters)
            self._net = self._net.shallow_copy()  # an error before training restores the old network
            self._net.network, self._net.noise = network, problem.noise
            return
        self.n_iter_ = self.t_ = 0
        self.n_outputs_, self.n_layers_ = network.sizes[-1], len(network.sizes)
        # As in scikit-learn, the gain of the output layer is that of the hidden activation.
        gains = (self.activation,) * len(network.sizes) if isinstance(self.activation, str) else network.activations
        init = check_init(self.init)
        parameters = initial_parameters(network, init, gains, self._random_state, dtype)
        compile_custom_functions(problem.kernels, network, parameters)
        self._net = FittedNetwork(network, parameters, problem.noise)
        if self.solver != "lbfgs":
            start_curves(self)

    def compile_predict(self) -> Callable[[FloatArray], FloatArray]:
        """Compile a function that predicts a single sample in about a microsecond for a small network.

        Returns
        -------
        callable
            Takes an array of shape (n_features_in_,) in the dtype of ``coefs_`` and returns the network outputs, an
            array of shape (n_outputs_,): values, or class probabilities (of the second class for binary problems; the
            outputs of the logistic units if the loss is not 'cross_entropy'). Inputs are not validated. The weights are
            fixed at the time of this call. Every call returns the same array: copy it to keep it, and use one function
            per thread.
        """
        check_is_fitted(self)
        return registry.choose(self.backend).module.row_predictor(*self._net.with_scaling_in_weights())

    @property
    def coefs_(self) -> list[FloatArray]:
        return self._fitted_net("coefs_").coefs

    @coefs_.setter
    def coefs_(self, arrays: list[FloatArray]) -> None:
        self._fitted_net("coefs_").coefs = arrays

    @property
    def intercepts_(self) -> list[FloatArray]:
        return self._fitted_net("intercepts_").intercepts

    @intercepts_.setter
    def intercepts_(self, arrays: list[FloatArray]) -> None:
        self._fitted_net("intercepts_").intercepts = arrays

    def _fitted_net(self, attribute):
        if self._net is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r} before fit.")
        return self._net

    def __setstate__(self, state):
        super().__setstate__(state)
        if self._net is not None:
            for name in NOT_SHARED & state.keys():  # shared with the original by copy.copy
                setattr(self, name, deepcopy(state[name]))
            self._net = self._net.independent_copy()

    def saved_state(self) -> dict[str, Any]:
        """The state of this estimator as stored in a model file, a dict."""
        saved = {"params": self.get_params(deep=False)}
        if self._net is not None:
            saved["fitted"] = {name: getattr(self, name) for name in FITTED if hasattr(self, name)}
            saved["net"] = self._net.to_dict()
        return saved

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create an estimator from the result of ``saved_state``."""
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
