"""MLPRegressor, a compiled drop-in replacement for scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d, validate_data

from fastmlp.docstrings import COMMUNICATOR, MATMUL_PRECISION, MC_SAMPLES, MISSING_TARGETS, with_texts
from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import loss_row
from fastmlp.model.exclusive import one_at_a_time, reads
from fastmlp.model.losses import Loss, check_loss
from fastmlp.prediction.network import PredictionNetwork
from fastmlp.prediction.scores import r2
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.scaling import warn_of_far_targets
from fastmlp.training.streams import BLOCKS
from fastmlp.typing import (
    ActivationSpec,
    ArrayLike,
    Backend,
    Blocks,
    Callbacks,
    DataSet,
    FloatArray,
    InitSpec,
    LossSpec,
    MatmulPrecision,
    MatrixLike,
    Metric,
    OptimizerSpec,
    RandomState,
    ScheduleSpec,
    StrPath,
)
from fastmlp.validation.arrays import as_numbers, floats_of, is_clean, is_plain
from fastmlp.validation.checks import check_numeric, for_levels, levels_of
from fastmlp.validation.missing import split_missing, with_missing
from fastmlp.validation.sklearn_compat import StrOptions, available_if, fit_context

from .base import BaseMLP
from .parameters import ATTRIBUTES, CONSTRAINTS, DTYPE, FIT_STREAM, LAYERS_AND_WIDTH, PARAMETERS, PARTIAL_FIT
from .prediction import mc_outputs, outputs, predictor_of
from .scoring import has_own_score, numbers_to_score, score_of, weights_to_score


@with_texts(
    PARAMETERS=PARAMETERS, LAYERS_AND_WIDTH=LAYERS_AND_WIDTH, DTYPE=DTYPE, MATMUL_PRECISION=MATMUL_PRECISION,
    MISSING_TARGETS=MISSING_TARGETS, ATTRIBUTES=ATTRIBUTES, COMMUNICATOR=COMMUNICATOR,
)  # fmt: skip
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor, a drop-in replacement for ``sklearn.neural_network.MLPRegressor``.

    Parameters up to ``max_fun`` have scikit-learn's names, order, defaults and meaning.

    Parameters
    ----------
    loss : str, the result of ``make_loss`` or (function, derivative), default='squared_error'
        scikit-learn's: half the squared error (mean over outputs), or 'poisson', half the Poisson deviance, which
        predicts through an exponential and needs y >= 0. Beside them 'mean_squared_error', 'absolute_error', 'huber',
        'quantile' (``make_loss("quantile", quantile=0.9)``, or a list of quantiles, each with an output for the same
        target), or a custom loss: two plain functions of (prediction, target), summed over outputs.
    {PARAMETERS}
    {LAYERS_AND_WIDTH}
    scale : 'standard', 'inputs', 'targets' or None, default=None
        'standard' standardises each input and each target to mean 0 and standard deviation 1, computed from the samples
        of the first fit, in training and prediction; 'inputs' and 'targets' standardise only one of them. ``coefs_``,
        losses and the options of ``loss`` are in scaled units; predictions are float64 and in the units of y. Targets
        of the loss 'poisson' are not scaled. Exports and ``compile_predict`` fold the scaling into their weights, which
        loses precision if the mean of a column is many thousand times its standard deviation. Sparse X is not supported
        if inputs are scaled.
    {DTYPE}
    {MATMUL_PRECISION}
    {MISSING_TARGETS}
    non_crossing : bool, default=False
        For a list of quantiles: sort the predictions for each sample, so that a higher quantile is never below a lower
        one. This never increases their mean loss (Chernozhukov, Fernandez-Val & Galichon 2010, "Quantile and
        probability curves without crossing"). Exports, ``compile_predict`` and input gradients, which are of the
        network's outputs before sorting, then raise an error.
    {COMMUNICATOR}

    Attributes
    ----------
    {ATTRIBUTES}
    validation_scores_, best_validation_score_ : list of float and float, or None
        With early stopping: R^2 on the held-out samples (the negative loss if ``loss`` is neither 'squared_error' nor
        'poisson'), or the score of ``eval_set`` that is monitored.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> X = np.linspace(-3, 3, 200)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> MLPRegressor(activation="tanh", solver="lbfgs", max_iter=2000, random_state=0).fit(X, y).score(X, y) > 0.99
    True
    """

    _scikit_losses = ("squared_error", "poisson")

    _parameter_constraints: dict = {
        **CONSTRAINTS,
        "loss": [StrOptions({name for name, row in LOSSES.items() if row.link in (None, "exp")}), Loss, tuple],
        "scale": [StrOptions({"standard", "inputs", "targets"}), None],
        "non_crossing": ["boolean"],
    }

    def __init__(
        self,
        loss: LossSpec = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | list[ActivationSpec] = "relu",
        *,
        solver: OptimizerSpec = "adam",
        alpha: float | str = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: ScheduleSpec = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: Backend = "auto",
        n_jobs: int | None = None,
        l1: float = 0.0,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        dropout: float | list[float] = 0.0,
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
        init: InitSpec = "glorot_uniform",
        skip: int = 0,
        skip_weights: bool = True,
        n_layers: int | None = None,
        width: int | None = None,
        scale: Literal["standard", "inputs", "targets"] | None = None,
        dtype: Literal["float32", "float64"] | None = None,
        matmul_precision: MatmulPrecision = "highest",
        missing_targets: Literal["raise", "ignore"] = "raise",
        non_crossing: bool = False,
        communicator: Any = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.n_jobs = n_jobs
        self.l1 = l1
        self.activity_l1 = activity_l1
        self.activity_l2 = activity_l2
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.input_noise = input_noise
        self.init = init
        self.skip = skip
        self.skip_weights = skip_weights
        self.n_layers = n_layers
        self.width = width
        self.scale = scale
        self.dtype = dtype
        self.matmul_precision = matmul_precision
        self.missing_targets = missing_targets
        self.non_crossing = non_crossing
        self.communicator = communicator

    def _validate_input(self, X, y, in_parts, reset, classes):
        missing = None
        if y is not None:
            y, missing = split_missing(y) if self.missing_targets == "ignore" else (as_numbers(y, "y"), None)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=floats_of(X),
            reset=reset,
        )
        y = y.toarray() if issparse(y) else y
        check_numeric(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self._loss_and_output()[1] == "exp" and y.min() < 0:
            raise ValueError(f"loss='poisson' requires y >= 0, but the smallest y is {y.min():g}.")
        return X, y if missing is None else with_missing(y.reshape(len(y), -1), missing)

    def _clean_input(self, X, y):
        if not is_clean(y) or not (y.ndim == 1 or (y.ndim == 2 and y.shape[1] > 1)) or not self._is_clean_matrix(X, y):
            return None
        return None if self._loss_and_output()[1] == "exp" and y.min() < 0 else (X, y)

    def _plain_targets(self, y, classes, dtype):
        options = self._net.network.loss_options
        columns = () if self.n_outputs_ == 1 or levels_of(options) else (self.n_outputs_,)
        if not is_plain(y) or y.shape[1:] != columns or (self.out_activation_ == "exp" and y.min() < 0):
            return None
        return for_levels(np.ascontiguousarray(y).reshape(len(y), -1), options)

    def _loss_and_output(self):
        loss, options = check_loss(self.loss)
        link = loss_row(loss).link
        if link not in (None, "exp"):
            raise ValueError(f"loss {self.loss!r} is a classification loss: use MLPClassifier.")
        if self.non_crossing and not levels_of(options):
            raise ValueError(f"non_crossing=True needs a loss with a list of quantiles, got loss={self.loss!r}.")
        return self.loss, link or "identity"

    def _may_have(self, loss, output_activation):
        link = loss_row(loss).link
        return link in (None, "exp") and output_activation == (link or "identity")

    def _scales_targets(self):
        if self.scale not in ("standard", "targets"):
            return False
        positive = self._loss_and_output()[1] == "exp"
        if positive and self.scale == "targets":
            raise ValueError(
                f"scale='targets' cannot be used with loss={self.loss!r}, whose targets must stay positive: pass "
                "scale='inputs' or None."
            )
        return not positive

    def _warn_of_targets(self, y, sample_weight):
        scaled = self._net.target_scaling is not None
        if not scaled and not is_full_batch(self.solver) and self._loss_and_output()[1] != "exp":
            warn_of_far_targets(
                y, sample_weight, "Pass scale='standard', or scale y to mean 0 and standard deviation 1."
            )

    def _decode(self, output):
        output = self._net.unscale_targets(output)
        if self._sorts():
            output = np.sort(output, axis=1)
        return output.ravel() if self.n_outputs_ == 1 else output

    def _sorts(self):
        """Whether predictions are sorted."""
        return self.non_crossing and bool(levels_of(self._net.network.loss_options))

    @reads
    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork for unscaled inputs and outputs. Raises ValueError with ``non_crossing``."""
        found = super().prediction_network()  # raises NotFittedError before a fit
        if self._sorts():
            raise ValueError(
                "with non_crossing=True predictions are sorted, which the network's outputs are not: set it to False, "
                "and sort the outputs yourself."
            )
        return found

    def _score(self, X, y, sample_weight):
        prediction = self._decode(predictor_of(self).outputs(X))
        if not np.isfinite(prediction).all():
            return np.nan
        with np.errstate(over="ignore"):  # in a fit that diverges
            return r2(y, prediction, sample_weight)

    @reads
    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute R^2, the coefficient of determination of the predictions, as the mean over outputs.

        For a list of quantiles it is the mean over levels of D^2, the fraction of the pinball loss that the predictions
        explain (``sklearn.metrics.d2_pinball_score``).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        float
        """
        if has_own_score(self, sample_weight):
            return score_of(self, self.predict(X), X, y, sample_weight)
        return super().score(X, numbers_to_score(y), weights_to_score(X, y, sample_weight))

    @available_if(lambda estimator: estimator._check_solver())
    @one_at_a_time
    @with_texts(PARTIAL_FIT=PARTIAL_FIT)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, epochs: int = 1
    ) -> Self:
        """Train for one or more epochs on the given samples, continuing from the weights and optimizer state so far.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        {PARTIAL_FIT}
        """
        return self._partial_fit(X, y, sample_weight, epochs)

    @one_at_a_time
    @fit_context(prefer_skip_nested_validation=True)
    @with_texts(BLOCKS=BLOCKS, FIT_STREAM=FIT_STREAM)
    def fit_stream(
        self,
        blocks: Blocks,
        *,
        shuffle_blocks: int = 1,
        n_samples: int | None = None,
        eval_set: DataSet | list[DataSet] | None = None,
        eval_X: MatrixLike | tuple[MatrixLike, ...] | None = None,
        eval_y: ArrayLike | tuple[ArrayLike, ...] | None = None,
        eval_names: list[str] | None = None,
        eval_metric: Metric | list[Metric] | None = None,
        callbacks: Callbacks | None = None,
        resume_from: StrPath | None = None,
    ) -> Self:
        """Fit the network to an iterable of blocks of samples, for data larger than memory.

        Training makes ``max_iter`` passes over the blocks. ``scale`` needs one more pass before training; for an
        iterator, which allows only one pass, it is computed from the first block.

        Parameters
        ----------
        {BLOCKS}
        {FIT_STREAM}
        """
        sets = eval_set, eval_X, eval_y, eval_names, eval_metric
        return self._fit_stream(blocks, shuffle_blocks, n_samples, None, sets, callbacks, resume_from)

    @overload
    def predict(self, X: MatrixLike, mc_samples: None = None) -> FloatArray: ...

    @overload
    def predict(self, X: MatrixLike, mc_samples: int) -> tuple[FloatArray, FloatArray]: ...

    @reads
    @with_texts(MC_SAMPLES=MC_SAMPLES)
    def predict(self, X: MatrixLike, mc_samples: int | None = None) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict target values.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        {MC_SAMPLES}

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions in the units of y; for a list of quantiles a column for each. With ``mc_samples``, a pair of
            such arrays: mean and standard deviation over the passes.
        """
        if mc_samples is not None:
            return mc_outputs(self, X, mc_samples, self._decode)
        return self._decode(outputs(self, X))
