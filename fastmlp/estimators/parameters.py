"""Parameters that MLPClassifier and MLPRegressor share: documentation, for ``with_texts``, and allowed values."""

from numbers import Integral, Real

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import PRECISIONS
from fastmlp.model.initializers import INITIALIZERS
from fastmlp.model.optimizers import Optimizer
from fastmlp.training.full_batch import BAYES
from fastmlp.training.schedules import SCHEDULES, Schedule
from fastmlp.training.streams import SHUFFLE_BLOCKS
from fastmlp.validation.missing import ON_MISSING
from fastmlp.validation.sklearn_compat import Interval, Options, StrOptions

from .architecture import SCIKIT_SCHEDULES, SOLVERS

PARAMETERS = """\
hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
    Number of units in each hidden layer; empty for a linear model.
activation : str, (function, derivative) or list, default='relu'
    Activation of the hidden layers, or a list with one per layer: scikit-learn's 'identity', 'logistic', 'tanh' and
    'relu', any other name in ``fastmlp.kernels.rules.ACTIVATIONS``, or a custom activation given as two scalar
    functions of the pre-activation z.
solver : str or the result of ``make_optimizer``, default='adam'
    'lbfgs' for small data sets; 'lm', Levenberg-Marquardt, for squared errors and networks of up to 10,000
    parameters (``help(fastmlp.training.levenberg_marquardt)``); 'sgd' with momentum; 'adam' (Kingma & Ba 2014); or
    any other name in ``fastmlp.kernels.rules.OPTIMIZERS``. A name uses those of the options below that apply to it.
    The result of ``make_optimizer`` has its own learning rate and options, including weight decay and gradient
    clipping.
alpha : float >= 0 or 'bayes', default=1e-4
    L2 penalty on the weights; divided by the number of samples (or the sum of their weights) in the loss. With
    solver='lm', 'bayes' chooses it by its evidence (MacKay 1992; Foresee & Hagan 1997).
batch_size : int or 'auto', default='auto'
    Samples per step of gradient descent; 'auto' is min(200, n_samples). Not used by 'lbfgs' and 'lm'.
learning_rate : str or the result of ``make_schedule``, default='constant'
    Learning rate schedule. scikit-learn's schedules apply to every solver except 'adam', 'lbfgs' and 'lm':
    'invscaling' is learning_rate_init / (samples seen + 1)^power_t; 'adaptive' divides the rate by 5 whenever
    ``n_iter_no_change`` consecutive epochs fail to improve by ``tol``, down to 1e-6. 'inverse_scaling', 'step',
    'exponential', 'cosine' and 'cosine_log' (over ``max_iter`` epochs) and 'reduce_on_plateau' apply to every solver
    except 'lbfgs' and 'lm'; see ``make_schedule``.
learning_rate_init : float > 0, default=1e-3
    Initial learning rate. For 'adadelta' the usual value is 1.
power_t : float >= 0, default=0.5
    Exponent of 'invscaling'.
max_iter : int, default=200
    Maximum number of epochs, or of iterations for 'lbfgs' and 'lm'.
shuffle : bool, default=True
    Whether to shuffle the samples before each epoch.
random_state : int, RandomState or None, default=None
    Determines the initial weights, the validation split and the shuffling. A seed gives the same random numbers
    as in scikit-learn.
tol : float >= 0, default=1e-4
    Smallest improvement of the training loss or validation score that counts; for 'lbfgs' and 'lm' the largest
    gradient component at which it stops.
verbose : bool or int, default=False
    Whether to print the loss after each epoch.
warm_start : bool, default=False
    Whether ``fit`` starts from the weights of the previous fit.
momentum : float in [0, 1], default=0.9
    Momentum of 'sgd'.
nesterovs_momentum : bool, default=True
    Whether 'sgd' uses Nesterov's momentum.
early_stopping : bool, default=False
    Whether to hold out ``validation_fraction`` of the samples (of each class, if y has two classes), stop when the
    score on them no longer improves, and restore the best weights.
validation_fraction : float in [0, 1), default=0.1
    Fraction of the samples that ``early_stopping`` holds out.
beta_1, beta_2 : float in [0, 1), default=0.9 and 0.999
    Exponential decay rates of Adam's first and second moment estimates.
epsilon : float > 0, default=1e-8
    Numerical stability term of Adam.
n_iter_no_change : int or inf, default=10
    Maximum number of consecutive epochs without an improvement by ``tol``.
max_fun : int, default=15000
    Maximum number of evaluations of loss and gradient by 'lbfgs', and of the loss by 'lm'.
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
    is done where both layers have the same number of units."""

