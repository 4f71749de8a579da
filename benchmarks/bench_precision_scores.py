"""Test scores in each precision of matrix products, on the same splits and from the same initial weights.

Fashion-MNIST, 784-128-10, 5 epochs in batches of 128, and the estimators for tables on 4,000 rows, with their first
variant: with trials precisions may train different networks where two variants are nearly equal. Scores are accuracies;
for california (housing) R^2.
"""

import warnings
from math import inf
from unittest.mock import patch

import pytest
from bench_accuracy import load
from matrix_unit import unit
from tables import split, tables

import fastmlp
from fastmlp.estimators.tabular import trials
from fastmlp.kernels.spec import PRECISIONS

SEEDS = range(5)
TABLES = "california", "adult", "LetterRecognition", "spam"
ROWS = 4000


def fashion_mnist(folder):
    """(kind of estimator, its parameters, (X, y), (X_test, y_test))"""
    parameters = {"hidden_layer_sizes": (128,), "batch_size": 128, "max_iter": 5, "alpha": 0}
    return fastmlp.MLPClassifier, parameters, load(folder, "train"), load(folder, "t10k")


def table(name):
    X, X_test, y, y_test, classes = split(tables()[name](), 0, ROWS)
    return fastmlp.TabularMLPClassifier if classes else fastmlp.TabularMLPRegressor, {}, (X, y), (X_test, y_test)


def scores(kind, parameters, train, test):
    """{precision: a score for each seed}"""
    found = {precision: [] for precision in PRECISIONS}
    with warnings.catch_warnings(), patch.object(trials, "FEWEST_ROWS", inf):
        warnings.simplefilter("ignore")  # of epochs that were too few to converge
        for seed in SEEDS:
            for precision, of_seeds in found.items():
                model = kind(**parameters, matmul_precision=precision, random_state=seed)
                of_seeds.append(float(model.fit(*train).score(*test)))
    return found


@pytest.mark.parametrize("name", ["Fashion-MNIST", *TABLES])
def bench_precision_scores(benchmark, data_folder, name):
    problem = table(name) if name in TABLES else fashion_mnist(data_folder / "fashion_mnist")
    benchmark.extra_info["scores"] = benchmark.pedantic(scores, problem, rounds=1)
    benchmark.extra_info["unit"] = unit()
