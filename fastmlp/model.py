"""MLP: the small model API. Layers with their own activations, a loss, an optimizer."""

import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from tqdm import tqdm

from fastmlp.kernels.network import Optimizer, aligned_copy
from fastmlp.kernels.rules import LOSSES

from . import backends, lbfgs
from .checks import check_integer
from .interruption import Interruption
from .layered_network import LayeredNetwork
from .prediction import predict_rows
from .saving import Savable
from .threads import ThreadLimit
from .training import Diverged, Epochs, Interrupted, TrainingState


class MLP(LayeredNetwork, Savable):
    """A multilayer perceptron trained by gradient descent.

    Parameters
    ----------
    layers : sequence of Layer or (units, activation)
        Hidden layers and, last, the output layer; a single one is a linear model.
    loss : {'squared_error', 'categorical_cross_entropy', 'binary_cross_entropy', 'poisson'}
        The last three need the output activation 'softmax', 'logistic', 'exp'. The squared error has the half; its
        reported value is the mean over outputs, its gradient that of the sum.
    optimizer : str or the result of ``fastmlp.make_optimizer``, default='adam'
        'sgd', 'momentum', 'nesterov', 'adam' with their default options, or 'lbfgs'.
    alpha : float >= 0, default=0
        L2 penalty on the weights, divided by the rows of a step.
    dtype : {'float32', 'float64'}, default='float32'
    backend : {'auto', 'cython', 'numba', 'numpy'}, default='auto'
    n_jobs : int or None, default=None
        Threads; None takes the cores that the process may use, within OMP_NUM_THREADS and the limits of threadpoolctl
        and joblib.
    random_state : int, RandomState or None, default=None
        For the initial weights (Glorot uniform) and shuffling.

    Attributes
    ----------
    weights, biases : tuples of arrays
        W of shape (inputs, outputs) and b of each layer: views of ``parameters``, to be changed in place.
    parameters : ndarray of shape (n_parameters,)
        W1 b1 W2 b2 ... in one vector.
    history : dict of lists
        'loss' of each epoch, and 'validation_loss' where validation data were given.
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
            progress=False):  # fmt: skip
        """Train for some more epochs; a later call goes on where this one stopped, optimizer state included.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For a softmax output also class numbers 0 to n_outputs - 1.
        epochs : int, default=10
            Passes over the rows ('lbfgs': iterations). An epoch that Ctrl-C cut short is finished first and counts.
        batch_size : int or None, default=32
            Rows of a step; None takes all of them. Not used by 'lbfgs'.
        shuffle : bool, default=True
            Whether rows are shuffled before each epoch.
        sample_weight : array-like of shape (n_samples,), default=None
        validation_data : (X, y), default=None
            Rows whose loss is noted after each epoch.
        progress : bool, default=False
            Whether to show a progress bar on stderr.

        Returns
        -------
        self
            After Ctrl-C with the weights so far; after divergence with those of the last good epoch; each with a
            warning.
        """
        check_integer("epochs", epochs, 1)
        X, y, sample_weight = self._rows(X, y, sample_weight)
        batch_size = X.shape[0] if batch_size is None else min(check_integer("batch_size", batch_size, 1), X.shape[0])
        if validation_data is not None:
            if len(validation_data) != 2:
                raise ValueError(f"validation_data must be a pair (X, y), got {len(validation_data)} things.")
            held_out = self._rows(*validation_data, None)
            if held_out[0].shape[1] != X.shape[1]:
                raise ValueError(f"validation data have {held_out[0].shape[1]} columns, X has {X.shape[1]}.")
        if self._state is None:
            self.build(X.shape[1])
        total = epochs if self.optimizer == "lbfgs" else epochs * X.shape[0] - self._state.position
        bar = tqdm(total=total, unit=" iterations" if self.optimizer == "lbfgs" else " rows", unit_scale=True,
                   disable=not progress)  # fmt: skip

        def after_epoch(loss):
            self.history["loss"].append(loss)
            if validation_data is not None:
                self.history.setdefault("validation_loss", []).append(self._mean_loss(*held_out))
            bar.set_postfix({name: f"{curve[-1]:.4g}" for name, curve in self.history.items()}, refresh=False)

        self.interrupted = False
        with bar, ThreadLimit(self.n_jobs), Interruption() as interruption:
            try:
                if self.optimizer == "lbfgs":
                    self._fit_lbfgs(X, y, sample_weight, epochs, interruption, after_epoch, bar.update)
                else:
                    run = Epochs(
                        self._backend.module, self._network, self._state, X, y, sample_weight, batch_size=batch_size,
                        alpha=self.alpha, shuffle=self._shuffled if shuffle else None, interruption=interruption,
                        on_rows=bar.update,
                    )  # fmt: skip
                    for _ in range(epochs):
                        after_epoch(run.run())
                if interruption.requested:  # in the last moment
                    raise Interrupted
            except Diverged:
                self._warn_diverged(f"in epoch {self.epoch + 1}; the weights of the end of epoch {self.epoch}")
            except KeyboardInterrupt:  # a second Ctrl-C, perhaps between a chunk and its bookkeeping
                self._state.drop_epoch_in_progress()
                raise
            except Interrupted:
                self.interrupted = True
                warnings.warn(f"Training interrupted by user in epoch {self.epoch + 1}; the weights so far are kept.")
        return self

    def _shuffled(self, order):
        """From the random state alone, so that a file need not hold the order between epochs."""
        return self._random_state.permutation(len(order))

    def _warn_diverged(self, where):
        remedy = "Scale the inputs to mean 0 and deviation 1"
        if self.optimizer != "lbfgs":
            remedy += f", or lower the learning rate (now {self.optimizer.learning_rate:g})"
        warnings.warn(f"Training diverged {where} are kept. {remedy}.", ConvergenceWarning)

    def _fit_lbfgs(self, X, y, sample_weight, max_iter, interruption, after_epoch, update):
        self._state.drop_epoch_in_progress()

        def on_iteration(loss):
            after_epoch(loss)
            self._state.epoch += 1
            update(1)

        result = lbfgs.fit_lbfgs(
            self._backend.module, self._network, self._state.parameters, X, y, sample_weight, self.alpha,
            max_iter=max_iter, max_fun=20 * max_iter, tol=1e-6, interruption=interruption, on_iteration=on_iteration,
        )  # fmt: skip
        if result.status == lbfgs.INTERRUPTED:
            raise Interrupted
        if result.status == lbfgs.DIVERGED:
            self._warn_diverged(f"after {result.nit} iterations; the last finite weights")

    def _mean_loss(self, X, y, sample_weight):
        """Loss without penalty."""
        return lbfgs.loss_and_gradient_in_blocks(
            self._backend.module, self._network, self._state.parameters, X, y, sample_weight, 0.0
        )[0]

    def predict(self, X):
        """Outputs of the network, shape (n_samples, n_outputs): probabilities, means or values."""
        self._need_weights()
        X = self._inputs(X)
        with ThreadLimit(self.n_jobs):
            return predict_rows(self._backend.module, self._network, self._state.parameters, X)

    def compile_predict(self):
        """A function for one row at a time, without validation, in less than a microsecond for a small network.

        Returns
        -------
        callable
            From an array of n_inputs numbers in the model's dtype to the outputs, shape (n_outputs,). It knows the
            weights as they are now and gives the same array each time: copy what you keep, and take one per thread.
            The GIL is released while it computes.
        """
        return self._backend.module.row_predictor(self.network, self.parameters)

    def evaluate(self, X, y, sample_weight=None):
        """{'loss': without penalty, 'accuracy': share of rows} for cross-entropies, else {'loss', 'r2'}."""
        self._need_weights()
        X, y, sample_weight = self._rows(X, y, sample_weight)
        output = self.predict(X)
        with ThreadLimit(self.n_jobs):
            scores = {"loss": self._mean_loss(X, y, sample_weight)}
        if LOSSES[self.loss].link == "softmax":
            hits = output.argmax(axis=1) == y.argmax(axis=1)
            scores["accuracy"] = float(np.average(hits, weights=sample_weight))
        elif LOSSES[self.loss].link == "logistic":
            hits = ((output > 0.5) == (y > 0.5)).all(axis=1)
            scores["accuracy"] = float(np.average(hits, weights=sample_weight))
        else:
            finite = np.isfinite(output).all()
            scores["r2"] = float(r2_score(y, output, sample_weight=sample_weight)) if finite else math.nan
        return scores

    def saved_state(self):
        """What a model file holds of this model."""
        return {
            "layers": [tuple(layer) for layer in self.layers],
            "loss": self.loss,
            "optimizer": self.optimizer if self.optimizer == "lbfgs" else tuple(self.optimizer),
            "alpha": self.alpha,
            "dtype": str(self.dtype),
            "backend": self._asked_backend,
            "n_jobs": self.n_jobs,
            "random_state": self._random_state,
            "history": self.history,
            "n_inputs": None if self._state is None else self._network.sizes[0],
            "training": None if self._state is None else self._state.to_dict(),
        }

    @classmethod
    def from_saved_state(cls, saved):
        """The model of ``saved_state``, on another backend where the one asked for does not work on this machine."""
        optimizer, backend = saved["optimizer"], saved["backend"]
        model = cls(
            saved["layers"], saved["loss"], optimizer if optimizer == "lbfgs" else Optimizer(*optimizer),
            alpha=saved["alpha"], dtype=saved["dtype"], n_jobs=saved["n_jobs"],
            backend=backend if backends.works(backend) else "auto", random_state=saved["random_state"],
        )  # fmt: skip
        if saved["n_inputs"] is not None:
            model._network = model._network_for(saved["n_inputs"])
            model._state = TrainingState.from_dict(saved["training"], model._network, model.dtype)
        model.history = {"loss": []} | {
            name: [float(loss) for loss in curve] for name, curve in saved["history"].items()
        }
        return model

    def __getstate__(self):
        """All but the backend's module, which is looked up again where the pickle is read."""
        return {name: value for name, value in vars(self).items() if name != "_backend"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._backend = backends.choose(self._asked_backend if backends.works(self._asked_backend) else "auto")
        if self._state is not None:
            self._state.parameters = aligned_copy(self._state.parameters)

    def __repr__(self):
        layers = ", ".join(f"{layer.units} {layer.activation}" for layer in self.layers)
        name = self.optimizer if self.optimizer == "lbfgs" else self.optimizer.name
        return f"MLP([{layers}], {self.loss!r}, {name!r}, epoch={self.epoch}, backend={self.backend!r})"
