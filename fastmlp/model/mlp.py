"""MLP: the small model API. Layers with their own activations, a loss, an optimizer."""

import sys
from functools import partial

from fastmlp.backends.cost_model import Work
from fastmlp.backends.device_arrays import to_host
from fastmlp.training.callbacks import Callbacks, progress_bar
from fastmlp.training.class_weight import BALANCED_IN_PARTS
from fastmlp.training.epochs import Epochs
from fastmlp.training.history import Monitor
from fastmlp.training.lbfgs import Limits
from fastmlp.training.scaling import warn_of_far_targets
from fastmlp.training.stopping import NoStopping, Patience
from fastmlp.training.streams import Stream, StreamedEpochs, check_n_rows
from fastmlp.training.trainer import Trainer
from fastmlp.validation.checks import check_flags, check_integer

from .exclusive import one_at_a_time
from .layered_network import choose_for
from .recorder import HistoryRecorder
from .trained_network import TrainedNetwork
from .validation import Validation


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
        callbacks, new_bar = Callbacks(callbacks, self), progress_bar(progress)
        with self._names_from(X):
            samples = self._samples(X, y, sample_weight, class_weight)
            n_samples = samples.X.shape[0]
            batch_size = n_samples if batch_size is None else min(check_integer("batch_size", batch_size, 1), n_samples)
            validation = self._prepare(samples, validation_data, metric, patience)
        if self.optimizer == "lbfgs":
            self._state.drop_epoch_in_progress()
            bar = new_bar(total=epochs, unit=" iterations", unit_scale=True)
        else:
            if self._comes_to_host(batch_size, epochs * n_samples, validation):
                samples = samples._replace(X=to_host(samples.X))
            total = epochs * n_samples - self._state.position
            bar = new_bar(total=total, unit=" samples", unit_scale=True)
        watcher = Monitor(self._problem(), self._state, samples) if monitor else None
        trainer = self._trainer(validation, patience, callbacks, bar, watcher)
        if self.optimizer == "lbfgs":
            trainer.minimise(samples, Limits(epochs, 20 * epochs, 1e-6))
            return self
        self._note_kernels(batch_size, samples.weight is not None)
        shuffled = self._shuffled if shuffle else None
        trainer.descend(partial(Epochs, trainer.problem, self._state, batch_size, samples, shuffled), epochs)
        return self

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
        new_bar = progress_bar(progress)
        check = partial(self._samples, class_weight=class_weight, in_parts=True)
        first = stream.first()
        with self._names_from(first[0]):
            samples = check(*first)
            validation = self._prepare(samples, validation_data, metric, patience)
        n_first, weighted = samples.X.shape[0], samples.weight is not None
        del first, samples
        self._comes_to_host(batch_size, epochs * (n_rows or n_first), validation)
        bar = new_bar(total=None if n_rows is None else epochs * n_rows, unit=" samples", unit_scale=True)
        trainer = self._trainer(validation, patience, callbacks, bar)
        self._note_kernels(batch_size, weighted)
        permutation = self._random_state.permutation if shuffle else None
        pieces = partial(stream.pieces, batch_size, permutation, check)
        trainer.descend(partial(StreamedEpochs, trainer.problem, self._state, batch_size, pieces, n_rows), epochs)
        return self

    def _prepare(self, samples, validation_data, metric, patience):
        """Check the validation data and draw initial weights. Returns a Validation or None."""
        if patience is not None:
            check_integer("patience", patience, 1)
        validation = None
        if validation_data is not None:
            validation = Validation(self, validation_data, metric, samples.X.shape[1])
        for name, given in (("metric", metric), ("patience", patience)):
            if validation is None and given is not None:
                raise ValueError(f"{name} needs validation_data.")
        if self._state is None:
            if self.optimizer != "lbfgs" and self.layers[-1].activation == "identity":
                remedy = "Scale y to mean 0 and standard deviation 1."
                warn_of_far_targets(samples.y, samples.weight, remedy)
            self.build(samples.X.shape[1])
        return validation

    def _comes_to_host(self, batch_size, n_samples, validation):
        """Let backend 'auto' choose. Returns whether it takes the CPU, so that data must leave the GPU."""
        if self._asked_backend != "auto":
            return False
        work = Work(self._network, batch_size, -(-n_samples // batch_size))
        self._backend = choose_for(work, self._state.parameters)
        if self._backend.module.DEVICE:
            return False
        if validation is not None:
            validation.come_to_host()
        return True

    def _note_kernels(self, batch_size, weighted):
        """Keep for ``backend_reason_`` which kernels a backend with several uses."""
        self._kernels = self._backend.module.describe(
            self._network, self.optimizer, self.dtype, batch_size, self._penalty, self._noise(0), weighted
        )

    def _trainer(self, validation, patience, callbacks, bar, monitor=None):
        self.interrupted, self.diverged, self.best_epoch = False, False, None
        stopping = NoStopping()
        if patience is None:
            self._state.stopping = None
        else:
            stopping = Patience(self._state, patience, validation.names[-1], validation.n_samples)
        recorder = HistoryRecorder(self, stopping, bar, monitor)
        return Trainer(
            self._problem(), self._state, recorder, stopping=stopping, scorer=validation, callbacks=callbacks,
            n_jobs=self.n_jobs, bar=bar,
        )  # fmt: skip

    def _shuffled(self, order):
        """From the random state alone, so that a file need not hold the order between epochs."""
        return self._random_state.permutation(len(order))
