"""TrainableNetwork: what the fits of an MLP have in common."""

from __future__ import annotations

from contextlib import contextmanager

from fastmlp.backends.cost_model import Work
from fastmlp.kernels.spec import is_by_target
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.scaling import warn_of_far_targets
from fastmlp.training.squared_errors import check_lm_network
from fastmlp.training.stopping import NoStopping, Patience
from fastmlp.validation.checks import check_integer

from .backend_choice import check_device, choose_backend
from .differentiable_network import DifferentiableNetwork
from .recorder import HistoryRecorder
from .settings import columns_and_classes, network_settings
from .validation import Validation


@contextmanager
def unchanged_on_error(model):
    """Context manager: after an error the model is as before."""
    before, generator = dict(vars(model)), model._random_state.get_state()
    try:
        yield
    except BaseException:
        model.__dict__ = before  # at once, for other threads
        model._random_state.set_state(generator)
        raise


class TrainableNetwork(DifferentiableNetwork):
    """Base class of MLP that prepares its fits."""

    def _prepare(self, samples, validation_data, metric, patience):
        """Check the validation data and draw initial weights. Returns a Validation or None."""
        if patience is not None:
            check_integer("patience", patience, 1)
        validation = None
        if self.optimizer == "lm":
            network = self._network_for(samples.X.shape[1]) if self._state is None else self._network
            check_lm_network("optimizer 'lm'", self._backend.kernels, network)
        if validation_data is not None:
            validation = Validation(self, validation_data, metric, samples.X.shape[1])
        for name, given in (("metric", metric), ("patience", patience)):
            if validation is None and given is not None:
                raise ValueError(f"{name} requires validation_data: pass a pair (X, y).")
        if self._state is None:
            if not is_full_batch(self.optimizer) and self.layers[-1].activation == "identity":
                remedy = "Scale y to mean 0 and standard deviation 1."
                warn_of_far_targets(samples.y, samples.weight, remedy)
            self._draw_weights(samples.X.shape[1])
        return validation

    def _check_fit(self, fit, batch_size, needs_all, is_streamed=False):
        """Raise ValueError if several ranks cannot run this fit."""
        solver = self.optimizer if is_full_batch(self.optimizer) else ""
        kernels = None if self._requested_backend == "auto" else self._backend.kernels
        fit.check(kernels, solver, batch_size, needs_all, is_streamed)

    def _settings(self, arguments):
        """What must be the same on all ranks, by its name in error messages; ``arguments`` are those of the fit."""
        return network_settings(self._network) | columns_and_classes(self) | arguments | {
            "backend": self._requested_backend, "dtype": str(self.dtype), "optimizer": self.optimizer,
            "alpha": self.alpha, "penalties": self._penalty, "noise": self._noise(0),
        }  # fmt: skip

    def _fewest_epochs(self, patience):
        """0 if a fit with ``patience`` was cut short between two epochs, otherwise 1."""
        state = self._state
        if patience is None or state is None or state.stopping is None or is_full_batch(self.optimizer):
            return 1
        return 0 if state.order is None and state.stream is None else 1

    def _begin(self, fit):
        """Start from the weights and the history of rank 0."""
        fit.begin(self._state, self._random_state)
        self.history = fit.broadcast(self.history)

    def _check_targets(self, samples):
        """Whether training needs a CPU, for weights of targets or a list of quantiles. ValueError if a GPU is set."""
        by_target = is_by_target(self._loss_options, samples.weight)
        if self._requested_backend != "auto":
            check_device(self._backend.kernels, by_target)
        return by_target

    def _choose_backend(self, fit, batch_size, n_samples, validation, by_target):
        """Choose the backend for 'auto', and copy the validation data from a GPU if it runs on the CPU."""
        if self._requested_backend == "auto":
            work = Work(self._network, -(-batch_size // fit.n_ranks), -(-n_samples // batch_size))
            self._backend = choose_backend(work, self._state.parameters, by_target or fit.parallel is not None)
        if validation is not None and not self._backend.kernels.DEVICE:
            validation.copy_to_host()

    def _note_kernels(self, problem, batch_size, weighted):
        """Record the kernels in use for ``backend_reason_``, for a backend with a choice of kernels."""
        kernels, network, penalty, noise = problem
        self._used_kernels = kernels.describe(network, self.optimizer, self.dtype, batch_size, penalty, noise, weighted)

    def _trainer(self, fit, validation, patience, callbacks, bar, monitor=None):
        self._state.make_writable()
        self.interrupted, self.diverged, self.best_epoch = False, False, None
        stopping = NoStopping()
        if patience is None:
            self._state.stopping = None
        else:
            stopping = Patience(self._state, patience, validation.names[-1], validation.n_samples)
        recorder = HistoryRecorder(self, stopping, bar, monitor)
        return fit.trainer(
            self._problem(), self._state, recorder, stopping=stopping, scorer=validation, callbacks=callbacks,
            n_jobs=self.n_jobs, bar=bar,
        )  # fmt: skip
