"""Classify ten vowels by their first two formants (Peterson & Barney 1952), tested on unseen speakers."""

import pandas as pd
from matplotlib.figure import Figure
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier
from fastmlp.inspection.plots import plot_decision_boundary

IPA = {"i": "i", "I": "ɪ", "E": "ɛ", "{": "æ", "V": "ʌ", "A": "ɑ", "O": "ɔ", "U": "ʊ", "u": "u", "3'": "ɝ"}  # noqa: RUF001


def main(out, quick=False, data=None):
    """Accuracy on the held-out quarter of the speakers."""
    table = pd.read_csv(data / "pb52.csv", keep_default_na=False)
    X, vowels = table[["f1", "f2"]].to_numpy(float), table["vowel"].map(IPA).to_numpy()
    split = GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=0)  # no speaker is in both sets
    train, test = next(split.split(X, vowels, groups=table["speaker"]))
    network = MLPClassifier(
        (50,), "tanh", learning_rate_init=0.01, tol=1e-3 if quick else 1e-4, n_iter_no_change=20, max_iter=2000,
        random_state=0,
    )  # fmt: skip
    with_scale = make_pipeline(StandardScaler(), network).fit(X[train], vowels[train])
    accuracy = with_scale.score(X[test], vowels[test])

    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    plot_decision_boundary(with_scale, X[test], vowels[test], axes=axes)
    axes.set(title=f"{accuracy:.1%} of the vowels of {table.loc[test, 'speaker'].nunique()} held-out speakers")
    axes.set(xlabel="first formant, Hz", ylabel="second formant, Hz")
    figure.savefig(out / "vowels.png", dpi=90)
    return {
        "training samples": len(train),
        "test samples": len(test),
        "training accuracy": round(with_scale.score(X[train], vowels[train]), 3),
        "held-out accuracy": round(accuracy, 3),
    }


if __name__ == "__main__":
    from command_line import run

    run(main, data="the Peterson & Barney vowels (pb52.csv)")
