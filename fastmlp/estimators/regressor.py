"""MLPRegressor: scikit-learn's, on compiled loops."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d, validate_data

from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import loss_row
from fastmlp.model.losses import Loss, check_loss
from fastmlp.training.scaling import warn_of_far_targets
from fastmlp.validation.arrays import as_numbers, floats_of
from fastmlp.validation.checks import check_integer, check_numeric
from fastmlp.validation.sklearn_compat import StrOptions, fit_context

from .base import BaseMLP
from .evaluation import evaluation_of
from .prediction import outputs, predictor_of, random_passes


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor, a drop-in for scikit-learn's of the same name.

    Parameters up to ``max_fun`` have scikit-learn's names, order, defaults and meaning.

    Parameters
    ----------
    loss : str, the result of ``make_loss`` or (function, derivative), default='squared_error'
        scikit-learn's: half the squared error (mean over outputs), or 'poisson', half the Poisson deviance, which
        predicts through an exponential and needs y >= 0. Beside them 'mean_squared_error', 'absolute_error', 'huber',
        'quantile' (``make_loss("quantile", quantile=0.9)``), or a custom loss: two plain functions of (prediction,
        target), summed over outputs.
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : str, (function, derivative) or list, default='relu'
        Activation of the hidden layers, or a list with one for each: scikit-learn's 'identity', 'logistic', 'tanh' and
        'relu', any other name of ``fastmlp.kernels.rules.ACTIVATIONS``, or two plain functions of a number z.
    solver : str or the result of ``make_optimizer``, default='adam'
        'lbfgs' for small data; 'sgd' with momentum; 'adam' (Kingma & Ba 2014); any other name of
        ``fastmlp.kernels.rules.OPTIMIZERS``. ``make_optimizer`` has its own rate and options, weight decay and
        clipping; names take the ones below, as far as they have them.
    alpha : float >= 0, default=1e-4
        L2 penalty on the weights; divided by the number of rows (or the sum of their weights) in the loss.
    batch_size : int or 'auto', default='auto'
        Rows of a step of 'sgd' and 'adam'; 'auto' is min(200, n_samples).
    learning_rate : str or the result of ``make_schedule``, default='constant'
        Schedule. scikit-learn's own, for every solver but 'adam' and 'lbfgs': 'invscaling': learning_rate_init /
        (rows seen + 1)^power_t. 'adaptive': a fifth each time ``n_iter_no_change`` epochs in a row bring no improvement
        by ``tol``, down to 1e-6. For any gradient descent: 'inverse_scaling', 'step', 'exponential', 'cosine' (over
        ``max_iter`` epochs), see ``make_schedule``.
    learning_rate_init : float > 0, default=1e-3
        Step size at the start. ('adadelta' wants 1.)
    power_t : float >= 0, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Epochs of 'sgd' and 'adam', iterations of 'lbfgs'.
    shuffle : bool, default=True
        Whether rows are shuffled before each epoch.
    random_state : int, RandomState or None, default=None
        For initial weights, the validation split and shuffling: the numbers that scikit-learn draws.
    tol : float >= 0, default=1e-4
        What counts as an improvement of loss or validation score; for 'lbfgs' the gradient at which it stops.
    verbose : bool or int, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the last one.
    momentum : float in [0, 1], default=0.9
        Of 'sgd'.
    nesterovs_momentum : bool, default=True
        Whether the momentum of 'sgd' is Nesterov's.
    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the rows, stop when the score on them no longer
        improves, and restore the best weights.
    validation_fraction : float in [0, 1), default=0.1
    beta_1, beta_2 : float in [0, 1), default=0.9 and 0.999
        Decay of Adam's mean and square.
    epsilon : float > 0, default=1e-8
        Adam's guard against division by zero.
    n_iter_no_change : int or inf, default=10
        Epochs without improvement before stopping.
    max_fun : int, default=15000
        Evaluations of loss and gradient that 'lbfgs' may use.
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'
        Who runs the hot loops.
    n_jobs : int or None, default=None
        Threads. None takes the cores that the process may use, and honours OMP_NUM_THREADS, threadpoolctl and joblib's
        limits; -1 takes all cores.
    l1, activity_l1, activity_l2 : float >= 0, default=0
        Penalties l1 |W| on the weights (divided like alpha), and |a| and |a|^2 / 2 on outputs of hidden layers.
    dropout : float in [0, 1), or list, default=0
        Share of the outputs of each hidden layer that training drops (Srivastava et al. 2014).
    input_dropout : float in [0, 1), default=0
        The same for inputs.
    input_noise : float >= 0, default=0
        Standard deviation of normal noise on the inputs in training.
    init : str, (str, scale) or list of (W, b), default='glorot_uniform'
        Initial weights: a name of ``fastmlp.model.initializers.INITIALIZERS``, or arrays.
    skip : int, default=0
        With k > 1 each layer also takes the outputs of the layer k below it (He et al. 2015).
    skip_weights : bool, default=True
        Whether they come through weights of their own; otherwise they are added, where widths are the same.
    n_layers, width : int or None, default=None
        Numbers that searches can vary. Where one is given there are ``n_layers`` hidden layers (1 if None) of ``width``
        units (100 if None), whatever ``hidden_layer_sizes`` is.
    scale : 'standard', 'inputs', 'targets' or None, default=None
        Standardise each input and each target to mean 0 and standard deviation 1, by the samples of the first fit, in
        training and prediction; 'inputs' and 'targets' standardise only these. ``coefs_``, losses and the options of
        ``loss`` are in scaled units, predictions in those of y and in float64. Targets of loss 'poisson' are not
        scaled. Exports and ``compile_predict`` have the scaling in their weights, where digits are lost if a column's
        mean is many thousand standard deviations. Sparse X cannot be scaled.

    Attributes
    ----------
    coefs_, intercepts_ : lists of n_layers - 1 arrays
        Weights of shape (inputs, outputs) and biases: views of one flat vector, which may be changed in place.
    loss_ : float
        Training loss of the last epoch (mean over rows, penalty included).
    best_loss_ : float or None
        Lowest of ``loss_curve_``; None with early stopping. 'sgd' and 'adam' only, as the next two.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_scores_, best_validation_score_ : list of float and float, or None
        R^2 on the rows held out, with early stopping (minus their loss, with a ``loss`` other than 'squared_error' and
        'poisson'); or what is watched of ``eval_set``.
    evals_result_ : dict
        Scores of ``eval_set``, if ``fit`` was given one: {name: {metric: list of float}}.
    n_iter_ : int
        Epochs or iterations of the last fit.
    t_ : int
        Rows seen by 'sgd' or 'adam'.
    n_features_in_, feature_names_in_ : int and ndarray of str
        Width of X, and its column names where it had any.
    n_layers_, n_outputs_ : int
        Layers, inputs included, and output units.
    out_activation_ : str
        Activation of the output layer.
    backend_, backend_reason_ : str
        The backend that ran the last fit, and why it was taken.

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
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        backend="auto",
        n_jobs=None,
        l1=0.0,
        activity_l1=0.0,
        activity_l2=0.0,
        dropout=0.0,
        input_dropout=0.0,
        input_noise=0.0,
        init="glorot_uniform",
        skip=0,
        skip_weights=True,
        n_layers=None,
        width=None,
        scale=None,
    ):
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
            raise ValueError(f"loss='poisson' needs y >= 0, but the smallest y is {y.min():g}.")
        return X, y

    def _loss_and_output(self):
        link = loss_row(check_loss(self.loss)[0]).link
        if link not in (None, "exp"):
            raise ValueError(f"loss {self.loss!r} is for classes: MLPClassifier has it.")
        return self.loss, link or "identity"

    def _may_have(self, loss, output_activation):
        link = loss_row(loss).link
        return link in (None, "exp") and output_activation == (link or "identity")

    def _scales_targets(self):
        if self.scale not in ("standard", "targets"):
            return False
        positive = self._loss_and_output()[1] == "exp"
        if positive and self.scale == "targets":
            raise ValueError(f"scale='targets' is not for loss={self.loss!r}, whose targets must stay positive.")
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
        with np.errstate(over="ignore"):  # of a fit that diverges
            return r2_score(y, prediction, sample_weight=sample_weight)

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, *, epochs=1):
        """Some epochs over the given data, going on from the weights and the optimizer of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        epochs : int, default=1
            Passes over the rows, each in an order of its own.

        Returns
        -------
        self : object
            Ctrl-C ends an epoch early and raises KeyboardInterrupt; the weights so far are kept.
        """
        return self._fit(X, y, sample_weight, check_integer("epochs", epochs, 1))

    @fit_context(prefer_skip_nested_validation=True)
    def fit_stream(self, blocks, *, n_mixed=1, n_rows=None, eval_set=None, eval_X=None, eval_y=None, eval_names=None,
                   eval_metric=None, callbacks=None):  # fmt: skip
        """Fit the network to rows that come in blocks, for data that do not fit into memory; otherwise as ``fit``.

        ``max_iter`` says how many times to pass over them. For ``scale`` they are passed over once more before, or it
        is that of the first block where they come but once.

        Parameters
        ----------
        blocks : sequence, function or iterable
            Gives (X, y) or (X, y, sample_weight), block by block, each as for ``fit``. A sequence (anything with
            ``len`` and numbers as keys) is taken in a new order in each epoch; a function without arguments is called
            for an iterator in each epoch; an iterator is for ``max_iter=1``. Batches go across the borders of blocks.
        n_mixed : int, default=1
            Blocks whose rows are shuffled together: more where neighbours are alike, as in a file that is sorted (Xu et
            al. 2022). While they are put together there is room for about three times as many.
        n_rows : int or None, default=None
            Rows of all blocks together; needed with a schedule of ``make_schedule``.
        eval_set, eval_X, eval_y, eval_names, eval_metric, callbacks
            As in ``fit``. ``early_stopping`` needs an ``eval_set``; callbacks of ``sklearn.callback`` get no X and y.

        Returns
        -------
        self : object
            Ctrl-C ends a fit early with the weights so far, and with a warning. An error of ``blocks``, a callback or a
            metric is raised; the weights so far are kept, but after an error in the first epoch the estimator is as it
            was before, unless ``warm_start`` is set.
        """
        evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
        return self._fit_stream(blocks, n_mixed, n_rows, None, evaluation, callbacks)

    def predict(self, X, mc_samples=None):
        """Predicted values, shape (n_samples,), or (n_samples, n_outputs) where y had several columns.

        With ``mc_samples`` their mean and standard deviation over that many passes with dropout and noise as in
        training (Gal & Ghahramani 2016).
        """
        if mc_samples is not None:
            return random_passes(self, X, mc_samples, self._decode)
        return self._decode(outputs(self, X))
