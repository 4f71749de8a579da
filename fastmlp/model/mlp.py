"""MLP: the small model API. Layers with their own activations, a loss, an optimizer."""

import sys
import threading
import warnings
from functools import wraps

from sklearn.exceptions import ConvergenceWarning

from fastmlp.backends import registry
from fastmlp.backends.cost_model import Work
from fastmlp.backends.device_arrays import to_host
from fastmlp.backends.threads import ThreadLimit
from fastmlp.inspection.gradients import Monitor
from fastmlp.training import lbfgs
from fastmlp.training.callbacks import Callbacks, progress_bar
from fastmlp.training.class_weight import BALANCED_IN_PARTS
from fastmlp.training.epochs import Diverged, Epochs, Interrupted
from fastmlp.training.interruption import Interruption
from fastmlp.training.scaling import warn_of_far_targets
from fastmlp.training.streams import Stream, StreamedEpochs, check_n_rows
from fastmlp.validation.checks import check_flags, check_integer

from .fit_log import FitLog, Validation
from .layered_network import choose_for
from .trained_network import TrainedNetwork


class RunningFit:
    """Marks a model as being fitted, by this thread."""

    def __init__(self):
        self.thread = threading.get_ident()


def one_at_a_time(fit):
    """A method of MLP that refuses to begin while the model is being fitted: both would change the same weights."""

    @wraps(fit)
    def alone(self, *given, **named):
        own = RunningFit()
        if vars(self).setdefault("_running_fit", own) is not own:  # in one step for all threads
            raise RuntimeError(
                "this MLP is being fitted already, by another thread or by the fit that called this callback: wait "
                "until that has ended, or fit a copy.deepcopy of it."
            )
        try:
            return fit(self, *given, **named)
        finally:
            del self._running_fit

    return alone


