"""MLP: the small model API. Layers with their own activations, a loss, an optimizer."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from . import backends, lbfgs
from .callbacks import Callbacks
from .checks import check_integer
from .cost_model import Work
from .device_rows import to_host
from .early_stopping import EarlyStopping
from .inspection import Monitor, curves
from .interruption import Interruption
from .layered_network import choose_for
from .threads import ThreadLimit
from .trained_network import TrainedNetwork
from .training import Diverged, Epochs, Interrupted


class MLP(TrainedNetwork):
    """A multilayer perceptron trained by gradient descent.

    Parameters
    ----------
    layers : sequence of Layer or (units, activation)
        Hidden layers and, last, the output layer; a single one is a linear model.
    loss : str, the result of ``fastmlp.make_loss``, or (function, derivative), default='squared_error'
        A name of the table LOSSES (``help(fastmlp.kernels.losses)``). 'categorical_cross_entropy',
        'binary_cross_entropy', 'poisson' and 'perceptron' need the output activations 'softmax', 'logistic', 'exp' and
        'step'. The squared error has the half; its reported value is the mean over outputs, its gradient that of the
        sum, as with 'absolute_error', 'huber' and 'quantile'; 'mean_squared_error' has neither half nor sum. Two plain
        functions of (prediction, target) make a loss of one's own, summed over outputs.
    optimizer : str or the result of ``fastmlp.make_optimizer``, default='adam'
        A name of the table OPTIMIZERS (``help(fastmlp.kernels.optimizers)``), or 'lbfgs'.
    alpha, l1 : float >= 0, default=0
        Penalties alpha |W|^2 / 2 and l1 |W| on the weights, divided by the rows of a step.
    activity_l1, activity_l2 : float >= 0, default=0
        Penalties |a| and |a|^2 / 2 on the outputs of hidden layers, of each row.
    input_dropout : float in [0, 1), default=0
        Share of the inputs that training drops in each step.
    input_noise : float >= 0, default=0
        Standard deviation of the normal noise that training adds to inputs.
    init : str, (str, scale) or sequence of (W, b), default='glorot_uniform'
        A name of the table INITIALIZERS (``help(fastmlp.initialization)``), 'uniform' and 'normal' also with a scale,
        or the arrays themselves.
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
        'loss' of each epoch, penalties included; 'validation_loss', without them, where validation data were given;
        and what ``monitor`` asked for.
    epoch : int
        Epochs finished so far.
    interrupted : bool
        Whether Ctrl-C ended the last fit early.
    backend, backend_reason_ : str
        Who runs the hot loops, and why it was chosen.

    Examples
    --------
    >>> from fastmlp import MLP, Layer
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> model = MLP([Layer(4, "tanh"), Layer(1, "logistic")], "binary_cross_entropy", "lbfgs", random_state=0)
    >>> model.fit(X, [0, 1, 1, 0], epochs=100).predict(X).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """

    def fit(self, X, y, epochs=10, batch_size=32, *, shuffle=True, sample_weight=None, validation_data=None,
            patience=None, monitor=False, progress=False, callbacks=None):  # fmt: skip
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
        validation_data : (X, y), default=None
            Rows whose loss is noted after each epoch.
        patience : int or None, default=None
            Stop after that many epochs in a row without a better validation loss, and restore the weights of the best
            epoch of this fit.
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
        callbacks = Callbacks(callbacks, self)
        X, y, sample_weight = self._rows(X, y, sample_weight)
        batch_size = X.shape[0] if batch_size is None else min(check_integer("batch_size", batch_size, 1), X.shape[0])
        held_out = None
        if validation_data is not None:
            if len(validation_data) != 2:
                raise ValueError(f"validation_data must be a pair (X, y), got {len(validation_data)} things.")
            held_out = self._rows(*validation_data, None)
            if held_out[0].shape[1] != X.shape[1]:
                raise ValueError(f"validation data have {held_out[0].shape[1]} columns, X has {X.shape[1]}.")
        if patience is not None:
            check_integer("patience", patience, 1)
            if validation_data is None:
                raise ValueError("patience needs validation_data: their loss says when to stop.")
        if self._state is None:
            self.build(X.shape[1])
        if self._asked_backend == "auto" and self.optimizer != "lbfgs":
            work = Work(self._network, batch_size, epochs * -(-X.shape[0] // batch_size))
            self._backend = choose_for(work, self._state.parameters)
            if self.backend != "cuda":
                X = to_host(X)
                held_out = held_out and (to_host(held_out[0]), *held_out[1:])
        total = epochs if self.optimizer == "lbfgs" else epochs * X.shape[0] - self._state.position
        bar = tqdm(total=total, unit=" iterations" if self.optimizer == "lbfgs" else " rows", unit_scale=True,
                   disable=not progress)  # fmt: skip
        stopping = EarlyStopping(self._state.parameters, patience)
        watched = Monitor(self, X, y, sample_weight) if monitor else None

        told = ["loss"] if validation_data is None else ["loss", "validation_loss"]

        def after_epoch(loss):
            self.history["loss"].append(loss)
            if validation_data is not None:
                self.history.setdefault("validation_loss", []).append(self._mean_loss(*held_out))
                stopping.note(self.history["validation_loss"][-1])
            if watched is not None:
                watched.note()
            if callbacks:
                callbacks.after_epoch({name: self.history[name][-1] for name in told})
            if progress:
                last = {name: f"{curve[-1]:.4g}" for name, curve in curves(self.history).items()}
                bar.set_postfix(last, refresh=False)

        self.interrupted, diverged = False, False
        with bar, ThreadLimit(self.n_jobs), Interruption() as interruption, callbacks:
            try:
                if self.optimizer == "lbfgs":
                    self._fit_lbfgs(
                        X, y, sample_weight, epochs, interruption, after_epoch, bar.update,
                        lambda: stopping.is_over or callbacks.stop,
                    )  # fmt: skip
                else:
                    self._kernels = backends.kernels_of(
                        self.backend, self._network, self.optimizer, self.dtype, batch_size, self._penalty,
                        self._noise(0), sample_weight is not None,
                    )  # fmt: skip
                    run = Epochs(
                        self._backend.module, self._network, self._state, X, y, sample_weight, batch_size=batch_size,
                        alpha=self.alpha, penalty=self._penalty, noise=self._noise(self._state.seed),
                        shuffle=self._shuffled if shuffle else None, interruption=interruption, on_rows=bar.update,
                    )  # fmt: skip
                    for _ in range(epochs):
                        callbacks.before_epoch()
                        after_epoch(run.run())
                        if stopping.is_over or callbacks.stop:
                            break
                if interruption.requested:  # in the last moment
                    raise Interrupted
            except Diverged:
                diverged = True
                self._warn_diverged(f"in epoch {self.epoch + 1}; the weights of the end of epoch {self.epoch}")
            except KeyboardInterrupt:  # a second Ctrl-C, perhaps between a chunk and its bookkeeping
                self._state.drop_epoch_in_progress()
                raise
            except Interrupted:
                self.interrupted = True
                warnings.warn(f"Training interrupted by user in epoch {self.epoch + 1}; the weights so far are kept.")
            if not (self.interrupted or diverged):
                stopping.restore_best()
        return self

    def _shuffled(self, order):
        """From the random state alone, so that a file need not hold the order between epochs."""
        return self._random_state.permutation(len(order))

    def _warn_diverged(self, where):
        remedy = "Scale the inputs to mean 0 and deviation 1"
        if self.optimizer != "lbfgs":
            remedy += f", or lower the learning rate (now {self.optimizer.learning_rate:g})"
        warnings.warn(f"Training diverged {where} are kept. {remedy}.", ConvergenceWarning)

    def _fit_lbfgs(self, X, y, sample_weight, max_iter, interruption, after_epoch, update, is_over):
        self._state.drop_epoch_in_progress()

        def on_iteration(loss):
            self._state.epoch += 1
            after_epoch(loss)
            update(1)
            return is_over()

        result = lbfgs.fit_lbfgs(
            self._backend.module, self._network, self._state.parameters, X, y, sample_weight, self.alpha,
            self._penalty, max_iter=max_iter, max_fun=20 * max_iter, tol=1e-6, interruption=interruption,
            on_iteration=on_iteration,
        )  # fmt: skip
        if result.status == lbfgs.INTERRUPTED:
            raise Interrupted
        if result.status == lbfgs.DIVERGED:
            self._warn_diverged(f"after {result.nit} iterations; the last finite weights")
