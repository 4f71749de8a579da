"""Random networks, data and settings: fits of the compiled backends against the reference.

A fit may differ from the reference in float64 by what rounding explains: the number of roundings (random_fits.py) times
the sum of one rounding of the result and of the change of the reference when initial weights, inputs and sample weights
are rounded once more. The law has no other constants. Numba, which compiles most configurations anew, gets one in 20.

Where an activation, loss or penalty has a kink, rounding may decide on which side a number is, which changes a gradient
by much more. In float32 such a configuration may fail for two draws of its data, but not for three. In float64 and
without kinks it may never fail.
"""

import warnings

import numpy as np
from random_fits import inputs_of, random_fit

SIZES = 40, 1000
FIGURE = (
    "{configurations} configurations, {fits} fits in float64, float32, 'high' and 'medium' ({diverged} of them diverge "
    "as the reference does); {drawn_again} drawn again at a kink; largest share of what rounding explains {share:.2f}"
)
NUMBA_EVERY = 20  # it compiles nearly every configuration anew, which takes seconds
ROUNDOFF = {"float64": 2.0**-53, "highest": 2.0**-24, "high": 2.0**-17, "medium": 2.0**-24}
DRAWS = 3


def run(size, seed, folder):
    """Try ``size`` configurations."""
    counts = {"configurations": size, "fits": 0, "diverged": 0, "drawn_again": 0, "share": 0.0, "faults": []}
    for number in range(size):
        for draw in range(DRAWS):
            given = random_fit(np.random.default_rng([seed, number]))
            if draw:
                given = with_other_data(given, [seed, number, draw])
            shares, diverged = compare(given, ("cython", "numba") if number % NUMBA_EVERY == 0 else ("cython",))
            counts["fits"] += len(shares)
            counts["diverged"] += diverged * len(shares)
            if max(shares.values()) <= 1 or given.dtype == "float64" or not given.kinks:
                break
            counts["drawn_again"] += draw < DRAWS - 1
        counts["share"] = max(counts["share"], *(share for share in shares.values() if share <= 1), 0)
        counts["faults"] += [
            f"configuration {number} of seed {seed} on {name}: {share:.3g} of what rounding explains; {given.model}"
            for name, share in shares.items() if not share <= 1
        ]  # fmt: skip
    return counts


def with_other_data(given, seed):
    """The same network and settings with other inputs: a kink is then met elsewhere."""
    rng, X = np.random.default_rng(seed), given.fit["X"]
    X = np.where(X == 0, 0, rng.standard_normal(X.shape)).astype(X.dtype)
    return given._replace(fit=given.fit | {"X": X})


def compare(given, backends):
    """({backend: share of what rounding explains}, whether the reference diverges)."""
    start = given.model_on("numpy", 0).build(given.n_inputs).parameters.astype(given.dtype)
    rounded = given.precision != "highest"
    options = {"matmul_precision": given.precision, "dtype": "float32" if rounded else "float64"}
    X, weight, rng = given.fit["X"], given.fit["sample_weight"], np.random.default_rng(0)
    roundoff = ROUNDOFF[given.dtype if given.dtype == "float64" else given.precision]
    weight = np.ones(len(X)) if weight is None else weight
    reference = trained(given, "numpy", start, X, **options)
    of_weight = given._replace(fit=given.fit | {"sample_weight": shake(rng, weight, roundoff)})
    shaken = trained(of_weight, "numpy", shake(rng, start, roundoff), shake(rng, X, roundoff), **options)
    explained = {
        name: given.roundings() * (roundoff * largest(value) + largest(shaken[name] - value))
        for name, value in reference.items()
    }
    if rounded and given.fit["batch_size"] == 1:  # steps of one sample may leave out some of the rounding of operands
        exact = trained(given, "numpy", start, X, **(options | {"matmul_precision": "highest"}))
        explained = {name: value + largest(exact[name] - reference[name]) for name, value in explained.items()}
    shares = {}
    for backend in backends:
        found = trained(given, backend, start, inputs_of(given))
        shares[backend] = max(share_of(found[name] - value, explained[name]) for name, value in reference.items())
    return shares, bool(reference["diverged"][0])


def trained(given, backend, parameters, X, **changed):
    """What a fit leaves: parameters, losses, outputs, and whether and when it diverged."""
    model = given.model_on(backend, parameters, **changed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divergence, which is compared, and of targets far from 0
        model.fit(**given.fit | {"X": X.astype(model.dtype)})
        outputs = model.predict(X)
    losses = np.full(given.fit["epochs"], np.nan)
    losses[: len(model.history["loss"])] = model.history["loss"]
    return {
        "parameters": model.parameters.astype(float), "losses": np.nan_to_num(losses),
        "outputs": outputs.astype(float), "diverged": np.array([float(model.diverged)]),
        "epochs": np.array([float(model.epoch)]),
    }  # fmt: skip


def shake(rng, values, roundoff):
    """Each number about one unit in the last place higher or lower."""
    return values.astype(float) * (1 + 2 * roundoff * rng.choice([-1, 1], values.shape))


def largest(values):
    return float(np.abs(values).max())


def share_of(difference, explained):
    """Largest difference, as a multiple of what is explained; infinite if a number is missing."""
    error = largest(difference)
    return np.inf if not np.isfinite(error) else 0.0 if error == 0 else error / max(explained, 1e-300)
