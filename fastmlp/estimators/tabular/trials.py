"""Short trials of the recipe's variants on held-out rows, from which each member gets its variant."""

import numpy as np

from fastmlp.model.samples import checked_samples

from .members import Plan, train_for_trial
from .recipe import new_member, variants_for

ROWS = 4000  # of a trial, at most
EPOCHS = 50  # more if there are fewer rows
UNITS = 64  # of a hidden layer, at most
FEWEST_EPOCHS = 10  # fewer do not tell variants apart
SHARE = 0.25  # of a time limit
HELD_OUT = 0.2
FEWEST_ROWS = 200


def variants_of_members(n_members, task, rows, limit, n_epochs, options, random_state):
    """The Variant of each member.

    Members are added in turn, each of the variant that makes the loss of the mean outputs on held-out rows least:
    greedy ensemble selection with replacement (Caruana et al. 2004). Variants that diverge are not chosen. Members have
    the first variant if there are too few rows or epochs.

    Parameters
    ----------
    n_members : int
    task : Task
    rows : Rows
    limit : NoLimit or TimeLimit
    n_epochs : int
        Of a member, and at most of a trial.
    options : Options
        Of the members.
    random_state : RandomState
    """
    variants, n_rows = variants_for(task.encoded), min(ROWS, task.n_rows)
    n_epochs = min(n_epochs, EPOCHS * ROWS // n_rows)
    n_epochs = limit.epochs(n_epochs, variants, (1 - HELD_OUT) * n_rows, SHARE)
    if n_rows < FEWEST_ROWS or n_epochs < FEWEST_EPOCHS:
        return [variants[0]] * n_members
    held_out, others = np.split(random_state.permutation(task.n_rows)[:n_rows], [int(HELD_OUT * n_rows)])
    weight = None if rows.weight is None else rows.weight[held_out]
    if weight is not None and not (weight.any() and rows.weight[others].any()):
        return [variants[0]] * n_members
    narrow = task._replace(hidden=[min(units, UNITS) for units in task.hidden])
    members = [new_member(narrow, variant, n_epochs, 0) for variant in variants]
    plan = Plan(n_epochs, variants, [others] * len(members))
    train_for_trial(members, rows, plan, options._replace(validation=None))
    samples = checked_samples(members[0], rows.matrix[held_out], rows.targets[held_out], weight)
    outputs, predictor = [member.predict(samples.X) for member in members], members[0]._predictor()
    penalties = np.where([member.diverged for member in members], np.inf, 0.0)
    found, total = [], 0
    for n in range(1, n_members + 1):
        losses = [predictor.loss(samples, (total + of_variant) / n) for of_variant in outputs]
        found.append(int(np.argmin(losses + penalties)))
        total = total + outputs[found[-1]]
    return [variants[number] for number in found]
