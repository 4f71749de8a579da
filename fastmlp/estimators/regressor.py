"""MLPRegressor, a compiled drop-in replacement for scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, overload

import numpy as np
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import column_or_1d, validate_data

from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import loss_row
from fastmlp.model.losses import Loss, check_loss
from fastmlp.training.scaling import warn_of_far_targets
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
    MatrixLike,
    Metric,
    OptimizerSpec,
    RandomState,
    ScheduleSpec,
)
from fastmlp.validation.arrays import as_numbers, floats_of
from fastmlp.validation.checks import check_integer, check_numeric
from fastmlp.validation.sklearn_compat import StrOptions, available_if, fit_context

from .base import BaseMLP
from .evaluation import evaluation_of
from .prediction import mc_outputs, outputs, predictor_of


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor, a drop-in replacement for ``sklearn.neural_network.MLPRegressor``.

    Parameters up to ``max_fun`` have scikit-learn's names, order, defaults and meaning.

    Parameters
    ----------
    loss : str, the result of ``make_loss`` or (function, derivative), default='squared_error'
        scikit-learn's: half the squared error (mean over outputs), or 'poisson', half the Poisson deviance, which
        predicts through an exponential and needs y >= 0. Beside them 'mean_squared_error', 'absolute_error', 'huber',
        'quantile' (``make_loss("quantile", quantile=0.9)``), or a custom loss: two plain functions of (prediction,
        target), summed over outputs.
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Number of units in each hidden layer; empty for a linear model.
    activation : str, (function, derivative) or list, default='relu'
        Activation of the hidden layers, or a list with one per layer: scikit-learn's 'identity', 'logistic', 'tanh' and
        'relu', any other name in ``fastmlp.kernels.rules.ACTIVATIONS``, or a custom activation given as two scalar
        functions of the pre-activation z.
    solver : str or the result of ``make_optimizer``, default='adam'
        'lbfgs' for small data sets; 'sgd' with momentum; 'adam' (Kingma & Ba 2014); or any other name in
        ``fastmlp.kernels.rules.OPTIMIZERS``. A name uses those of the options below that apply to it. The result of
        ``make_optimizer`` has its own learning rate and options, including weight decay and gradient clipping.
    alpha : float >= 0, default=1e-4
        L2 penalty on the weights; divided by the number of samples (or the sum of their weights) in the loss.
    batch_size : int or 'auto', default='auto'
        Samples per step of gradient descent; 'auto' is min(200, n_samples). Not used by 'lbfgs'.
    learning_rate : str or the result of ``make_schedule``, default='constant'
        Learning rate schedule. scikit-learn's schedules apply to every solver except 'adam' and 'lbfgs': 'invscaling'
        is learning_rate_init / (samples seen + 1)^power_t; 'adaptive' divides the rate by 5 whenever
        ``n_iter_no_change`` consecutive epochs fail to improve by ``tol``, down to 1e-6. 'inverse_scaling', 'step',
        'exponential', 'cosine' (over ``max_iter`` epochs) and 'reduce_on_plateau' apply to every solver except 'lbfgs';
        see ``make_schedule``.
    learning_rate_init : float > 0, default=1e-3
        Initial learning rate. For 'adadelta' the usual value is 1.
    power_t : float >= 0, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Maximum number of epochs, or of iterations for 'lbfgs'.
    shuffle : bool, default=True
        Whether to shuffle the samples before each epoch.
    random_state : int, RandomState or None, default=None
        Determines the initial weights, the validation split and the shuffling. A seed gives the same random numbers
        as in scikit-learn.
    tol : float >= 0, default=1e-4
        Smallest improvement of the training loss or validation score that counts; for 'lbfgs' the largest gradient
        component at which it stops.
    verbose : bool or int, default=False
        Whether to print the loss after each epoch.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the previous fit.
    momentum : float in [0, 1], default=0.9
        Momentum of 'sgd'.
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the samples, stop when the score on them no longer improves, and
        restore the best weights.
    validation_fraction : float in [0, 1), default=0.1
        Fraction of the samples that ``early_stopping`` holds out.
    beta_1, beta_2 : float in [0, 1), default=0.9 and 0.999
        Exponential decay rates of Adam's first and second moment estimates.
    epsilon : float > 0, default=1e-8
        Numerical stability term of Adam.
    n_iter_no_change : int or inf, default=10
        Maximum number of consecutive epochs without an improvement by ``tol``.
    max_fun : int, default=15000
        Maximum number of evaluations of loss and gradient by 'lbfgs'.
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'
        Compute backend.
    n_jobs : int or None, default=None
        Number of threads. None uses the cores available to the process and respects OMP_NUM_THREADS and the limits of
        threadpoolctl and joblib; -1 uses all cores.
    l1, activity_l1, activity_l2 : float >= 0, default=0
        Penalty l1 |W| on the weights (divided like ``alpha``), and penalties activity_l1 |a| and activity_l2 |a|^2 / 2
        on the outputs of hidden layers.
    dropout : float in [0, 1), or list, default=0
        Fraction of the outputs of each hidden layer that is dropped in training (Srivastava et al. 2014); a list gives
        one value per layer.
    input_dropout : float in [0, 1), default=0
        Fraction of the inputs that is dropped in training.
    input_noise : float >= 0, default=0
        Standard deviation of the Gaussian noise added to the inputs in training.
    init : str, (str, scale) or list of (W, b), default='glorot_uniform'
        Initial weights: a name in ``fastmlp.model.initializers.INITIALIZERS``, or the arrays of each layer.
    skip : int, default=0
        With k > 1, every layer also receives the outputs of the layer k below it (skip connections, He et al. 2015).
    skip_weights : bool, default=True
        Whether skip connections have trainable weights. Otherwise the outputs are added to the pre-activations, which
        is done where both layers have the same number of units.
    n_layers, width : int or None, default=None
        The architecture as two integers, for hyper-parameter searches. If either is given, ``hidden_layer_sizes`` is
        ignored and the network has ``n_layers`` hidden layers (1 if None) of ``width`` units (100 if None).
    scale : 'standard', 'inputs', 'targets' or None, default=None
        'standard' standardises each input and each target to mean 0 and standard deviation 1, computed from the samples
        of the first fit, in training and prediction; 'inputs' and 'targets' standardise only one of them. ``coefs_``,
        losses and the options of ``loss`` are in scaled units; predictions are float64 and in the units of y. Targets
        of the loss 'poisson' are not scaled. Exports and ``compile_predict`` fold the scaling into their weights, which
        loses precision if the mean of a column is many thousand times its standard deviation. Sparse X is not supported
        if inputs are scaled.

    Attributes
    ----------
    coefs_, intercepts_ : lists of n_layers - 1 arrays
        Weights of shape (inputs, outputs) and biases: views of one flat vector, which can be modified in place.
    loss_ : float
        Training loss of the last epoch (mean over samples, penalties included).
    best_loss_ : float or None
        Minimum of ``loss_curve_``; None with early stopping. Not set by 'lbfgs', nor are the next two attributes.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_scores_, best_validation_score_ : list of float and float, or None
        With early stopping: R^2 on the held-out samples (the negative loss if ``loss`` is neither 'squared_error' nor
        'poisson'), or the score of ``eval_set`` that is monitored.
    evals_result_ : dict
        Scores of ``eval_set``, if it was passed to ``fit``: {name: {metric: list of float}}.
    n_iter_ : int
        Number of epochs or iterations of the last fit.
    t_ : int
        Number of samples seen by gradient descent.
    n_features_in_, feature_names_in_ : int and ndarray of str
        Number of columns of X, and their names if X had any.
    n_layers_, n_outputs_ : int
        Number of layers, including the input layer, and number of output units.
    out_activation_ : str
        Activation of the output layer.
    backend_, backend_reason_ : str
        The backend that ran the last fit, and why it was chosen.

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
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({name for name, row in LOSSES.items() if row.link in (None, "exp")}), Loss, tuple],
        "scale": [StrOptions({"standard", "inputs", "targets"}), None],
    }

    def __init__(
        self,
        loss: LossSpec = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | list[ActivationSpec] = "relu",
        *,
        solver: OptimizerSpec = "adam",
        alpha: float = 0.0001,
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

    def _validate_input(self, X, y, in_parts, reset, classes):
        X, y = validate_data(
            self,
            X,
            None if y is None else as_numbers(y, "y"),
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
        return X, y

    def _loss_and_output(self):
        link = loss_row(check_loss(self.loss)[0]).link
        if link not in (None, "exp"):
            raise ValueError(f"loss {self.loss!r} is a classification loss: use MLPClassifier.")
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
        if not scaled and self.solver != "lbfgs" and self._loss_and_output()[1] != "exp":
            warn_of_far_targets(
                y, sample_weight, "Pass scale='standard', or scale y to mean 0 and standard deviation 1."
            )

    def _decode(self, output):
        output = self._net.unscale_targets(output)
        return output.ravel() if self.n_outputs_ == 1 else output

    def _score(self, X, y, sample_weight):
        prediction = self._decode(predictor_of(self).outputs(X))
        if not np.isfinite(prediction).all():
            return np.nan
        with np.errstate(over="ignore"):  # in a fit that diverges
            return r2_score(y, prediction, sample_weight=sample_weight)

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, epochs: int = 1
    ) -> Self:
        """Train for one or more epochs on the given samples, continuing from the weights and optimizer state so far.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        epochs : int, default=1
            Number of passes over the samples, reshuffled before each one.

        Returns
        -------
        self : object
            Ctrl-C ends an epoch early and raises KeyboardInterrupt; the current weights are kept.
        """
        return self._fit(X, y, sample_weight, check_integer("epochs", epochs, 1))

    @fit_context(prefer_skip_nested_validation=True)
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
    ) -> Self:
        """Fit the network to an iterable of blocks of samples, for data larger than memory.

        Training makes ``max_iter`` passes over the blocks. ``scale`` needs one more pass before training; for an
        iterator, which allows only one pass, it is computed from the first block.

        Parameters
        ----------
        blocks : sequence, function or iterable
            Provides blocks (X, y) or (X, y, sample_weight), each as for ``fit``. A sequence (with ``len`` and integer
            indexing) is read in a new random order in each epoch; a function without arguments is called in each epoch
            and returns an iterator; an iterator works with ``max_iter=1`` only. Batches may span several blocks.
        shuffle_blocks : int, default=1
            Number of blocks whose samples are shuffled together. Use more if neighbouring samples are similar, as in
            a sorted file (Xu et al. 2022). Memory for about three times as many blocks is needed.
        n_samples : int or None, default=None
            Total number of samples in all blocks; required with a schedule of ``make_schedule``.
        eval_set, eval_X, eval_y, eval_names, eval_metric, callbacks
            As in ``fit``. ``early_stopping`` requires an ``eval_set``; callbacks of ``sklearn.callback`` receive no X
            and y.

        Returns
        -------
        self : object
            Ctrl-C ends the fit early with a warning; the current weights are kept. Errors raised by ``blocks``, a
            callback or a metric are propagated, and the current weights are kept; an error in the first epoch leaves
            the estimator as it was before the call, unless ``warm_start`` is set.
        """
        evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
        return self._fit_stream(blocks, shuffle_blocks, n_samples, None, evaluation, callbacks)

    @overload
    def predict(self, X: MatrixLike, mc_samples: None = None) -> FloatArray: ...

    @overload
    def predict(self, X: MatrixLike, mc_samples: int) -> tuple[FloatArray, FloatArray]: ...

    def predict(self, X: MatrixLike, mc_samples: int | None = None) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict target values.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        mc_samples : int >= 2 or None, default=None
            Number of stochastic passes with dropout and noise as in training (Monte Carlo dropout, Gal & Ghahramani
            2016).

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions in the units of y. With ``mc_samples``, a pair of such arrays: mean and standard deviation over
            the passes.
        """
        if mc_samples is not None:
            return mc_outputs(self, X, mc_samples, self._decode)
        return self._decode(outputs(self, X))
