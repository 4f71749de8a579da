"""What each part of the recipe of the table estimators contributes: errors with one part removed or changed at a time.

``python table_ablations.py [part of a name ...]`` prints geometric means of the errors over tables.py's tables and two
splits, with 4,000 rows and one member. FASTMLP_DATA names the folder of the tables.
"""

import contextlib
import sys
import warnings
from unittest.mock import patch

import numpy as np
import tables

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from fastmlp.estimators.tabular import base, recipe
from fastmlp.model.inputs import Plain
from fastmlp.model.optimizers import make_optimizer
from fastmlp.tables import numbers

SPLITS = 2
ROWS = 4000


def change(**values):
    """Other values of the recipe's constants."""
    return [(recipe, name, value) for name, value in values.items()]


def activation(classes, targets):
    """Other activations for classes and for numbers."""
    return change(
        CLASSES=recipe.CLASSES._replace(activation=classes), NUMBERS=recipe.NUMBERS._replace(activation=targets)
    )


def rate(factor):
    """Learning rates multiplied by a factor."""
    kinds = {"CLASSES": recipe.CLASSES, "NUMBERS": recipe.NUMBERS}
    return change(**{name: kind._replace(learning_rate=factor * kind.learning_rate) for name, kind in kinds.items()})


def no_layer_rates(*given, layer_rates, **options):
    """An optimizer with one rate for all layers, that of a layer of 128 inputs."""
    return make_optimizer(given[0], given[1] / 128**0.5, **options)


# {name: (changed attributes, parameters of the estimator)}
ABLATIONS = {
    "the recipe": ([], {}),
    "no ranks": ([(numbers, "FEW_VALUES", np.inf)], {}),
    "no periodic inputs": (change(PERIODIC=Plain()), {}),
    "periodic inputs for all numbers": (change(QUANTILES_FOR_DETAIL=0), {}),
    "no trained factors of inputs": (change(INPUT_SCALE=None), {}),
    "periodic inputs and factors for small tables too": (change(ROWS_FOR_DETAIL=0), {}),
    "one rate for all layers": (change(make_optimizer=no_layer_rates), {}),
    "biases from 0": (change(BIAS_STD=0.0), {}),
    "half the rate": (rate(0.5), {}),
    "twice the rate": (rate(2), {}),
    "cosine instead of four waves": (change(SCHEDULE="cosine"), {}),
    "no dropout": (change(DROPOUT=0.0), {}),
    "dropout 0.3": (change(DROPOUT=0.3), {}),
    "no weight decay": (change(WEIGHT_DECAY=0.0), {}),
    "three times the weight decay": (change(WEIGHT_DECAY=0.06), {}),
    "no label smoothing": (change(LABEL_SMOOTHING=0.0), {}),
    "relu": (activation("relu", "relu"), {}),
    "selu": (activation("selu", "selu"), {}),
    "silu": (activation("silu", "silu"), {}),
    "mish": (activation("mish", "mish"), {}),
    "one-hot codes for all categories": (change(ONE_HOT_VALUES=10**6), {}),
    "embeddings above 8 categories": (change(ONE_HOT_VALUES=8), {}),
    "codes for rare categories": ([(base, "MIN_FREQUENCY", 1)], {}),
    "100 epochs": ([], {"epochs": 100}),
    "400 epochs": ([], {"epochs": 400}),
    "two layers": ([], {"hidden_layer_sizes": (128, 128)}),
    "width 256": ([], {"hidden_layer_sizes": (256, 256, 256)}),
    "five members": ([], {"n_members": 5}),
    "five folds": ([], {"n_folds": 5}),
}


def error_of(frame, seed, parameters):
    """Error on the test rows of a split."""
    X, X_test, y, y_test, classes = tables.split(frame.copy(), seed, ROWS)
    kind = TabularMLPClassifier if classes else TabularMLPRegressor
    return tables.error(kind(random_state=seed, **parameters).fit(X, y).predict(X_test), y_test, classes)


def main(wanted):
    warnings.simplefilter("ignore")
    frames = [read() for read in tables.tables().values()]
    for name, (patches, parameters) in ABLATIONS.items():
        if wanted and not any(part in name for part in wanted):
            continue
        with contextlib.ExitStack() as stack:
            for patched in patches:
                stack.enter_context(patch.object(*patched))
            errors = [error_of(frame, seed, parameters) for frame in frames for seed in range(SPLITS)]
        print(f"{name}: {np.exp(np.mean(np.log(np.clip(errors, 1e-4, None)))):.4f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