LAYERS_AND_WIDTH = """\
n_layers, width : int or None, default=None
    The architecture as two integers, for hyper-parameter searches. If either is given, ``hidden_layer_sizes`` is
    ignored and the network has ``n_layers`` hidden layers (1 if None, at most 10,000) of ``width`` units (100 if
    None)."""

DTYPE = """\
dtype : {'float32', 'float64'} or None, default=None
    Precision of training and prediction. None uses that of the first X: float32 if X is float32, otherwise float64, as
    in scikit-learn; with ``matmul_precision`` 'high' or 'medium' it uses float32. float32 is about twice as fast.
    ``warm_start`` and ``partial_fit`` keep the precision of the first fit."""

ATTRIBUTES = """\
coefs_, intercepts_ : lists of n_layers - 1 arrays
    Weights of shape (inputs, outputs) and biases: views of one flat vector, which can be modified in place.
loss_ : float
    Training loss of the last epoch (mean over samples, penalties included).
best_loss_ : float or None
    Minimum of ``loss_curve_``; None with early stopping. 'lbfgs' sets it, ``loss_curve_`` and
    ``validation_scores_`` only with evaluation sets.
loss_curve_ : list of float
    Training loss of each epoch.
evals_result_ : dict
    Scores of ``eval_set``, if it was passed to ``fit``: {name: {metric: list of float}}.
alpha_, effective_parameters_ : float
    With alpha='bayes': the alpha that was chosen, and the number of parameters that the data determine.
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
    The backend that ran the last fit, and why it was chosen."""

# Parameters of partial_fit and fit_stream after those that only one class has, and what they return.

PARTIAL_FIT = """\
epochs : int, default=1
    Number of passes over the samples, reshuffled before each one.

Returns
-------
self : object
    Ctrl-C ends an epoch early and raises KeyboardInterrupt; the current weights are kept."""

FIT_STREAM = f"""\
{SHUFFLE_BLOCKS}
n_samples : int or None, default=None
    Total number of samples in all blocks; required with a schedule of ``make_schedule`` unless the blocks of
    ``read_blocks`` know it.
eval_set, eval_X, eval_y, eval_names, eval_metric, callbacks
    As in ``fit``. ``early_stopping`` requires an ``eval_set``; callbacks of ``sklearn.callback`` receive no X
    and y.
resume_from : str or Path, default=None
    As in ``fit``. Of the blocks only their number and the first one are compared with those of the checkpoint. An
    epoch over blocks that are no sequence is begun again.

Returns
-------
self : object
    Ctrl-C ends the fit early with a warning; the current weights are kept. Errors raised by ``blocks``, a
    callback or a metric are propagated, and the current weights are kept; an error in the first epoch leaves
    the estimator as it was before the call, unless ``warm_start`` is set."""

CONSTRAINTS: dict = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({name for name, row in ACTIVATIONS.items() if not row.rowwise}), tuple, list],
    "solver": [StrOptions(set(SOLVERS)), Optimizer, tuple],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({BAYES})],
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
    "dtype": [StrOptions({"float32", "float64"}), None],
    "matmul_precision": [StrOptions(set(PRECISIONS))],
    "missing_targets": [StrOptions(set(ON_MISSING))],
    "n_jobs": [None, Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left")],
    "l1": [Interval(Real, 0, None, closed="left")],
    "activity_l1": [Interval(Real, 0, None, closed="left")],
    "activity_l2": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), list],
    "input_dropout": [Interval(Real, 0, 1, closed="left")],
    "input_noise": [Interval(Real, 0, None, closed="left")],
    "init": [StrOptions(set(INITIALIZERS)), tuple, list],
    "skip": [Options(Integral, {0}), Interval(Integral, 2, None, closed="left")],
    "skip_weights": ["boolean"],
    "communicator": "no_validation",  # check_communicator does it
    "n_layers": [Interval(Integral, 0, 10_000, closed="both"), None],
    "width": [Interval(Integral, 1, None, closed="left"), None],
}
