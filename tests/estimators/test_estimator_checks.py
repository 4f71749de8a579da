"""scikit-learn's conformance suite, without expected failures."""

import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor

ESTIMATORS = [MLPClassifier(), MLPRegressor(), MLPEnsembleClassifier(n_members=2), MLPEnsembleRegressor(n_members=2)]
OTHERS = [
    MLPClassifier(solver="sgd", backend="numba"),
    MLPRegressor(solver="sgd", learning_rate="adaptive"),
    MLPRegressor(solver="lbfgs", backend="numba"),
    MLPRegressor(solver="lm", alpha="bayes", hidden_layer_sizes=5),
    MLPRegressor(backend="numpy", n_jobs=1),
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_conformance(estimator, check):
    check(estimator)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(OTHERS)
def test_scikit_learn_conformance_of_other_solvers_and_backends(estimator, check):
    check(estimator)


def test_monte_carlo_predictions_need_a_fit():
    for predict in (MLPClassifier(dropout=0.5).predict_proba, MLPRegressor(dropout=0.5).predict):
        with pytest.raises(NotFittedError):
            predict([[0.0, 1.0]], mc_samples=3)
