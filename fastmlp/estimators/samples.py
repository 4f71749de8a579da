"""Convert X, y and sample_weight of an estimator to validated, weighted and scaled Samples."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split

from fastmlp.model.losses import check_loss
from fastmlp.training.problem import Samples
from fastmlp.validation.arrays import as_labels, as_numbers
from fastmlp.validation.checks import check_sum_of_weights, check_weights, for_levels
from fastmlp.validation.missing import check_present, without_missing


def validated(estimator, X, y, sample_weight, in_parts=True, reset=False, classes=None):
    """Validated Samples with numeric y of two dimensions; ``in_parts``: whether they are a part of the data.

    Missing targets are 0 and have the weight 0.
    """
    ignores = estimator.missing_targets == "ignore"
    clean = estimator._clean_input(X, y) if reset and not (in_parts or ignores) else None
    if clean is None:
        X, y = as_numbers(X, "X"), as_labels(y, "y")
        clean = estimator._validate_input(X, y, in_parts, reset, classes)
    X, y = clean
    loss, options = check_loss(estimator._loss_and_output()[0])
    y = for_levels(y.reshape(-1, 1) if y.ndim == 1 else y, options)
    sample_weight = check_weights(sample_weight, X, y, loss, X.dtype, in_parts)
    if ignores:
        if not in_parts:
            check_present(y, every_output=True)
        y, sample_weight = without_missing(y, sample_weight, always=in_parts)
    return Samples(X, y, sample_weight)


def weighted(estimator, samples, in_parts=True):
    """Samples whose weights are multiplied with class weights."""
    return samples._replace(weight=estimator._weigh(samples.y, samples.weight, in_parts))


def in_dtype(estimator, samples, in_parts=True):
    """Samples in the dtype of the parameters; inputs and targets that will be scaled keep their precision."""
    X, y, sample_weight = samples
    dtype = estimator._net.parameters.dtype
    if estimator.scale in (None, "targets"):
        X = cast("X", X, dtype)
    y = cast("y", y, np.float64 if estimator._scales_targets() else dtype)
    check_columns(estimator, y)
    if sample_weight is not None:
        with np.errstate(over="ignore"):  # the check refuses infinite weights
            sample_weight = sample_weight.astype(dtype, copy=False)
        check_sum_of_weights(sample_weight, in_parts)
    return Samples(X, y, sample_weight)


def check_columns(estimator, y):
    """Raise ValueError unless encoded targets have a column for each output."""
    if y.shape[1] != estimator.n_outputs_:
        raise ValueError(
            f"y has {y.shape[1]} columns after encoding, but the network has {estimator.n_outputs_} outputs."
        )


def as_network_sees(estimator, samples):
    """Samples with inputs and targets scaled as the network expects them."""
    net, X = estimator._net, samples.X
    dtype = net.parameters.dtype
    if net.scaling is not None:
        X = cast("X", net.scale_inputs(X), dtype)
    return samples._replace(X=X, y=np.ascontiguousarray(net.scale_targets(samples.y), dtype))


def cast(name, values, dtype):
    """Values in a dtype, as a C-contiguous array or CSR matrix. Raises ValueError if some are too large for it."""
    values = values.tocsr() if issparse(values) else np.ascontiguousarray(values)
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        values = values.astype(dtype)
    if not np.isfinite(values.data if issparse(values) else values).all():
        raise ValueError(f"{name} contains values too large for {np.dtype(dtype)}: scale it, or fit in float64.")
    return values


def unscaled_block(estimator, X, y, sample_weight):
    """Samples of a block of a stream, before scaling."""
    return in_dtype(estimator, weighted(estimator, validated(estimator, X, y, sample_weight)))


def block(estimator, X, y, sample_weight):
    """Samples of a block of a stream, scaled."""
    return as_network_sees(estimator, unscaled_block(estimator, X, y, sample_weight))


def evaluated(estimator, X, y, sample_weight):
    """Samples to compute a loss or gradient of a fitted estimator, without class weights."""
    samples = in_dtype(estimator, validated(estimator, X, y, sample_weight), in_parts=False)
    return as_network_sees(estimator, samples)


def split_off(estimator, samples):
    """Split off the validation set, stratified by class. Returns (training Samples, validation Samples)."""
    # Booleans, as in scikit-learn's estimator, which appear in error messages of the split.
    stratify = samples.y > samples.y.min() if is_classifier(estimator) and estimator.n_outputs_ == 1 else None
    arrays = samples[:2] if samples.weight is None else samples
    try:
        parts = train_test_split(
            *arrays, random_state=estimator._random_state, test_size=estimator.validation_fraction, stratify=stratify
        )
    except ValueError as error:
        shows_bool = "'True'" in str(error) or "'False'" in str(error)
        if shows_bool and estimator.classes_.dtype != bool:
            labels = " and ".join(map(repr, estimator.classes_.tolist()))
            raise ValueError(f"{error} (False and True stand for the labels {labels} of y.)") from error
        raise
    train, validation = Samples(*parts[0::2]), Samples(*parts[1::2])
    if validation.X.shape[0] < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    X = train.X if issparse(train.X) else np.ascontiguousarray(train.X)
    return train._replace(X=X, y=np.ascontiguousarray(train.y)), validation
