"""Test scores on real data over 10 seeds, beside scikit-learn and, where it is installed, PyTorch.

A seed draws the split, which all share, and the initial weights; inputs are standardised. Networks, learning rate,
penalty and epochs are the same (rivals.py). A fault is a data set and a rival for which Wilcoxon's signed-rank test
says that fastmlp's scores are lower, with a level of 0.05 divided by the number of tests (Bonferroni).
"""

import numpy as np
from real_data import bundled, from_folder
from rivals import OURS, RIVALS
from scipy.stats import wilcoxon
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

SIZES = (False, 10), (True, 15)  # whether with the data sets of FASTMLP_DATA; epochs of a fit
FIGURE = (
    "{sets} data sets, {fits} fits; largest lead {best}, largest deficit {worst}; smallest p {p:.2g} of {tests} tests "
    "beside {rivals}"
)
SEEDS, LEVEL, IMAGES = 10, 0.05, 12_000


def run(size, seed, folder):
    """Compare scores on every data set."""
    all_sets, epochs = size
    data = bundled() | (from_folder(IMAGES) if all_sets else {})
    counts = {"sets": len(data), "fits": 0, "tests": len(data) * len(RIVALS), "faults": []}
    leads, smallest = {}, 1.0
    for name, (X, y) in data.items():
        scores = {who: [] for who in ("fastmlp", *RIVALS)}
        for number in range(SEEDS):
            for who, score in scores_of(X, y, epochs, SEEDS * seed + number):
                scores[who].append(score)
                counts["fits"] += 1
        for rival in RIVALS:
            lead = np.subtract(scores["fastmlp"], scores[rival])
            p = wilcoxon(lead, alternative="less", zero_method="zsplit").pvalue if lead.any() else 1.0
            leads[f"{name} beside {rival}"], smallest = float(lead.mean()), min(smallest, float(p))
            if p < LEVEL / counts["tests"]:
                counts["faults"].append(f"{name}: {lead.mean():+.4f} beside {rival}, p = {p:.2g}")
    best, worst = max(leads, key=leads.get), min(leads, key=leads.get)
    rivals = " and ".join(RIVALS)
    return counts | {
        "best": f"{leads[best]:+.4f} ({best})", "worst": f"{leads[worst]:+.4f} ({worst})", "p": smallest,
        "rivals": rivals, "leads": leads,
    }  # fmt: skip


def scores_of(X, y, epochs, seed):
    """(who, accuracy or R^2 on a fourth of the samples) of each."""
    is_classes = y.dtype.kind in "iUO" and len(np.unique(y)) < 50
    train_X, test_X, train_y, test_y = train_test_split(X, y, random_state=seed, stratify=y if is_classes else None)
    scaler = StandardScaler().fit(train_X)
    train_X, test_X = scaler.transform(train_X), scaler.transform(test_X)
    if not is_classes:
        mean, std = train_y.mean(), train_y.std()
        train_y, test_y = (train_y - mean) / std, (test_y - mean) / std
    score = accuracy_score if is_classes else r2_score
    for who, predict in {"fastmlp": OURS, **RIVALS}.items():
        yield who, score(test_y, predict(train_X, train_y, test_X, is_classes, epochs, seed))
