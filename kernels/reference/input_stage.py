"""Input stage of the reference (kernels/inputs.py), from the formulas of the papers.

Periodic columns are "PBLD" of Holzmueller, Grinsztajn & Steinwart 2024 (Better by default), after Gorishniy, Rubachev &
Babenko 2022 (On embeddings for numerical features in tabular deep learning), whose piecewise-linear encoding is the
other one.
"""

import numpy as np

from fastmlp.kernels.inputs import EMBEDDING, ONE_HOT, PERIODIC, PIECEWISE_LINEAR, PLAIN, column_views


def codes_of(x, n):
    """(rows whose value is one of 0 to n - 1, these values)"""
    rows = np.flatnonzero(np.isin(x, np.arange(n)))
    return rows, x[rows].astype(int)


def _bins(column, x):
    """(the place of each x in each bin: 0 at its lower edge and 1 at its upper, width of the bins)"""
    edges = np.array(column.edges)
    return (x[:, None].astype(np.float64) - edges[:-1]) / np.diff(edges), np.diff(edges)


def _angles(views, x):
    return 2 * np.pi * (views["w"] * x[:, None] + views["p"])


def encode_column(column, views, x):
    """The numbers of shape (rows, width) that a column of X becomes."""
    out = np.zeros((len(x), column.width), x.dtype)
    if column.kind == PLAIN:
        out[:, 0] = x
    elif column.kind == ONE_HOT:
        out[codes_of(x, column.n)] = 1
    elif column.kind == EMBEDDING:
        rows, codes = codes_of(x, column.n)
        out[rows] = views["table"][codes]
    elif column.kind == PERIODIC:
        out[:, 0] = x
        out[:, 1:] = np.cos(_angles(views, x)) @ views["V"] + views["b"]
    elif column.kind == PIECEWISE_LINEAR:
        out[:] = np.clip(_bins(column, x)[0], 0, 1)
    return out


def encode(inputs, parameters, X):
    """The inputs of the first layer, of shape (rows, width), before and after their factors."""
    by_column, scales = column_views(inputs, parameters)
    encoded = np.hstack([encode_column(*given) for given in zip(inputs.columns, by_column, X.T)])
    return encoded, encoded if scales is None else encoded * scales


def stage_gradient(inputs, parameters, X, error, gradient):
    """Store the gradient of the stage's parameters, from dLoss/d(inputs of the first layer)."""
    views, scales = column_views(inputs, parameters)
    of_columns, of_scales = column_views(inputs, gradient)
    if scales is not None:
        of_scales[:] = np.sum(encode(inputs, parameters, X)[0] * error, axis=0)
        error = error * scales
    for (column, _, output), own, to, x in zip(inputs.blocks, views, of_columns, X.T):
        delta = error[:, output : output + column.width]
        if column.kind == EMBEDDING:
            rows, codes = codes_of(x, column.n)
            to["table"][:] = 0
            np.add.at(to["table"], codes, delta[rows])
        elif column.kind == PERIODIC:
            angles = _angles(own, x)
            of_angle = -np.sin(angles) * (delta[:, 1:] @ own["V"].T)
            to["V"][:], to["b"][:] = np.cos(angles).T @ delta[:, 1:], delta[:, 1:].sum(axis=0)
            to["w"][:], to["p"][:] = 2 * np.pi * (x @ of_angle), 2 * np.pi * of_angle.sum(axis=0)


def errors_of_columns(inputs, parameters, X, error):
    """dLoss/dX of shape (rows, ..., columns), from dLoss/d(inputs of the first layer); 0 for codes."""
    views, scales = column_views(inputs, parameters)
    error = error if scales is None else error * scales
    out = np.zeros((*error.shape[:-1], len(inputs.columns)), error.dtype)
    for number, ((column, _, output), own, x) in enumerate(zip(inputs.blocks, views, X.T)):
        slopes = np.zeros((len(x), column.width), error.dtype)
        if column.kind in (PLAIN, PERIODIC):
            slopes[:, 0] = 1
        if column.kind == PERIODIC:
            slopes[:, 1:] = -2 * np.pi * (np.sin(_angles(own, x)) * own["w"]) @ own["V"]
        elif column.kind == PIECEWISE_LINEAR:
            place, widths = _bins(column, x)
            slopes[:] = ((place > 0) & (place < 1)) / widths
        delta = error[..., output : output + column.width]
        out[..., number] = np.einsum("r...j,rj->r...", delta, slopes)
    return out


def update_stage(inputs, optimizer, parameters, gradient, slots, step, coupled, update):
    """A step of the stage's parameters, each with its rate and, if not in the gradient, its decay."""
    for part, rate, decays in parts_of(inputs):
        if decays and not coupled:
            parameters[part] *= 1 - optimizer.learning_rate * rate * optimizer.weight_decay
        update(
            optimizer._replace(learning_rate=optimizer.learning_rate * rate), parameters[part], gradient[part],
            slots[:, part], step,
        )  # fmt: skip


def parts_of(inputs):
    """(slice of the flat vector, factor of the rate, whether weight decay applies) of all parameters."""
    for column, start, _ in inputs.blocks:
        middle = start + column.n_decaying
        yield slice(start, middle), column.rate, True
        yield slice(middle, start + column.n_parameters), column.rate, False
    if inputs.scales is not None:
        yield slice(inputs.scales, inputs.n_parameters), inputs.scale_rate, True
