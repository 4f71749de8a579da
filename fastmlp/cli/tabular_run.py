"""Training of a table estimator by the command train: a TableEstimator."""

import time
from collections import Counter

import numpy as np
from sklearn.model_selection import train_test_split

from fastmlp.estimators.tabular.classifier import TabularMLPClassifier
from fastmlp.estimators.tabular.recipe import batch_size_for
from fastmlp.estimators.tabular.regressor import TabularMLPRegressor
from fastmlp.training.durations import seconds_since

from .common import TEST_SHARE
from .frames import TableError, pd
from .table_estimator import Reading, TableEstimator
from .tables import check_kinds, check_present
from .targets import classes_of
from .training_parts import OUT_OF_FOLD, PURPOSES, Trained, check_balanced, eval_rows, rows_of, speeds, without_missing

MOST_LINES = 20  # of the table of columns
COMPARED = 1024  # rows to measure the speed with: the NumPy reference is slow
LONGEST = 30  # name of a column in it


def prepared(source, options, say):
    """(untrained TableEstimator, {part: frame}) for a Table."""
    source = with_targets(source, options)
    table = new_model(source, options)
    parts = split(source.frame, table, options)
    say(rows_of(parts))
    return table, parts


def trained(table, parts, seconds, options, say):
    """The results of a fit, Trained."""
    say(columns_text(table.estimator.encoder_.describe()))
    members, target = table.estimator.members_, table.target
    say(f"backend {members[0].backend}: {members[0].backend_reason_}")
    outputs = {name: table.outputs(rows) for name, rows in parts.items() if name != "train"}
    if hasattr(table.estimator, "oof_prediction_"):  # not if Ctrl-C left a fold without a member
        parts[OUT_OF_FOLD], outputs[OUT_OF_FOLD] = parts["train"], table.estimator.oof_prediction_
    found = {
        "model": options.out, "rows": {name: len(rows) for name, rows in parts.items()}, "target": target,
        "task": "regression" if table.classes is None else "classification",
        "columns": table.estimator.encoder_.describe(), "inputs": len(table.estimator.encoder_.encoded),
        "backend": members[0].backend, "members": len(members), "epochs": max(member.epoch for member in members),
        "best_epochs": [member.best_epoch for member in members], "seconds": seconds,
        "interrupted": any(member.interrupted for member in members),
        "scores": {name: table.scores(parts[name], output) for name, output in outputs.items()},
        "samples_per_second": compared(table, parts["train"]) if options.compare else None,
    }  # fmt: skip
    part = next(name for name in PURPOSES if name in parts)
    given = outputs[part] if part in outputs else table.outputs(parts[part])
    predicted = given if table.classes is None else table.classes[given.argmax(axis=1)]
    return Trained(table.estimator, members, found, part, parts[part], lambda: predicted)


def with_targets(source, options):
    """The rows of a Table that have a target."""
    check_present(source.frame, [source.target])
    check_kinds(source.frame, [source.target])
    if source.frame.shape[1] == 1:
        raise TableError("the table has no columns other than the target.")
    frame = without_missing(source.frame, options.source, [source.target])
    values = frame[source.target].infer_objects()
    if values.dtype.kind == "f" and len(frame) < len(source.frame) and (values.to_numpy(float) % 1 == 0).all():
        values = values.astype(np.int64)  # integers that were read as floats, because some were missing
    return source._replace(frame=frame.assign(**{source.target: values}))


def new_model(source, options):
    """An untrained TableEstimator."""
    classes = classes_of(source.frame[source.target], options.task)
    check_balanced(options, classes)
    given = {
        "hidden_layer_sizes": options.hidden, "epochs": options.epochs, "n_members": options.members,
        "n_folds": options.folds, "time_limit": options.time_limit, "random_state": options.seed,
        "matmul_precision": options.matmul_precision,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if classes is None:
        estimator = TabularMLPRegressor(**given)
    else:
        estimator = TabularMLPClassifier(class_weight="balanced" if options.balanced else None, **given)
    return TableEstimator(estimator, source.target, Reading.of(source, options.text, options.missing))


def split(frame, table, options):
    """{part: frame} with 'train', and optionally 'eval' (given) and 'test'. Folds need no test rows."""
    parts, test_size = {}, TEST_SHARE if options.folds is None else 0
    if options.eval_source is not None:
        rows = eval_rows(table, list(frame.columns), options)
        parts["eval"], test_size = without_missing(rows, options.eval_source, [table.target]), 0
    if options.test_size is not None:
        test_size = options.test_size
    if test_size:
        frame, test = train_test_split(frame, test_size=test_size, random_state=options.seed)
        if isinstance(table.estimator, TabularMLPClassifier):  # classes that all landed in the test rows are moved
            known = test[table.target].isin(frame[table.target])
            frame, test = pd.concat([frame, test[~known]]), test[known]
        parts |= {"test": test} if len(test) else {}
    return {"train": frame} | parts


def fit(table, parts, options, together):
    """Train the estimator and save it. Returns the seconds of training.

    ``together`` says whether other processes take part (distributed/fits.py).
    """
    table.estimator.set_params(communicator=together.parallel, progress=not options.quiet)
    watched = {}
    if "eval" in parts:
        watched = {"eval_X": table.features(parts["eval"]), "eval_y": parts["eval"][table.target]}
    start = time.perf_counter()
    table.estimator.fit(table.features(parts["train"]), parts["train"][table.target], **watched)
    seconds = seconds_since(start)
    together.decide(lambda: table.save(options.out))  # before results are printed: a pipe may be closed
    return seconds


def columns_text(columns):
    """How each column is encoded, as a table."""
    shown = columns if len(columns) <= MOST_LINES else columns[: MOST_LINES - 1]
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in (each["name"] for each in shown)]
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {each['description']}" for name, each in zip(names, shown)]
    rest = Counter(each["kind"] for each in columns[len(shown) :])
    if rest:
        counts = ", ".join(f"{number} {kind}" for kind, number in rest.items())
        lines.append(f"  and {rest.total()} more columns: {counts}")
    return "\n".join(lines)


def compared(table, rows):
    """Samples per second in training one member, as ``speeds``."""
    estimator, rows = table.estimator, rows[:COMPARED]
    X, y = estimator.encoder_.transform(table.features(rows)), estimator._encode_targets(rows[table.target])
    return speeds(estimator.members_[0], X, y, batch_size_for(len(X)))
