"""Monte-Carlo dropout on the UCI tables and the 20 splits of Gal & Ghahramani (2016), beside their RMSE.

"Dropout as a Bayesian Approximation", table 1, whose +- are standard deviations over the splits: the authors give the
standard errors, which stand here, in the notes to their code. The splits are theirs: they are drawn with a fixed seed
from the number of rows. Theirs are also the share that is dropped, one hidden layer, 400 epochs (protein: 200) and
batches of 128. There are fewer passes, 200 of 10,000, and no weight decay, which is tiny there.

A figure is a fault if it is above the published one by more than its standard error, where 0.005 for the rounding of
the published figure is added.
"""

import numpy as np
from real_data import data_folder, table
from sklearn.preprocessing import StandardScaler

from fastmlp import MLP, Layer

FIGURE = "{fits} fits; RMSE (published +- standard error): {figures}; {within} of {tables} within one standard error"
# name: (RMSE, standard error, share dropped)
PUBLISHED = {
    "boston": (2.97, 0.19, 0.05), "concrete": (5.23, 0.12, 0.01), "energy": (1.66, 0.04, 0.05),
    "kin8nm": (0.10, 0.00, 0.05), "naval-propulsion-plant": (0.01, 0.00, 0.05), "power-plant": (4.02, 0.04, 0.005),
    "protein-tertiary-structure": (4.36, 0.01, 0.005), "wine-quality-red": (0.62, 0.01, 0.05),
    "yacht": (1.11, 0.09, 0.01),
}  # fmt: skip
SIZES = ("boston",), tuple(PUBLISHED)
LARGE = {"protein-tertiary-structure"}  # 100 units, half the epochs, 5 splits
ROUNDING, PASSES = 0.005, 200


def run(size, seed, folder):
    """Fit each of the tables that are there, on all splits."""
    data = data_folder(short=len(size) == 1)
    there = [name for name in size if (data / "tabular" / f"uci_{name}.parquet").exists()]
    if not there:
        raise RuntimeError(f"there is no tabular/uci_*.parquet in {data}")
    counts = {"tables": len(there), "fits": 0, "within": 0, "figures": "", "faults": []}
    figures = []
    for name in there:
        published, error, rate = PUBLISHED[name]
        errors = rmse_of_splits(*table(data, f"uci_{name}"), name in LARGE, rate, seed)
        mean = float(np.mean(errors))
        figures.append(f"{name} {mean:.3f} ({published:.2f} +- {error:.2f})")
        counts["fits"] += len(errors)
        counts["within"] += abs(mean - published) <= error + ROUNDING
        if not mean <= published + error + ROUNDING:
            counts["faults"].append(f"{figures[-1]}, standard error {np.std(errors) / len(errors) ** 0.5:.3f}")
    return counts | {"figures": ", ".join(figures), "within": int(counts["within"])}


def rmse_of_splits(X, y, large, rate, seed):
    """RMSE on each of the published splits."""
    rng, errors = np.random.RandomState(1), []
    for number in range(5 if large else 20):
        order = rng.choice(range(len(X)), len(X), replace=False)  # as the authors draw it
        train, test = np.split(order, [round(len(X) * 9.0 / 10)])
        errors.append(rmse(X, y.astype(float), train, test, large, rate, 1000 * seed + number))
    return errors


def rmse(X, y, train, test, large, rate, seed):
    """RMSE of the mean over passes, after a fit of standardised data."""
    of_X, of_y = StandardScaler().fit(X[train]), StandardScaler().fit(y[train, None])
    layers = [Layer(100 if large else 50, "relu", rate), Layer(1, "identity")]
    model = MLP(layers, "mean_squared_error", input_dropout=rate, random_state=seed)
    model.fit(of_X.transform(X[train]), of_y.transform(y[train, None]), 200 if large else 400, 128)
    mean, _ = model.predict(of_X.transform(X[test]), mc_samples=PASSES)
    return float(np.sqrt(np.mean((of_y.inverse_transform(mean)[:, 0] - y[test]) ** 2)))
