"""What a fitted estimator says about rows."""

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.backends import registry
from fastmlp.backends.threads import ThreadLimit
from fastmlp.prediction.predict import layer_outputs, predict_rows, sample_rows
from fastmlp.training.scaling import folded, scaled
from fastmlp.validation.arrays import as_numbers, floats_of
from fastmlp.validation.checks import check_integer


class EstimatorPrediction:
    """Mixin of the estimators: rows as the user gives them -> outputs of the network."""

    def _output(self, X):
        """Network outputs of shape (rows, outputs) for input as the user gives it."""
        if self._is_plain(X):
            kernels, parameters = registry.choose(self.backend).module, self._current_parameters()
            with ThreadLimit(self.n_jobs, kernels):
                output = kernels.forward(self._network, parameters, np.ascontiguousarray(X, parameters.dtype), True)
            if output is not None:
                return output
        check_is_fitted(self)
        X = self._checked(X)
        return self._forward(X)

    def _checked(self, X):
        """Rows to predict from, as scikit-learn wants them."""
        X = as_numbers(X, "X")
        sparse = ["csr", "csc"] if self._scaling is None else False
        X = validate_data(self, X, accept_sparse=sparse, dtype=floats_of(X), reset=False)
        return X if self._scaling is None else scaled(X, self._scaling)

    def _is_plain(self, X):
        """Whether scikit-learn's validation, which takes its time, could find nothing but infinity or NaN."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float64, np.float32)
            and X.shape[1:] == (getattr(self, "n_features_in_", None),)
            and X.size > 0
            and not hasattr(self, "feature_names_in_")
            and self._scaling is None
        )

    def compile_predict(self):
        """A function for one row at a time, without validation, in about a microsecond for a small network.

        Returns
        -------
        callable
            From an array of n_features_in_ numbers in the dtype of ``coefs_`` to the network's outputs, shape
            (n_outputs_,): values, or probabilities of classes (of the second one where there are two; what the logistic
            units say where the loss is not 'cross_entropy'). It knows the
            weights as they are now and gives the same array each time: copy what you keep, and take one per thread.
        """
        check_is_fitted(self)
        return registry.choose(self.backend).module.row_predictor(*self._with_scale_in_weights())

    def _with_scale_in_weights(self):
        """(network, parameters) for inputs and outputs in the units of the user."""
        parameters = self._current_parameters()
        if self._scaling is not None or self._target_scaling is not None:
            parameters = folded(self._network, parameters, self._scaling, self._target_scaling)
        return self._network, parameters

    def _forward(self, X):
        kernels = registry.choose(self.backend).module
        with ThreadLimit(self.n_jobs, kernels):
            return predict_rows(kernels, self._network, self._current_parameters(), X)

    def _layer_outputs(self, X):
        """Outputs of every layer, hidden ones included, for input as the user gives it."""
        check_is_fitted(self)
        X, kernels = self._checked(X), registry.choose(self.backend).module
        with ThreadLimit(self.n_jobs, kernels):
            return layer_outputs(kernels, self._network, self._current_parameters(), X)

    def _samples(self, X, mc_samples, transform):
        """(mean, standard deviation) of ``transform`` of the outputs over random passes."""
        check_integer("mc_samples", mc_samples, 2)
        check_is_fitted(self)
        if self._noise is None:
            raise ValueError(
                "mc_samples needs an estimator fitted with dropout or noise: every pass would be the same."
            )
        X = self._checked(X)
        seed = 0 if self._training is None else self._training.seed
        kernels, noise = registry.choose(self.backend).module, self._noise._replace(seed=seed)
        with ThreadLimit(self.n_jobs, kernels):
            return sample_rows(kernels, self._network, self._current_parameters(), X, noise, mc_samples, transform)
