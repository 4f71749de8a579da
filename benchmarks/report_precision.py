"""The section of the report about the precision of matrix products."""

from math import nan

import pandas as pd
from markdown_table import markdown
from peers import OTHERS, ROUNDED_OTHERS
from works import NETWORKS, WORKS

from fastmlp.kernels.spec import PRECISIONS

TRAINING = """Samples per second of whole epochs, in turn, with Adam. The peers are torch, torch.compile, JAX and
scikit-learn in float32, torch with autocast to bfloat16 (eager and compiled) and torch with
`set_float32_matmul_precision("medium")`."""
PREDICTION = "Samples per second of predictions for 20,000 samples, in turn."
SCORES = """Test scores over five seeds: mean ± standard deviation, and the differences of the means in units of the
standard deviation of highest. Between independent means of five seeds such a difference has a standard deviation of
0.63. R^2 for california, accuracy for the others. Fashion-MNIST: 784-128-10, 5 epochs. The others: the estimators for
tables, without their trials of variants, on 4,000 rows of one split."""


def precision_table(runs):
    """Samples per second in each precision and of the fastest peers; fastmlp against them."""
    rates = pd.DataFrame({parameters["name"]: info["rates"] for parameters, info, _ in runs}).T
    exact = [name for name in OTHERS if name in rates]
    others = rates[[*exact, *(name for name in ROUNDED_OTHERS if name in rates)]]
    works = [WORKS[name] for name in rates.index]
    table = rates[list(PRECISIONS)].copy()
    table["best float32 peer"], table["best peer"] = rates[exact].max(axis=1), others.max(axis=1)
    table["which"] = others.idxmax(axis=1)
    table["high / best float32 peer"] = table["high"] / table["best float32 peer"]
    table["goal, high"] = [work.high_over_peers for work in works]
    table["medium / best peer"] = table["medium"] / table["best peer"]
    table["goal, medium"] = [work.medium_over_peers for work in works]
    table.index.name = "work"
    return table


def bulk_table(runs):
    """Samples per second of predictions, and fastmlp against ONNX Runtime."""
    table = pd.DataFrame({parameters["name"]: info["rates"] for parameters, info, _ in runs}).T
    works = [NETWORKS[name] for name in table.index]
    peer = table["ONNX Runtime"]
    for precision, goals in (("highest", "over_peers"), ("medium", "medium_over_peers")):
        table[f"{precision} / ONNX Runtime"] = table[precision] / peer
        table[f"goal, {precision}"] = [getattr(work, goals) or nan for work in works]
    table.index.name = "network"
    return table


def scores_table(runs):
    """Mean and standard deviation of the scores, and how many of those of highest a mean is from that of highest."""
    rows = {}
    for parameters, info, _ in runs:
        scores = pd.DataFrame(info["scores"])
        means, spreads = scores.mean(), scores.std()
        differences = (means - means["highest"]).drop("highest") / spreads["highest"]
        rows[parameters["name"]] = {name: f"{means[name]:.4f} ± {spreads[name]:.4f}" for name in scores} | {
            f"{name} - highest": differences[name] for name in differences.index
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "data"
    return table


def rates_and_ratios(table):
    """Formats of columns: ratios and their goals with two digits after the point."""
    return {name: ".2f" if " / " in name or name.startswith("goal") else ",.0f" for name in table}


def precision_text(runs):
    """The parts of the section about the precision of matrix products: those that were measured."""
    names = "bench_precision_training", "bench_precision_prediction", "bench_precision_scores"
    units = dict.fromkeys(info["unit"] for name in names for _, info, _ in runs.get(name, []))
    if not units:
        return []
    on_machine = f"On this machine fastmlp computes {' and '.join(units)}; the goals are for processors with AMX."
    text = [f"## Precision\n\nSpeed and accuracy by `matmul_precision`. {on_machine}"]
    if names[0] in runs:
        table = precision_table(runs[names[0]])
        text += [TRAINING, markdown(table, rates_and_ratios(table) | {"which": ""})]
    if names[1] in runs:
        table = bulk_table(runs[names[1]])
        text += [PREDICTION, markdown(table, rates_and_ratios(table))]
    if names[2] in runs:
        table = scores_table(runs[names[2]])
        text += [SCORES, markdown(table, {name: "+.2f" if " - " in name else "" for name in table})]
    return text
