"""What each part of the recipe of the table estimators contributes: errors with one part removed or changed at a time.

``python table_ablations.py [part of a name ...]`` prints geometric means of the errors over tables.py's tables and one
split, with 4,000 rows and one member. FASTMLP_DATA names the folder of the tables.
"""

import contextlib
import sys
import warnings
from unittest.mock import patch

import numpy as np
import tables

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from fastmlp.estimators.tabular import base, recipe, trials
from fastmlp.model.inputs import Plain
from fastmlp.model.optimizers import make_optimizer
from fastmlp.tables import numbers

SPLITS = 1
ROWS = 4000


def change(**values):
    """Other values of the recipe's constants."""
    return [(recipe, name, value) for name, value in values.items()]


def activation(classes, targets):
    """Other activations for classes and for numbers."""
    return change(
        CLASSES=recipe.CLASSES._replace(activation=classes), NUMBERS=recipe.NUMBERS._replace(activation=targets)
    )


def variants(**values):
    """Other values in all variants."""
    return change(VARIANTS=[variant._replace(**values) for variant in recipe.VARIANTS])


def no_layer_rates(*given, layer_rates, **options):
    """An optimizer with one rate for all layers, that of a layer of 128 inputs."""
    return make_optimizer(given[0], given[1] / 128**0.5, **options)


# {name: (changed attributes, parameters of the estimator)}
ABLATIONS = {
    "the recipe": ([], {}),
    "the first variant for all tables": (change(VARIANTS=recipe.VARIANTS[:1]), {}),
    "no piecewise-linear variants": (change(VARIANTS=recipe.VARIANTS[:2]), {}),
    "no strongly regularised variants": (change(VARIANTS=recipe.VARIANTS[::2]), {}),
    "trials of networks of full width": ([(trials, "UNITS", 128)], {}),
    "no ranks": ([(numbers, "FEW_VALUES", np.inf)], {}),
    "no periodic inputs": (change(PERIODIC=Plain()), {}),
    "no trained factors of inputs": (change(INPUT_SCALE=None), {}),
    "periodic inputs and factors for small tables too": (change(ROWS_FOR_DETAIL=0), {}),
    "one rate for all layers": (change(make_optimizer=no_layer_rates), {}),
    "biases from 0": (change(BIAS_STD=0.0), {}),
    "cosine instead of four waves": (change(SCHEDULE="cosine"), {}),
    "no dropout": (variants(dropout=0.0), {}),
    "no weight decay": (variants(weight_decay=0.0), {}),
    "no label smoothing": (change(LABEL_SMOOTHING=0.0), {}),
    "selu for classes and numbers": (activation("selu", "selu"), {}),
    "silu for classes and numbers": (activation("silu", "silu"), {}),
    "batches of 256 for all tables": (change(BATCH_SIZES=(256, 256)), {}),
    "codes for rare categories": ([(base, "MIN_FREQUENCY", 1)], {}),
    "200 epochs": ([], {"epochs": 200}),
    "two layers": ([], {"hidden_layer_sizes": (128, 128)}),
    "five members": ([], {"n_members": 5}),
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
