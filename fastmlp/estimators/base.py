"""Base class of MLPClassifier and MLPRegressor: scikit-learn's API on top of the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.distributed.data_parallel import check_communicator
from fastmlp.distributed.fits import fit_of
from fastmlp.model.activations import built_in_name
from fastmlp.model.exclusive import RunningFit, one_at_a_time, reads, with_attributes
from fastmlp.prediction.network import HasPredictionNetwork, PredictionNetwork
from fastmlp.training.callbacks import CombinedCallbacks
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.streams import Stream
from fastmlp.typing import ArrayLike, Callbacks, DataSet, FloatArray, MatrixLike, Metric, StrPath
from fastmlp.validation.arrays import is_clean
from fastmlp.validation.checks import check_integer
from fastmlp.validation.sklearn_compat import check_feature_names, fit_context

from .continuation import continued, keep
from .evaluation import evaluation_of
from .fitting import FitCall, full_batch_fit, settings_of, stochastic_fit
from .parameter_values import are_valid
from .prediction import predictor_of
from .preparation import prepared, scaled
from .restoring import restored_on_error
from .resuming import read_checkpoint
from .saving import SavableEstimator
from .sklearn_callbacks import scikit_callbacks
from .sklearn_optimizer import ScikitOptimizer


class BaseMLP(HasPredictionNetwork, SavableEstimator, CallbackSupportMixin, BaseEstimator, ABC):
    """Base class of MLPClassifier and MLPRegressor, which document the parameters and attributes."""

    # Subclasses define how targets are validated, encoded, decoded and scored.

    _scikit_losses: tuple[str, ...] = ()  # names of the losses of scikit-learn's estimator

    @abstractmethod
    def _validate_input(self, X, y, in_parts, reset, classes):
        """Validate X and y. Returns (X, y) with numeric y of one or two dimensions."""

    @abstractmethod
    def _clean_input(self, X, y):
        """What ``_validate_input`` returns for a first fit, or None if X or y need its validation."""

    def _is_clean_matrix(self, X, y):
        """Whether X is a matrix that needs no validation, of the length of y. Sets what scikit-learn's sets for it."""
        if not is_clean(X) or X.ndim != 2 or X.dtype.kind != "f" or np.shape(y)[:1] != X.shape[:1]:
            return False
        vars(self).pop("feature_names_in_", None)
        self.n_features_in_ = X.shape[1]
        return True

    def _validate_params(self):
        if self.communicator is None:  # otherwise ``prepared`` does it, where all ranks raise what one of them finds
            self.check_parameters()

    def check_parameters(self) -> None:
        """Raise scikit-learn's InvalidParameterError for invalid parameters."""
        if not are_valid(self):
            super()._validate_params()

    def _weigh(self, y, sample_weight, in_parts):
        """Sample weights; a classifier multiplies them with class weights."""
        return sample_weight

    def _labels_of_ranks(self, fit, y):
        """The labels in y on all ranks, for a classifier."""

    @abstractmethod
    def _plain_targets(self, y, classes, dtype):
        """Encoded targets for a repeated ``partial_fit``, or None if y needs the full validation."""

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

    @one_at_a_time
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
        resume_from: StrPath | None = None,
    ) -> Self:
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix (CSR, CSC) of shape (n_samples, n_features)
            Inputs. Training is in float32 if X is float32, otherwise in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Weights of the samples in the loss, or of each target; a sample then counts by the mean of its weights, and
            0 leaves out a target. Weights of targets are not for multiclass y and the backend 'cuda'.
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
        resume_from : str or Path, default=None
            File of a ``fastmlp.Checkpoint`` of a fit with the same data, parameters and other arguments, which this one
            continues to the same result, bit for bit. Only ``max_iter``, ``n_jobs`` and ``verbose`` may differ, but
            not ``max_iter`` if the schedule depends on it ('cosine', 'cosine_log'). Epochs
            are counted from the beginning of the first fit. If that fit had ended, this one returns its result. A fit
            by 'lbfgs' or 'lm' cannot be resumed before its end.

        Returns
        -------
        self : object
            Ctrl-C ends the fit early with a warning; the current weights are kept. Errors raised by a callback or a
            metric are propagated; after at least one epoch the current weights are kept, or with ``early_stopping`` the
            best ones.

        Raises
        ------
        ValueError
            If the input is invalid, if the checkpoint does not belong to it, or if training diverges. In the last case
            the estimator is fitted with the last finite weights. If early stopping has weights to restore, there is
            only a warning.
        RuntimeError
            If another fit of this estimator is running.
        """
        fit = fit_of(check_communicator(self.communicator))
        with fit.training(type(self).__name__):
            X, y, sample_weight = fit.given(X, y, sample_weight)
            eval_set, eval_X, eval_y, resume_from = fit.broadcast((eval_set, eval_X, eval_y, resume_from))
            checkpoint = self._checkpoint(fit, resume_from)
            with fit.agreement():
                combined = self._callbacks(fit, callbacks, X, y, sample_weight)
                evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
            classes = self._labels_of_ranks(fit, y) if fit.has_own_rows else None
            call = FitCall.of(
                self, classes=classes, evaluation=evaluation, callbacks=combined, fit=fit, checkpoint=checkpoint
            )
            return self._fit(X, y, sample_weight, call)

    def _fit_stream(self, blocks, shuffle_blocks, n_samples, classes, sets, callbacks, resume_from):
        """Implementation of ``fit_stream``; ``classes`` is None for a regressor, ``sets`` go to ``evaluation_of``."""
        fit = fit_of(check_communicator(self.communicator))
        with fit.training(type(self).__name__, "fit_stream"):
            sets = fit.broadcast(sets)
            with fit.agreement():
                if is_full_batch(self.solver):
                    raise ValueError(
                        f"fit_stream requires a stochastic solver such as 'adam' or 'sgd', got {self.solver!r}, which "
                        "needs all samples at once."
                    )
                evaluation = evaluation_of(self, *sets)
                if self.early_stopping and evaluation is None:
                    raise ValueError(
                        "early_stopping in fit_stream requires an eval_set, because no samples are held out of the "
                        "blocks."
                    )
                if resume_from is not None and fit.parallel is not None:
                    raise ValueError("resume_from is not available in fit_stream with a communicator.")
                stream = Stream(blocks, shuffle_blocks, n_samples, self.max_iter, fit.place)
                checkpoint = self._checkpoint(fit, resume_from)
                combined = self._callbacks(fit, callbacks, None, None, None)
                first = stream.first()
            call = FitCall.of(
                self, classes=classes, stream=stream, evaluation=evaluation, callbacks=combined, fit=fit,
                checkpoint=checkpoint,
            )  # fmt: skip
            return self._fit(*first, call)

    def _checkpoint(self, fit, path):
        """The SavedFit in a file, read by rank 0; None if there is no file."""
        return None if path is None else fit.decide(partial(read_checkpoint, type(self).__name__, path))

    def _callbacks(self, fit, given, X, y, sample_weight):
        """All callbacks of a fit; those of scikit-learn are told of it here."""
        own = scikit_callbacks(self, X, y, sample_weight) if fit.leads else ()
        return CombinedCallbacks(given, self, *own)

    def _check_solver(self):
        if is_full_batch(self.solver):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _partial_fit(self, X, y, sample_weight, epochs, classes=None):
        """Implementation of ``partial_fit``; ``classes`` is None for a regressor."""
        fit = fit_of(check_communicator(self.communicator))
        with fit.training(type(self).__name__, "partial_fit"):
            with fit.agreement():
                n_epochs = check_integer("epochs", epochs, 1)
            call = FitCall.of(self, n_epochs=n_epochs, classes=classes, fit=fit)
            X, y, sample_weight = fit.given(X, y, sample_weight)
            with restored_on_error(self, call.before):
                known = continued(self, X, y, sample_weight, classes)
            if known is not None:
                return self._train(call, *known)
            with config_context(skip_parameter_validation=True):  # of scikit-learn's functions, as in fit
                return self._fit(X, y, sample_weight, call)

    def _fit(self, X, y, sample_weight, call):
        """Fit to X and y, or to a stream whose first block they are, as the FitCall says."""
        with restored_on_error(self, call.before):
            call = call._replace(random_state=call.fit.generator(self.random_state))
            with call.fit.agreement():
                if call.checkpoint is not None:
                    call = call.checkpoint.begin(self, call)
                if self.early_stopping and call.n_epochs is not None:
                    raise ValueError("partial_fit does not support early_stopping=True")
                plan, problem, samples, held_out = prepared(self, X, y, sample_weight, call)
            is_streamed = call.stream is not None
            call.fit.check_same(lambda: settings_of(self, call, plan, problem, samples), samples, is_streamed)
            if not is_streamed:
                ignores = self.missing_targets == "ignore"
                call.fit.check_weights(samples, every_column=ignores and call.n_epochs is None)
            samples, held_out = scaled(self, samples, held_out, call)
            if call.n_epochs is not None:
                keep(self, plan, problem)
        return self._train(call, plan, problem, samples, held_out)

    def _train(self, call, plan, problem, samples, held_out):
        """Train with what ``prepared`` or ``continued`` returned."""
        try:
            with restored_on_error(self, call.before):
                if self._ongoing is not None:
                    self._ongoing.data = samples, held_out
                if call.checkpoint is not None:
                    with call.fit.agreement():
                        call.checkpoint.check(self._ongoing, problem.network)
                    if call.checkpoint.place is None:
                        return self._take_result(call)
                if is_full_batch(self.solver):
                    train = full_batch_fit(self, call, problem, samples, held_out)
                else:
                    train = stochastic_fit(self, call, plan, problem, samples, held_out)
            train()
        finally:
            vars(self).pop("_ongoing", None)
        if self._net.training is not None:
            call.fit.end(self._net.training)
        return self

    def _take_result(self, call):
        """End a fit whose checkpoint has its result."""
        call.checkpoint.take_result(self)
        self._ongoing.end()
        call.fit.decide(lambda: call.callbacks.__exit__(None, None, None))
        return self

    def _scales_targets(self):
        """Whether targets are standardised."""
        return False

    def _warn_of_targets(self, y, sample_weight):
        """Warn about targets that are far from 0."""

    def _watches_loss(self):
        """Whether early stopping monitors the loss. For scikit-learn's losses it monitors scikit-learn's score."""
        return built_in_name(self.loss) not in self._scikit_losses

    def _mean_loss(self, samples):
        """Loss without penalties of scaled and encoded samples."""
        return predictor_of(self).loss(samples)

    def _during_fit(self, fit: RunningFit) -> Self:
        """This estimator as before the fit.

        If the fit goes on with its weights, or if there were none, the weights are those from the end of an epoch.
        """
        while True:
            state, attributes = fit.state, fit.before
            if attributes.get("_net") is None and state is not None:
                attributes = vars(self).copy()
            if (net := attributes.get("_net")) is None:
                return with_attributes(type(self), attributes)
            if state is not None and state.parameters is net.parameters:
                parameters = state.seen_by_others()
            else:
                parameters = net.parameters.copy()
            if fit.state is state:  # otherwise training may have begun while they were copied
                return with_attributes(type(self), attributes | {"_net": net.with_parameters(parameters)})

    @reads
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
            raise AttributeError(
                f"{type(self).__name__} has no '_optimizer' before a fit, or after one by 'lbfgs' or 'lm'."
            )
        return ScikitOptimizer(self)

    @property
    def _no_improvement_count(self):
        """Number of epochs without improvement, under the name that scikit-learn uses."""
        return self._net.progress.stalled

    @_no_improvement_count.setter
    def _no_improvement_count(self, count):
        self._net.progress.stalled = check_integer("_no_improvement_count", count, 0)

    def _set_learning_rate(self, rate):
        self._net.training.optimizer = self._net.training.optimizer._replace(learning_rate=rate)

    @reads
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
        network, parameters, *_ = self.prediction_network()
        return registry.choose(self.backend).kernels.row_predictor(network, parameters)

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.scale in (None, "targets")
        return tags
