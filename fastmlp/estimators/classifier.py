"""MLPClassifier, a compiled drop-in replacement for scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d, validate_data

from fastmlp.docstrings import COMMUNICATOR, MATMUL_PRECISION, MC_SAMPLES, MISSING_TARGETS, with_texts
from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import loss_row
from fastmlp.model.exclusive import one_at_a_time, reads
from fastmlp.model.losses import Loss, check_loss
from fastmlp.prediction.network import PredictionNetwork
from fastmlp.prediction.scores import accuracy
from fastmlp.training.class_weight import BALANCED_IN_PARTS, weigh_classes
from fastmlp.training.streams import BLOCKS
from fastmlp.typing import (
    ActivationSpec,
    ArrayLike,
    Backend,
    Blocks,
    Callbacks,
    ClassWeight,
    DataSet,
    FloatArray,
    InitSpec,
    LossSpec,
    MatmulPrecision,
    MatrixLike,
    Metric,
    NDArray,
    OptimizerSpec,
    RandomState,
    ScheduleSpec,
    StrPath,
)
from fastmlp.validation.arrays import as_labels, floats_of
from fastmlp.validation.checks import levels_of
from fastmlp.validation.missing import NO_CLASS_WEIGHT, split_missing, with_missing
from fastmlp.validation.sklearn_compat import StrOptions, available_if, check_partial_fit_first_call, fit_context

from .base import BaseMLP
from .labels import Labels, check_listed_classes, clean_labels, one_column_each, target_range
from .parameters import ATTRIBUTES, CONSTRAINTS, DTYPE, FIT_STREAM, LAYERS_AND_WIDTH, PARAMETERS, PARTIAL_FIT
from .prediction import mc_outputs, outputs, predictor_of
from .scoring import has_own_score, score_of, weights_to_score


@with_texts(
    PARAMETERS=PARAMETERS, LAYERS_AND_WIDTH=LAYERS_AND_WIDTH, DTYPE=DTYPE, MATMUL_PRECISION=MATMUL_PRECISION,
    MISSING_TARGETS=MISSING_TARGETS, ATTRIBUTES=ATTRIBUTES, COMMUNICATOR=COMMUNICATOR,
)  # fmt: skip
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier, a drop-in replacement for ``sklearn.neural_network.MLPClassifier``.

    Multiclass problems use softmax outputs and cross-entropy; binary and multilabel problems use logistic outputs and
    binary cross-entropy. Parameters up to ``max_fun`` have scikit-learn's names, order, defaults and meaning.

    Parameters
    ----------
    {PARAMETERS}
    loss : str, the result of ``make_loss`` or (function, derivative), default='cross_entropy'
        'cross_entropy' is 'categorical_cross_entropy' for several classes, otherwise 'binary_cross_entropy'; with
        label smoothing: ``make_loss("categorical_cross_entropy", label_smoothing=0.1)``, for two classes as well. With
        a regression loss ('squared_error' ...) there is one logistic output per class.
    target_values : (low, high), default=(0, 1)
        Targets of the logistic outputs for False and True, if the loss is no cross-entropy: (0.1, 0.9) can be
        reached with finite weights (Mitchell 1997, section 4.7).
    {LAYERS_AND_WIDTH}
    scale : 'standard' or None, default=None
        'standard' standardises each input to mean 0 and standard deviation 1, computed from the samples of the first
        fit, in training and prediction. ``coefs_`` apply to scaled inputs. Exports and ``compile_predict`` fold the
        scaling into their weights, which loses precision if the mean of a column is many thousand times its standard
        deviation. Sparse X is not supported.
    class_weight : dict, list of dicts, 'balanced' or None, default=None
        Class weights, multiplied with the sample weights, also in the validation set of ``early_stopping``: a dict
        {class: weight}, in which missing classes have weight 1, or 'balanced' for n_samples / (n_classes * samples of
        the class). For multilabel y, a list with a dict {0: weight, 1: weight} for each label. 'balanced' is not
        available in ``partial_fit`` and ``fit_stream``.
    {DTYPE}
    {MATMUL_PRECISION}
    {MISSING_TARGETS} Only for multilabel y.
    {COMMUNICATOR}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    {ATTRIBUTES}
    validation_scores_, best_validation_score_ : list of float and float, or None
        With early stopping: accuracy on the held-out samples (the negative loss if ``loss`` is no cross-entropy), or
        the score of ``eval_set`` that is monitored.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastmlp import MLPClassifier
    >>> X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> MLPClassifier(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.97
    True
    """

    _scikit_losses = ("cross_entropy", "categorical_cross_entropy", "binary_cross_entropy")  # perhaps smoothed

    _parameter_constraints: dict = {
        **CONSTRAINTS,
        "loss": [
            StrOptions({"cross_entropy", *(name for name, row in LOSSES.items() if row.link is None)}),
            Loss,
            tuple,
        ],
        "target_values": [tuple, list],
        "scale": [StrOptions({"standard"}), None],
        "class_weight": [dict, StrOptions({"balanced"}), list, None],
    }

    def __init__(
        self,
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
        loss: LossSpec = "cross_entropy",
        target_values: tuple[float, float] = (0.0, 1.0),
        n_layers: int | None = None,
        width: int | None = None,
        scale: Literal["standard"] | None = None,
        class_weight: ClassWeight | None = None,
        dtype: Literal["float32", "float64"] | None = None,
        matmul_precision: MatmulPrecision = "highest",
        missing_targets: Literal["raise", "ignore"] = "raise",
        communicator: Any = None,
    ) -> None:
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
        self.loss = loss
        self.target_values = target_values
        self.n_layers = n_layers
        self.width = width
        self.scale = scale
        self.class_weight = class_weight
        self.dtype = dtype
        self.matmul_precision = matmul_precision
        self.missing_targets = missing_targets
        self.communicator = communicator

    def _validate_input(self, X, y, in_parts, reset, classes):
        missing = None
        if self.missing_targets == "ignore" and y is not None:
            y, missing = split_missing(y)
            if y.ndim == 1 or y.shape[1] == 1:
                raise ValueError("missing_targets='ignore' is for multilabel y: drop the samples without a label.")
        if in_parts:
            check_listed_classes(classes)
        if in_parts and check_partial_fit_first_call(self, classes):
            self._set_labels(Labels.of(y if type_of_target(y).startswith("multilabel") else classes))
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=floats_of(X), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or in_parts):
            self._set_labels(Labels.of(y))
        else:
            self._labels.check(unique_labels(y), in_parts)
        targets = self._labels_in_range().encode(y)
        return X, targets if missing is None else with_missing(targets, missing)

    def _clean_input(self, X, y):
        labels = None if self.warm_start else clean_labels(y)
        if labels is None or not self._is_clean_matrix(X, y):
            return None
        classes, numbers = labels
        self._set_labels(Labels(classes, "binary" if len(classes) == 2 else "multiclass"))
        return X, self._labels_in_range().in_range(one_column_each(numbers, len(classes), X.dtype))

    def _labels_of_ranks(self, fit, y):
        with fit.agreement():
            if y is None:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
            y = split_missing(y)[0] if self.missing_targets == "ignore" else as_labels(y, "y")
            check_classification_targets(y)
            own = unique_labels(y)
        found = fit.allgather(own)
        with fit.agreement():
            classes = unique_labels(*found)
            if self.warm_start and hasattr(self, "classes_"):
                self._labels.check(classes, in_parts=False)
            return classes

    @property
    def _labels(self):
        return Labels(self.classes_, self._label_type, self._sparse_labels, self._targets)

    def _set_labels(self, labels):
        self.classes_, self._label_type, self._sparse_labels, self._targets = labels

    def _labels_in_range(self):
        """The labels, with ``target_values`` if the loss is no cross-entropy."""
        self._targets = target_range(self.target_values) if self._watches_loss() else None
        return self._labels

    def _plain_targets(self, y, classes, dtype):
        labels = self._labels
        if self.class_weight is not None or not (classes is None or labels.are(classes)):
            return None
        return labels.encode_plain(y, dtype)

    def _weigh(self, y, sample_weight, in_parts):
        if self.class_weight is None:
            return sample_weight
        if self.missing_targets == "ignore":
            raise ValueError(NO_CLASS_WEIGHT)
        if in_parts and isinstance(self.class_weight, str):
            raise ValueError(BALANCED_IN_PARTS)
        low, high = self._targets or (0, 1)
        one_label = not self._labels.multilabel
        return weigh_classes(
            self.class_weight, self.classes_, y > (low + high) / 2, one_label, sample_weight, in_parts
        )  # fmt: skip

    def _loss_and_output(self):
        if self.loss == "cross_entropy":
            return self._labels.cross_entropy()
        loss, options = check_loss(self.loss)
        if not self._watches_loss():
            return self._labels.smoothed_cross_entropy(loss, options)
        if loss_row(loss).link is not None or levels_of(options):
            raise ValueError(
                "loss must be 'cross_entropy' or a regression loss such as 'squared_error', without a list of "
                f"quantiles, got {self.loss!r}."
            )
        return self.loss, "logistic"

    def _may_have(self, loss, output_activation):
        if self._targets is None:
            return (loss, output_activation) == self._labels.cross_entropy()
        return loss_row(loss).link is None and output_activation == "logistic"

    def _check_outputs(self):
        if self._targets is not None:
            target_range(self._targets)
        super()._check_outputs()
        if self.classes_.ndim != 1 or self._labels.n_outputs != self.n_outputs_:
            raise ValueError(f"{self.n_outputs_} outputs for classes of shape {self.classes_.shape}")

    @reads
    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork for unscaled inputs, with the class labels."""
        found = super().prediction_network()  # raises NotFittedError before a fit
        kind = "multilabel" if self._labels.multilabel else self._label_type
        return found._replace(kind=kind, classes=self.classes_, targets=self._targets)

    def _decode(self, output):
        return self._labels.decode(output)

    def _score(self, X, y, sample_weight):
        prediction = self._decode(predictor_of(self).outputs(X))
        if np.ndim(sample_weight) == 2:
            return accuracy(y == prediction, sample_weight)
        return accuracy_score(y, prediction, sample_weight=sample_weight)

    @reads
    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy: the fraction of samples whose labels are all predicted correctly.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_classes), default=None

        Returns
        -------
        float
        """
        if has_own_score(self, sample_weight):
            return score_of(self, self.predict(X), X, y, sample_weight)
        return super().score(X, as_labels(y, "y"), weights_to_score(X, y, sample_weight))

    @available_if(lambda estimator: estimator._check_solver())
    @one_at_a_time
    @with_texts(PARTIAL_FIT=PARTIAL_FIT)
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        epochs: int = 1,
    ) -> Self:
        """Train for one or more epochs on the given samples, continuing from the weights and optimizer state so far.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        classes : array of shape (n_classes,), default=None
            Every possible label. Required in the first call, optional afterwards.
        {PARTIAL_FIT}
        """
        return self._partial_fit(X, y, sample_weight, epochs, classes)

    @one_at_a_time
    @fit_context(prefer_skip_nested_validation=True)
    @with_texts(BLOCKS=BLOCKS, FIT_STREAM=FIT_STREAM)
    def fit_stream(
        self,
        blocks: Blocks,
        classes: ArrayLike,
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
        classes : array of shape (n_classes,)
            Every possible label.
        {FIT_STREAM}
        """
        if classes is None:
            raise ValueError("classes must be given: pass a list of every possible label.")
        sets = eval_set, eval_X, eval_y, eval_names, eval_metric
        return self._fit_stream(blocks, shuffle_blocks, n_samples, classes, sets, callbacks, resume_from)

    @reads
    def predict(self, X: MatrixLike) -> NDArray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Labels; for multilabel problems an indicator matrix of 0 and 1.
        """
        return self._decode(outputs(self, X))

    @overload
    def predict_proba(self, X: MatrixLike, mc_samples: None = None) -> FloatArray: ...

    @overload
    def predict_proba(self, X: MatrixLike, mc_samples: int) -> tuple[FloatArray, FloatArray]: ...

    @reads
    @with_texts(MC_SAMPLES=MC_SAMPLES)
    def predict_proba(self, X: MatrixLike, mc_samples: int | None = None) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        {MC_SAMPLES}

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``. With ``mc_samples``, a pair of such arrays: mean and standard
            deviation over the passes.
        """
        if mc_samples is not None:
            return mc_outputs(self, X, mc_samples, lambda output: self._labels.probabilities(output))
        output = outputs(self, X)  # NotFittedError before the labels are asked for
        return self._labels.probabilities(output)

    @reads
    def predict_log_proba(self, X: MatrixLike) -> FloatArray:
        """Predict the logarithm of the class probabilities, an array of shape (n_samples, n_classes)."""
        probability = self.predict_proba(X)
        return np.log(probability, out=probability)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
