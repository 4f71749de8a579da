"""The fit of solver 'lbfgs' with scikit-learn's rules."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from fastmlp.training import lbfgs
from fastmlp.training.epochs import DivergenceError

from .architecture import penalty_of
from .stochastic_fit import DIVERGED_MESSAGE

CURVES = "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"


class LbfgsFit:
    """Mixin of the estimators, beside StochasticFit."""

    def _fit_lbfgs(self, kernels, X, y, sample_weight, interruption, callbacks, evaluation):
        """Returns the error of a fit that diverged, or None."""
        for name in CURVES:  # of an earlier fit
            vars(self).pop(name, None)
        self._best_parameters = None
        if evaluation is not None:
            self._start_curves()
        self._begin_watching(evaluation)
        stopped, self.n_iter_, error = False, 0, None

        def on_iteration(loss):
            nonlocal stopped
            if self.verbose:
                print(f"Loss = {loss:.8f}")
            self.loss_ = loss
            self.n_iter_ += 1
            if evaluation is not None:
                self.loss_curve_.append(loss)
                evaluation.note()
                self._watch(None, evaluation)
                stopped = self.early_stopping and self._no_improvement_count > self.n_iter_no_change
            if callbacks:
                stopped |= callbacks.after_epoch({"loss": loss} | (evaluation.last() if evaluation else {}))
            return stopped

        result = lbfgs.fit_lbfgs(
            kernels, self._network, self._parameters, X, y, sample_weight, float(self.alpha), penalty_of(self),
            max_iter=self.max_iter, max_fun=self.max_fun, tol=self.tol, interruption=interruption,
            on_iteration=on_iteration,
        )  # fmt: skip
        self._bind(self._parameters)  # L-BFGS has its own: what a callback has put into coefs_ is lost
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = float(result.fun)
        if result.status == lbfgs.INTERRUPTED:
            warnings.warn("Training interrupted by user.")
        elif result.status == lbfgs.DIVERGED:
            kept = f"the end of iteration {self.n_iter_}"
            where = f"lbfgs diverged in iteration {self.n_iter_ + 1}"
            error = DivergenceError(DIVERGED_MESSAGE.format(where=where, kept=kept, more=""))
        elif result.status != 0 and not stopped:
            more = f" Increase max_iter (now {self.max_iter})." if self.n_iter_ == self.max_iter else ""
            message = (
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={result.status}): "
                f"{result.message}.{more} You might also want to scale the data (StandardScaler)."
            )
            warnings.warn(message, ConvergenceWarning)
        if evaluation is not None:
            self._restore_best()
        return error
