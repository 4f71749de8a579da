"""MLPClassifier: scikit-learn's, on compiled loops."""

import math

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d, validate_data

from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import loss_row
from fastmlp.model.losses import Loss, check_loss
from fastmlp.training.class_weight import BALANCED_IN_PARTS, weigh_classes
from fastmlp.validation.arrays import floats_of, is_listing
from fastmlp.validation.checks import check_integer
from fastmlp.validation.sklearn_compat import StrOptions, check_partial_fit_first_call, fit_context

from .base import BaseMLP
from .evaluation import evaluation_of
from .prediction import outputs, predictor_of, random_passes


def check_listed_classes(classes):
    """Raise ValueError unless it is a list of labels; None is allowed."""
    if classes is None:
        return
    try:
        good = is_listing(classes) and np.unique(np.asarray(classes)).size > 0
    except TypeError:  # labels that cannot be put in order
        good = False
    if not good:
        raise ValueError(
            f"classes must be a list of all labels that will come, either all numbers or all strings, got {classes!r}."
        )


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier, a drop-in for scikit-learn's of the same name.

    Softmax outputs and cross-entropy for several classes, logistic outputs and binary cross-entropy for two classes
    or several labels per row. Parameters up to ``max_fun`` have scikit-learn's names, order, defaults and meaning.

    Parameters
    ----------
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
        Whether to hold out ``validation_fraction`` of the rows (stratified for two classes), stop when the score on
        them no longer improves, and restore the best weights.
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
    scale : 'standard' or None, default=None
        Standardise each input to mean 0 and standard deviation 1, by the samples of the first fit, in training and
        prediction. ``coefs_`` are for scaled inputs. Exports and ``compile_predict`` have the scaling in their weights,
        where digits are lost if a column's mean is many thousand standard deviations. Sparse X cannot be scaled.
    class_weight : dict, list of dicts, 'balanced' or None, default=None
        Weights of the classes, which multiply those of the rows, also of rows held out by ``early_stopping``: {class:
        weight}, 1 for those left out, or 'balanced' for n_rows / (n_classes * rows of the class). For several labels
        per row a list of dicts {0: weight, 1: weight}, one for each. 'balanced' is not for ``partial_fit``.
    loss : 'cross_entropy', another loss, the result of ``make_loss`` or (function, derivative)
        With one that is for numbers ('squared_error' ...) the outputs are logistic, one for each class.
    target_values : (low, high), default=(0, 1)
        What logistic outputs learn for no and yes where the loss is not 'cross_entropy': (0.1, 0.9) can be reached with
        finite weights (Mitchell 1997, section 4.7).

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        Class labels.
    coefs_, intercepts_ : lists of n_layers - 1 arrays
        Weights of shape (inputs, outputs) and biases: views of one flat vector, which may be changed in place.
    loss_ : float
        Training loss of the last epoch (mean over rows, penalty included).
    best_loss_ : float or None
        Lowest of ``loss_curve_``; None with early stopping. 'sgd' and 'adam' only, as the next two.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_scores_, best_validation_score_ : list of float and float, or None
        Accuracy on the rows held out, with early stopping (minus their loss, with a ``loss`` other than
        'cross_entropy'); or what is watched of ``eval_set``.
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
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastmlp import MLPClassifier
    >>> X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> MLPClassifier(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.97
    True
    """

    _scikit_losses = ("cross_entropy",)

    _parameter_constraints: dict = {
        **BaseMLP._parameter_constraints,
        "loss": [
            StrOptions({"cross_entropy", *(name for name, row in LOSSES.items() if row.link is None)}),
            Loss,
            tuple,
        ],
        "target_values": [tuple, list],
        "class_weight": [dict, StrOptions({"balanced"}), list, None],
    }

    def __init__(
        self,
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
        loss="cross_entropy",
        target_values=(0.0, 1.0),
        n_layers=None,
        width=None,
        scale=None,
        class_weight=None,
    ):
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

    def _validate_input(self, X, y, in_parts, reset, classes):
        if in_parts:
            check_listed_classes(classes)
        if in_parts and check_partial_fit_first_call(self, classes):
            self._set_classes(y if type_of_target(y).startswith("multilabel") else classes)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=floats_of(X), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or in_parts):
            self._set_classes(y)
        else:
            self._check_classes(unique_labels(y), in_parts)
        targets = self._label_binarizer().transform(y)
        self._targets = None if self.loss == "cross_entropy" else self._target_range()
        if self._targets is None:
            return X, targets
        low, high = self._targets
        return X, low + (high - low) * (targets.toarray() if issparse(targets) else targets)

    def _weigh(self, y, sample_weight, in_parts):
        if self.class_weight is None:
            return sample_weight
        if in_parts and isinstance(self.class_weight, str):
            raise ValueError(BALANCED_IN_PARTS)
        low, high = self._targets or (0, 1)
        hits = (y.toarray() if issparse(y) else y) > (low + high) / 2
        one_label = not self._label_type.startswith("multilabel")
        return weigh_classes(self.class_weight, self.classes_, hits, one_label, sample_weight, in_parts)

    def _target_range(self):
        try:
            low, high = map(float, self.target_values)
        except (TypeError, ValueError):
            low = high = math.nan
        if not 0 <= low < high <= 1:
            raise ValueError(f"target_values must be two numbers, 0 <= low < high <= 1, got {self.target_values!r}.")
        return low, high

    def _confidence(self, output):
        """Outputs as probabilities: of each label by itself, or adding up to 1 where there are several classes."""
        if self._targets is None:
            return output
        low, high = self._targets
        share = np.clip((output - low) / (high - low), 0, 1)
        if self._label_type != "multiclass":
            return share
        total = share.sum(axis=1, keepdims=True)
        return np.where(total > 0, share / np.where(total > 0, total, 1), 1 / share.shape[1])

    def _set_classes(self, labels):
        binarizer = LabelBinarizer().fit(labels)
        self.classes_, self._label_type = binarizer.classes_, binarizer.y_type_
        self._sparse_labels = binarizer.sparse_input_

    def _label_binarizer(self):
        """scikit-learn's translation between labels and columns of 0 and 1."""
        binarizer = LabelBinarizer()
        binarizer.classes_, binarizer.y_type_ = self.classes_, self._label_type
        binarizer.sparse_input_ = self._sparse_labels
        return binarizer

    def _check_classes(self, classes, in_parts):
        """A later fit may not bring new classes; one of all rows may not lack any either."""
        if not in_parts and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _loss_and_output(self):
        if self.loss == "cross_entropy":
            return self._cross_entropy()
        if loss_row(check_loss(self.loss)[0]).link is not None:
            raise ValueError(f"loss must be 'cross_entropy' or for numbers, as 'squared_error', got {self.loss!r}.")
        return self.loss, "logistic"

    def _cross_entropy(self):
        if self._label_type == "multiclass":
            return "categorical_cross_entropy", "softmax"
        return "binary_cross_entropy", "logistic"

    def _may_have(self, loss, output_activation):
        if self._targets is None:
            return (loss, output_activation) == self._cross_entropy()
        return loss_row(loss).link is None and output_activation == "logistic"

    def _check_outputs(self):
        if self._targets is not None:
            low, high = map(float, self._targets)
            if not 0 <= low < high <= 1:
                raise ValueError(f"targets {self._targets}")
        super()._check_outputs()
        n_outputs = 1 if self._label_type == "binary" else len(self.classes_)
        if self.classes_.ndim != 1 or n_outputs != self.n_outputs_:
            raise ValueError(f"{self.n_outputs_} outputs for classes of shape {self.classes_.shape}")

    def prediction_network(self):
        """The PredictionNetwork for inputs in the user's units, with the classes."""
        kind = "multilabel" if self._label_type.startswith("multilabel") else self._label_type
        return super().prediction_network()._replace(kind=kind, classes=self.classes_, targets=self._targets)

    def _decode(self, output):
        return self._labels_of(output if self._label_type == "multiclass" else self._confidence(output))

    def _labels_of(self, confidence):
        """Labels from what outputs say of them, by itself or as probabilities."""
        if self._label_type.startswith("multilabel"):
            return self._label_binarizer().inverse_transform(confidence)
        number = (confidence[:, 0] > 0.5).astype(int) if self.n_outputs_ == 1 else confidence.argmax(axis=1)
        return self.classes_[np.minimum(number, len(self.classes_) - 1)]  # there may be but one class

    def _score(self, X, y, sample_weight):
        return accuracy_score(y, self._decode(predictor_of(self).outputs(X)), sample_weight=sample_weight)

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None, *, epochs=1):
        """Some epochs over the given data, going on from the weights and the optimizer of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        classes : array of shape (n_classes,), default=None
            All labels that will ever come. Needed in the first call, optional afterwards.
        epochs : int, default=1
            Passes over the rows, each in an order of its own.

        Returns
        -------
        self : object
            Ctrl-C ends an epoch early and raises KeyboardInterrupt; the weights so far are kept.
        """
        return self._fit(X, y, sample_weight, check_integer("epochs", epochs, 1), classes)

    @fit_context(prefer_skip_nested_validation=True)
    def fit_stream(self, blocks, classes, *, n_mixed=1, n_rows=None, eval_set=None, eval_X=None, eval_y=None,
                   eval_names=None, eval_metric=None, callbacks=None):  # fmt: skip
        """Fit the network to rows that come in blocks, for data that do not fit into memory; otherwise as ``fit``.

        ``max_iter`` says how many times to pass over them. For ``scale`` they are passed over once more before, or it
        is that of the first block where they come but once.

        Parameters
        ----------
        blocks : sequence, function or iterable
            Gives (X, y) or (X, y, sample_weight), block by block, each as for ``fit``. A sequence (anything with
            ``len`` and numbers as keys) is taken in a new order in each epoch; a function without arguments is called
            for an iterator in each epoch; an iterator is for ``max_iter=1``. Batches go across the borders of blocks.
        classes : array of shape (n_classes,)
            All labels that will ever come.
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
        if classes is None:
            raise ValueError("classes must be given: pass a list of every possible label.")
        evaluation = evaluation_of(self, eval_set, eval_X, eval_y, eval_names, eval_metric)
        return self._fit_stream(blocks, n_mixed, n_rows, classes, evaluation, callbacks)

    def predict(self, X):
        """Predicted classes, shape (n_samples,), or (n_samples, n_classes) of 0 and 1 for several labels per row."""
        return self._decode(outputs(self, X))

    def predict_proba(self, X, mc_samples=None):
        """Probability of each class, shape (n_samples, n_classes), in the order of ``classes_``.

        With ``mc_samples`` their mean and standard deviation over that many passes with dropout and noise as in
        training (Gal & Ghahramani 2016).
        """
        if mc_samples is not None:
            return random_passes(self, X, mc_samples, self._both_classes)
        return self._both_classes(outputs(self, X))

    def _both_classes(self, output):
        output = self._confidence(output)
        if len(self.classes_) == 1:
            return np.ones_like(output)
        return np.hstack([1 - output, output]) if self.n_outputs_ == 1 else output

    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba(X)``."""
        probability = self.predict_proba(X)
        return np.log(probability, out=probability)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