class MLP(TrainedNetwork):
    """A multilayer perceptron trained by gradient descent.

    Parameters
    ----------
    layers : sequence of Layer or (units, activation)
        Hidden layers and, last, the output layer; a single one is a linear model.
    loss : str, the result of ``fastmlp.make_loss``, or (function, derivative), default='squared_error'
        A name of the table LOSSES (``help(fastmlp.kernels.rules.losses)``). 'categorical_cross_entropy',
        'binary_cross_entropy', 'poisson' and 'perceptron' need the output activations 'softmax', 'logistic', 'exp' and
        'step'. The squared error has the half; its reported value is the mean over outputs, its gradient that of the
        sum, as with 'absolute_error', 'huber' and 'quantile'; 'mean_squared_error' has neither half nor sum. Two plain
        functions of (prediction, target) make a loss of one's own, summed over outputs.
    optimizer : str or the result of ``fastmlp.make_optimizer``, default='adam'
        A name of the table OPTIMIZERS (``help(fastmlp.kernels.rules.optimizers)``), or 'lbfgs'.
    alpha, l1 : float >= 0, default=0
        Penalties alpha |W|^2 / 2 and l1 |W| on the weights, divided by the rows of a step.
    activity_l1, activity_l2 : float >= 0, default=0
        Penalties |a| and |a|^2 / 2 on the outputs of hidden layers, of each row.
    input_dropout : float in [0, 1), default=0
        Share of the inputs that training drops in each step.
    input_noise : float >= 0, default=0
        Standard deviation of the normal noise that training adds to inputs.
    init : str, (str, scale) or sequence of (W, b), default='glorot_uniform'
        A name of the table INITIALIZERS (``help(fastmlp.model.initializers)``), 'uniform' and 'normal' also with a
        scale, or the arrays themselves.
    dtype : {'float32', 'float64', 'bfloat16'}, default='float32'
        'bfloat16': on a GPU's tensor cores, products of numbers rounded to bfloat16, with sums, parameters and all else
        in float32. For backend 'cuda', which it implies, and 'numpy', which shows what it does.
    backend : {'auto', 'cython', 'numba', 'cuda', 'numpy'}, default='auto'
    n_jobs : int or None, default=None
        Threads; None takes the cores that the process may use, within OMP_NUM_THREADS and the limits of threadpoolctl
        and joblib.
    random_state : int, RandomState or None, default=None
        For the initial weights, shuffling, dropout and noise.

    Attributes
    ----------
    weights, biases : tuples of arrays
        W of shape (inputs, outputs) and b of each layer: views of ``parameters``, to be changed in place.
    slopes : tuple of arrays
        Learned slopes of each layer, empty but for 'prelu' and 'shared_prelu'.
    parameters : ndarray of shape (n_parameters,)
        W1 b1 W2 b2 ... in one vector, slopes after their biases.
    history : dict of lists
        'loss' of each epoch, penalties included; 'validation_loss', without them, and 'validation_<metric>', where
        validation data were given; and what ``monitor`` asked for. Earlier epochs in which nobody asked have NaN.
    epoch : int
        Epochs finished so far.
    interrupted : bool
        Whether Ctrl-C ended the last fit early.
    diverged : bool
        Whether the last fit stopped because its loss, weights or outputs were no longer finite.
    best_epoch : int or None
        The epoch whose weights the last fit kept, where it had ``patience``.
    feature_names_in_ : ndarray of str
        Names of the columns of X in the first fit, where it had any: later frames must have the same, in that order.
    backend, backend_ : str
        The compute backend in use; ``backend`` may be set between fits.
    backend_reason_ : str
        Why it was chosen.

    Examples
    --------
    >>> from fastmlp import MLP, Layer
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> model = MLP([Layer(4, "tanh"), Layer(1, "logistic")], "binary_cross_entropy", "lbfgs", random_state=0)
    >>> model.fit(X, [0, 1, 1, 0], epochs=100).predict(X).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """

    @one_at_a_time
    def fit(self, X, y, epochs=10, batch_size=32, *, shuffle=True, sample_weight=None, class_weight=None,
            validation_data=None, metric=None, patience=None, monitor=False, progress=False,
            callbacks=None):  # fmt: skip
        """Train for some more epochs; a later call goes on where this one stopped, optimizer state included.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For 'categorical_cross_entropy' also class numbers 0 to n_outputs - 1.
        epochs : int, default=10
            Passes over the rows ('lbfgs': iterations). An epoch that Ctrl-C cut short is finished first and counts.
        batch_size : int or None, default=32
            Rows of a step: 1 is online learning, None takes all of them. Not used by 'lbfgs'.
        shuffle : bool, default=True
            Whether rows are shuffled before each epoch.
        sample_weight : array-like of shape (n_samples,), default=None
        class_weight : dict {class number: weight}, 'balanced', or list of dicts, default=None
            Weights of classes, as those of ``MLPClassifier``, for losses of classes.
        validation_data : (X, y), default=None
            Rows whose loss is noted after each epoch.
        metric : 'accuracy', 'r2', or function (y, outputs) -> float, default=None
            A score of the validation data to note beside their loss, more is better: what ``evaluate`` calls so, or a
            function of their y, as it was given, and the network's outputs.
        patience : int or None, default=None
            Stop after that many epochs in a row without a better score by ``metric``, or validation loss where there is
            none, and restore the weights of the best epoch of this fit. A fit that Ctrl-C, an error or the end of the
            process has cut short goes on here, also from the file of a ``Checkpoint``, where metric and number of
            validation samples are the same: the best weights and the count of epochs are those of both calls.
        monitor : bool, default=False
            Whether to note, after each epoch and for each layer, the norm of the gradient over all rows
            ('gradient_norm' in ``history``), the norm of the epoch's change of weights ('update_norm'), and of hidden
            layers how many units give 0 for every row ('dead_units'). It costs a gradient over all rows and a
            prediction of each layer.
        progress : bool, default=False
            Whether to show a progress bar on stderr.
        callbacks : fastmlp.Callback, function (model, epoch, results), or a list, default=None
            Called between epochs; what returns a true value ends the fit.

        Returns
        -------
        self
            After Ctrl-C with the weights so far; after divergence with those of the last good epoch; each with a
            warning.
        """
        check_integer("epochs", epochs, 1)
        shuffle, monitor, progress = check_flags(shuffle=shuffle, monitor=monitor, progress=progress)
        callbacks, progress = Callbacks(callbacks, self), progress_bar(progress)
        with self._names_from(X):
            X, y, sample_weight = self._rows(X, y, sample_weight, class_weight)
            n_rows = X.shape[0]
            batch_size = n_rows if batch_size is None else min(check_integer("batch_size", batch_size, 1), n_rows)
            validation = self._validation(validation_data, metric, patience, X.shape[1])
            if self._state is None:
                self._warn_of_targets(y, sample_weight)
                self.build(X.shape[1])
        if self.optimizer != "lbfgs" and self._comes_to_host(batch_size, epochs * X.shape[0], validation):
            X = to_host(X)
        by_lbfgs = self.optimizer == "lbfgs"
        log = FitLog(
            self, callbacks, validation, patience, Monitor(self, X, y, sample_weight) if monitor else None,
            progress=progress, total=epochs if by_lbfgs else epochs * X.shape[0] - self._state.position,
            unit=" iterations" if by_lbfgs else " rows",
        )  # fmt: skip

        def learn(interruption):
            if by_lbfgs:
                self._fit_lbfgs(X, y, sample_weight, epochs, interruption, log)
                return
            options = self._learning_options(batch_size, sample_weight is not None, interruption, log)
            shuffled = self._shuffled if shuffle else None
            run = Epochs(*self._learner(), X, y, sample_weight, shuffle=shuffled, **options)
            self._run_epochs(run, epochs, log)

        return self._learn(learn, log)

    @one_at_a_time
    def fit_stream(self, blocks, epochs=1, batch_size=32, *, shuffle=True, n_mixed=1, n_rows=None, class_weight=None,
                   validation_data=None, metric=None, patience=None, progress=False, callbacks=None):  # fmt: skip
        """Train on rows that come in blocks, for data that do not fit into memory; otherwise as ``fit``.

        Without shuffling the result is that of ``fit`` on all rows, bit for bit, however they are cut into blocks.

        Parameters
        ----------
        blocks : sequence, function or iterable
            Gives (X, y) or (X, y, sample_weight), block by block, each as for ``fit``. A sequence (anything with
            ``len`` and numbers as keys) is taken in a new order in each epoch; a function without arguments is called
            for an iterator in each epoch; an iterator is for one epoch.
        epochs : int, default=1
        batch_size : int, default=32
            Batches go across the borders of blocks.
        shuffle : bool, default=True
            Whether blocks, where they are a sequence, and rows within those in memory are shuffled.
        n_mixed : int, default=1
            Blocks whose rows are shuffled together: more where neighbours are alike, as in a file that is sorted (Xu et
            al. 2022). While they are put together there is room for about three times as many.
        n_rows : int or None, default=None
            Rows of all blocks together: for the progress bar, and needed with a schedule of the learning rate.
        class_weight : dict or list of dicts, default=None
        validation_data, metric, patience, progress, callbacks
            As in ``fit``.

        Returns
        -------
        self
            After Ctrl-C, or an error of ``blocks``, with the weights so far. An epoch cut short does not count.
        """
        check_integer("epochs", epochs, 1)
        batch_size = min(check_integer("batch_size", batch_size, 1), sys.maxsize)
        shuffle, progress = check_flags(shuffle=shuffle, progress=progress)
        if self.optimizer == "lbfgs":
            raise ValueError("fit_stream is for gradient descent: 'lbfgs' needs all rows at once.")
        check_n_rows(n_rows, self.optimizer)
        if isinstance(class_weight, str) and class_weight == "balanced":
            raise ValueError(BALANCED_IN_PARTS)
        callbacks, stream = Callbacks(callbacks, self), Stream(blocks, n_mixed, n_rows, epochs)
        progress = progress_bar(progress)

        def check(X, y, sample_weight):
            return self._rows(X, y, sample_weight, class_weight, in_parts=True)

        first = stream.first()
        with self._names_from(first[0]):
            X, y, sample_weight = check(*first)
            validation = self._validation(validation_data, metric, patience, X.shape[1])
            if self._state is None:
                self._warn_of_targets(y, sample_weight)
                self.build(X.shape[1])
        del first
        self._comes_to_host(batch_size, epochs * (n_rows or X.shape[0]), validation)
        total = None if n_rows is None else epochs * n_rows
        log = FitLog(self, callbacks, validation, patience, progress=progress, total=total, unit=" rows")

        def learn(interruption):
            options = self._learning_options(batch_size, sample_weight is not None, interruption, log)
            permutation = self._random_state.permutation if shuffle else None
            run = StreamedEpochs(
                *self._learner(), lambda: stream.pieces(batch_size, permutation, check), n_rows=n_rows, **options
            )
            self._run_epochs(run, epochs, log)

        return self._learn(learn, log)

    def _validation(self, data, metric, patience, n_inputs):
        if patience is not None:
            check_integer("patience", patience, 1)
        if data is None:
            for name, given in (("metric", metric), ("patience", patience)):
                if given is not None:
                    raise ValueError(f"{name} needs validation_data.")
            return None
        return Validation(self, data, metric, n_inputs)

    def _warn_of_targets(self, y, sample_weight):
        if self.optimizer != "lbfgs" and self.layers[-1].activation == "identity":
            warn_of_far_targets(y, sample_weight, "Scale y to mean 0 and standard deviation 1.")

    def _comes_to_host(self, batch_size, n_rows, validation):
        """Let backend 'auto' choose. Returns whether it has left the GPU aside, and rows that are there with it."""
        if self._asked_backend != "auto":
            return False
        work = Work(self._network, batch_size, -(-n_rows // batch_size))
        self._backend = choose_for(work, self._state.parameters)
        if self.backend == "cuda":
            return False
        if validation is not None:
            validation.come_to_host()
        return True

    def _learner(self):
        return self._backend.module, self._network, self._state

    def _learning_options(self, batch_size, weighted, interruption, log):
        """Options of Learning."""
        self._kernels = registry.kernels_of(
            self.backend, self._network, self.optimizer, self.dtype, batch_size, self._penalty, self._noise(0), weighted
        )
        return {
            "batch_size": batch_size, "alpha": self.alpha, "penalty": self._penalty,
            "noise": self._noise(self._state.seed), "interruption": interruption, "on_rows": log.bar.update,
        }  # fmt: skip

    @staticmethod
    def _run_epochs(run, epochs, log):
        for _ in range(epochs):
            if log.is_over:
                break
            log.callbacks.before_epoch()
            log.note(run.run())

    def _learn(self, learn, log):
        """``learn(interruption)``, and what has to be done however it ends."""
        self.interrupted, self.diverged, self.best_epoch = False, False, None
        log.begin()
        limit = ThreadLimit(self.n_jobs, self._backend.module)
        with log.bar, Interruption() as interruption, limit, log.callbacks:
            try:
                learn(interruption)
                if interruption.requested:  # in the last moment
                    raise Interrupted
            except Diverged:
                self._end_diverged(f"in epoch {self.epoch + 1}; the weights of the end of epoch {self.epoch}")
            except KeyboardInterrupt:  # a second Ctrl-C, perhaps between a chunk and its bookkeeping
                self._state.drop_epoch_in_progress()
                raise
            except Interrupted:
                self.interrupted = True
                warnings.warn(f"Training interrupted by user in epoch {self.epoch + 1}; the weights so far are kept.")
            if not (self.interrupted or self.diverged):
                self.best_epoch = log.end()
        return self

    def _shuffled(self, order):
        """From the random state alone, so that a file need not hold the order between epochs."""
        return self._random_state.permutation(len(order))

    def _end_diverged(self, where):
        """Note and warn that the fit has diverged: its early stopping is over too."""
        self.diverged, self._state.stopping = True, None
        remedy = "Scale the inputs to mean 0 and standard deviation 1"
        if self.optimizer != "lbfgs":
            remedy += f", or lower the learning rate (now {self.optimizer.learning_rate:g})"
        warnings.warn(f"Training diverged {where} are kept. {remedy}.", ConvergenceWarning)

    def _fit_lbfgs(self, X, y, sample_weight, max_iter, interruption, log):
        self._state.drop_epoch_in_progress()
        if log.is_over:
            return

        def on_iteration(loss):
            self._state.epoch += 1
            log.note(loss)
            log.bar.update(1)
            return log.is_over

        result = lbfgs.fit_lbfgs(
            self._backend.module, self._network, self._state.parameters, X, y, sample_weight, self.alpha,
            self._penalty, max_iter=max_iter, max_fun=20 * max_iter, tol=1e-6, interruption=interruption,
            on_iteration=on_iteration,
        )  # fmt: skip
        if result.status == lbfgs.INTERRUPTED:
            raise Interrupted
        if result.status == lbfgs.DIVERGED:
            self._end_diverged(f"after {result.nit} iterations; the last finite weights")
