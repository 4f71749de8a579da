"""Random calls of a backend over odd shapes: python -P odd_shapes.py BACKEND --seed 0 --cases 0 100 --places last.

Prints each case before it runs, what differs from the reference, and "end". A program of its own, because a wrong
access to memory ends the process. ``--wrong`` makes one on purpose.
"""

import argparse
import os
from threading import Thread

import numpy as np
from guarded_arrays import PLACES, guarded, without_alignment
from odd_fits import OddFit
from random_fits import KINKS

from fastmlp.backends import registry
from fastmlp.kernels.cpu import matrix_unit, thread_pool
from fastmlp.kernels.engine import online_plan, plan, requirements
from fastmlp.kernels.inputs import EMBEDDING, ONE_HOT, PERIODIC, PIECEWISE_LINEAR, InputColumn, Inputs
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.kernels.spec import (
    NO_PENALTY,
    Batches,
    Network,
    Noise,
    Part,
    Penalty,
    Repeat,
    Skip,
    SparseRows,
    layer_views,
    new_slots,
    optimizer,
)
from problems import DTYPES, HIDDEN, OUTPUTS, Problem, targets

WIDTHS = 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 31, 32, 33, 47, 63, 64, 65, 100, 129, 257  # around those of tiles
KINDS = "plain", "features", "inputs", "precision", "sparse", "fit"  # most are compiled by Numba anew
# What Numba need not compile for every case.
FEW = {
    "hidden": ("tanh", "prelu"), "outputs": (("squared_error", "identity"), ("categorical_cross_entropy", "softmax")),
    "optimizers": ("sgd", "adam"),
}  # fmt: skip
ALL = {"hidden": HIDDEN, "outputs": OUTPUTS, "optimizers": tuple(OPTIMIZERS)}
COLUMNS = (
    InputColumn(), InputColumn(ONE_HOT, 3), InputColumn(EMBEDDING, 5, 2, rate=2.0), InputColumn(EMBEDDING, 9, 19),
    InputColumn(PERIODIC, 16, 3, rate=0.5), InputColumn(PERIODIC, 3, 5),
    InputColumn(PIECEWISE_LINEAR, 4, edges=(-1.0, -0.25, 0.0, 0.5, 2.0)),
)  # fmt: skip
TOLERANCE = {"float64": 1e-8, "float32": 3e-3, "high": 1e-2, "medium": 0.2}  # wrong memory is NaN or far away
STEPPED = "step", "sign", "noisy_relu"  # a rounding error in z may change much


class OddCase:
    """A network with data and with what is asked for, all from a seed and a number."""

    def __init__(self, seed, number, kinds, dtypes, rules):
        rng = self.rng = np.random.RandomState([seed, number])
        self.kind = kinds[number % len(kinds)]
        self.dtype = "float32" if self.kind == "precision" else str(rng.choice(dtypes))
        self.rows = int(rng.choice([1, 2, 3, 7, 8, 9, 16, 17, 31, 33, 50, 65, 130]))
        self.batch, self.threads = int(rng.randint(1, self.rows + 1)), int(rng.randint(1, 4))
        self.rule = str(rng.choice(rules["optimizers"]))
        self.network = self._network(rules)
        self.penalty, self.noise, options = self._options()
        known = OPTIMIZERS[self.rule].options
        options |= {"epsilon": 0.1} if "epsilon" in known else {}  # else a sign of a gradient near 0 would decide
        self.optimizer = optimizer(self.rule, 0.003, **options)
        self._draw_data()

    def _network(self, rules):
        rng, loss_and_output = self.rng, rules["outputs"][self.rng.randint(len(rules["outputs"]))]
        sizes = [int(size) for size in rng.choice(WIDTHS, rng.randint(2, 6))]
        stage = None
        if self.kind == "inputs":
            chosen = tuple(COLUMNS[i] for i in rng.randint(len(COLUMNS), size=rng.randint(1, 6)))
            stage = Inputs(chosen, 1.5 if rng.randint(2) else None)
            sizes[0] = stage.width
        smooth = [name for name in rules["hidden"] if name not in STEPPED]
        if self.kind in ("plain", "precision"):
            smooth = [name for name in smooth if ACTIVATIONS[name].trainable is None]
        if self.kind == "precision":  # where a rounding error may decide on which side of a kink a sample is
            smooth = [name for name in smooth if name not in KINKS]
        hidden = [str(rng.choice(smooth)) for _ in sizes[1:-1]]
        skips = self._skips(sizes) if self.kind in ("features", "precision") else ()
        loss, output = loss_and_output
        if output in STEPPED:
            loss, output = "squared_error", "identity"
        options = tuple(value or 0.2 for _, value in LOSSES[loss].options)
        precision = rng.choice(["high", "medium"]) if self.kind == "precision" else "highest"
        return Network(tuple(sizes), (*hidden, output), loss, options, skips, str(precision), stage)

    def _skips(self, sizes):
        rng, found = self.rng, [None]
        for layer in range(1, len(sizes) - 1):
            source, weighted = int(rng.randint(layer)), bool(rng.randint(2))
            fits = weighted or sizes[source] == sizes[layer + 1]
            found.append(Skip(source, weighted) if fits and rng.randint(2) else None)
        return tuple(found) if any(found) else ()

    def _options(self):
        """(penalty, noise, options of the optimizer)"""
        rng = self.rng
        if self.kind in ("plain", "inputs") or rng.randint(2):
            return NO_PENALTY._replace(alpha=0.01 * rng.randint(2)), None, {}
        penalty = Penalty(*rng.choice([0.0, 0.01], 4).tolist())
        of_inputs = [0.0, 0.0] if self.kind == "sparse" else rng.choice([0.0, 0.3], 2).tolist()
        dropout = rng.choice([0.0, 0.4], len(self.network.sizes) - 2).tolist()
        bounds = {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.1, "max_norm": 0.9}
        chosen = {name: value for name, value in bounds.items() if rng.randint(2)}
        if rng.randint(2):
            chosen["layer_rates"] = tuple(rng.uniform(0.5, 2, len(self.network.activations)))
        return penalty, Noise(int(rng.randint(100)), *of_inputs, tuple(dropout)), chosen

    def _draw_data(self):
        rng, network, rows = self.rng, self.network, self.rows
        self.parameters = rng.uniform(-0.5, 0.5, network.n_parameters)
        for W in layer_views(network, self.parameters)[0]:
            W *= 2 * len(W) ** -0.5  # so that no activation saturates
        self.X = rng.standard_normal((rows, network.n_columns))
        if self.kind == "sparse":
            self.X *= rng.uniform(size=self.X.shape) < rng.choice([0, 0.05, 0.5])
        if network.inputs is not None:
            for number, column in enumerate(network.inputs.columns):
                if column.kind in (ONE_HOT, EMBEDDING):  # codes, also wrong ones
                    codes = rng.randint(-1, column.n + 1, rows)
                    self.X[:, number] = np.where(rng.uniform(size=rows) < 0.1, rng.choice([np.nan, 1e30, 0.5]), codes)
        self.y = targets(network.loss, rng, rows, network.sizes[-1])
        of_targets = LOSSES[network.loss].link != "softmax" and rng.randint(2)
        shape = self.y.shape if of_targets else rows
        self.weight = rng.uniform(0.2, 2, shape) if rng.randint(3) else None
        self.order = rng.permutation(rows)

    def __str__(self):
        names = "kind", "dtype", "rows", "batch", "threads", "network", "optimizer", "penalty", "noise"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def tolerance(self):
        return TOLERANCE[self.network.matmul_precision if self.kind == "precision" else self.dtype]

    def results(self, backend):
        """Arrays by name. The reference computes in float64 of dense X, but in float32 for products of bfloat16."""
        kernels, is_reference = registry.choose(backend).kernels, backend == "numpy"
        dtype = "float64" if is_reference and self.kind != "precision" else self.dtype
        return Calls(kernels, self, dtype, self.kind == "sparse" and not is_reference).results


class Calls:
    """Every function of the contract on the data of a case, in a dtype; ``results`` are arrays by name."""

    def __init__(self, kernels, case, dtype, sparse):
        self.kernels, self.case, self.dtype, self.sparse = kernels, case, dtype, sparse
        self.network, self.results = case.network, {}
        self.parameters, self.X, self.y = (array.astype(dtype) for array in (case.parameters, case.X, case.y))
        self.weight = None if case.weight is None else case.weight.astype(dtype)
        self.order, self.rows = case.order.copy(), self._rows(self.X)
        self.predictions()
        self.gradients()
        self.training()
        if case.kind != "sparse":
            self.passes()
            self.epochs()
        if case.kind not in ("sparse", "inputs"):  # neither has a Jacobian
            self.jacobian()
        if case.kind == "plain":
            self.primitives()

    def _rows(self, X):
        """X as the backend shall read it."""
        if not self.sparse:
            return X.copy()
        rows, columns = np.nonzero(X)
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(X)))])
        return SparseRows(X[rows, columns], columns.astype("i4"), starts.astype("i8"), X.shape[1])

    def keep(self, name, *arrays):
        self.results |= {f"{name} {i}": np.array(array, "f8") for i, array in enumerate(arrays)}

    def predictions(self):
        kernels, network, case = self.kernels, self.network, self.case
        for n in {1, case.batch, case.rows}:
            self.keep(f"forward of {n}", kernels.forward(network, self.parameters, self._rows(self.X[:n])))
        self.keep("noisy forward", kernels.forward(network, self.parameters, self.rows, noise=case.noise))
        if case.kind != "sparse":
            predict = kernels.row_predictor(network, self.parameters)
            self.keep("row", predict(self.X[case.rows // 2].copy()))

    def gradients(self):
        case, gradient = self.case, np.empty_like(self.parameters)
        given = self.network, self.parameters
        found = self.kernels.loss_and_gradient(*given, self.rows, self.y, self.weight, case.penalty, case.noise)
        self.keep("gradient", *found)
        of_part = self.kernels.prepare_part(*given, gradient, case.batch, case.penalty, case.noise)
        for first in range(0, case.rows, case.batch):
            batch = Batches(self.rows, self.y, self.order[first : first + case.batch], case.batch, self.weight)
            self.keep(f"part {first}", *of_part(batch, 3, Part(first, float(case.rows))), gradient)

    def _trained(self):
        case, parameters = self.case, self.parameters.copy()
        slots = new_slots(case.rule, parameters.size, self.dtype)
        given = self.network, case.optimizer, parameters, slots
        return parameters, slots, self.kernels.prepare_training(*given, case.batch, case.penalty, case.noise)

    def training(self):
        """All rows, then a few with rates of their own."""
        case, (parameters, slots, train) = self.case, self._trained()
        rates, few = np.full(-(-case.rows // case.batch), 0.002), self.order[: (case.rows + 1) // 2].copy()
        with np.errstate(all="ignore"):
            sums = train(Batches(self.rows, self.y, self.order, case.batch, self.weight), 0)
            more = train(Batches(self.rows, self.y, few, case.batch, self.weight), sums[2], rates)
        self.keep("training", sums, more, parameters, slots)
        if case.kind != "sparse":
            step = self.kernels.prepare_update(self.network, case.optimizer, parameters, slots)
            step(self.parameters.copy(), 5)
            step(self.parameters.copy(), 6, 0.001)
            self.keep("update", parameters, slots)

    def epochs(self):
        """Two epochs in one call, where a backend has it."""
        case, (parameters, slots, train) = self.case, self._trained()
        batches = Batches(self.X, self.y, self.order.copy(), case.batch, self.weight)
        if train.repeat is not None:
            losses, n_steps, start = train.repeat(batches, 0, Repeat(2, (0, 0), False, 1e30))
        else:
            first = train(batches, 0)
            start = parameters.copy()
            second = train(batches, first[2])
            losses, n_steps = [first[:2], second[:2]], first[2] + second[2]
        self.keep("epochs", losses, n_steps, start, parameters, slots)

    def passes(self):
        case, X = self.case, self.X[: self.case.batch].copy()
        passes = self.kernels.prepare_gradient(self.network, np.dtype(self.dtype), case.batch, case.noise)
        for n in {case.batch, 1}:
            given, of_inputs, gradient = self.y[:n].copy(), np.empty_like(X[:n]), np.empty_like(self.parameters)
            outputs = passes.forward(self.parameters, X[:n].copy(), 3)
            passes.backward(given, gradient, of_inputs)
            self.keep(f"passes {n}", outputs, gradient, of_inputs)
            passes.backward(given, gradient)
            self.keep(f"second backward {n}", gradient)

    def jacobian(self):
        X, n_outputs = self.X[: self.case.batch], self.network.sizes[-1]
        n = min(len(X), 10**6 // (n_outputs * self.network.n_parameters))
        if n:
            out = np.empty((n, n_outputs, self.network.n_parameters), self.dtype)
            self.keep("jacobian", self.kernels.output_jacobian(self.network, self.parameters, X[:n].copy(), out), out)

    def primitives(self):
        kernels, network, X = self.kernels, self.network, self.X
        (W, *_), (b, *_) = layer_views(network, self.parameters)
        delta = np.ones((len(X), W.shape[1]), self.dtype)
        a = kernels.dense_forward("tanh", X, W.copy(), b.copy())
        self.keep("primitives", a, kernels.activation_derivative("tanh", a, delta),
                  kernels.delta_backpropagation(delta, W.copy()), *kernels.weight_gradient(X, delta))  # fmt: skip
        outputs = kernels.forward(network, self.parameters, X)
        self.keep("loss", kernels.loss_of_outputs(network, outputs, self.y, self.weight))
        parameters, slots = self.parameters.copy(), new_slots(self.case.rule, self.parameters.size, self.dtype)
        kernels.update(self.case.optimizer, parameters, self.parameters, slots, 1)
        self.keep("plain update", parameters, slots)


def differences(found, expected, tolerance):
    """Texts about arrays that differ."""
    for name, wanted in expected.items():
        norm = max(np.linalg.norm(wanted), 1e-3)
        error = np.linalg.norm(found[name] - wanted) / norm if wanted.size else 0.0
        if not error < tolerance:
            yield f"{name} differs by {error:.2g}"


def row_beyond(kernels, problem, train):
    """A sample that is not there; kernels trust their arguments."""
    X, y, order = problem.X.copy(), problem.y.copy(), np.array([len(problem.X)])
    train(Batches(X, y, order, 1), 0)


def no_rows(kernels, problem, train):
    """A number of rows, 0, by which the engine divides."""
    kernels.loss_of_outputs(problem.network, problem.y[:0], problem.y[:0])


def race(kernels, problem, train):
    """Two threads train the same parameters, which only one may do at a time."""
    batches = problem.batches(1, order=np.zeros(10**5, np.int64))
    threads = [Thread(target=train, args=(batches, 0)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


WRONG = {function.__name__: function for function in (row_beyond, no_rows, race)}


def commit(wrong, kernels):
    """Do what is wrong, to see that the check finds it."""
    problem = Problem(dtype="float32")
    slots = new_slots("sgd", problem.parameters.size, "float32")
    train = kernels.prepare_training(problem.network, optimizer("sgd"), problem.parameters, slots, 1)
    WRONG[wrong](kernels, problem, train)


def forget():
    """Empty what is kept between calls, because its buffers were placed by an earlier case."""
    for kept in (plan._recent, online_plan.online_plan, requirements.constants, requirements._extras):
        kept.cache_clear()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("backend")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, nargs=2, default=(0, 10))
    parser.add_argument("--places", nargs="+", choices=PLACES, default=("heap",))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--small", action="store_true", help="treat small matrices as large ones")
    parser.add_argument("--wrong", choices=WRONG)
    options = parser.parse_args()
    # Small work is shared out among threads and multiplied in bfloat16, as if it paid.
    plan.CALL_FLOPS, plan.THREAD_FLOPS, plan.TILE_FLOPS, thread_pool.cores = 0, 1, 0, lambda: 3
    matrix_unit._is_faster = lambda engine: True
    if options.small:
        plan.CACHE_BYTES, plan.PACK_ROWS = 2**13, 1
    rules = FEW if options.backend == "numba" else ALL
    registry.choose(options.backend)  # imports what is changed now
    without_alignment()
    if options.wrong:
        with guarded(options.places[-1]):
            commit(options.wrong, registry.choose(options.backend).kernels)
    for number in range(*options.cases):
        if options.kinds[number % len(options.kinds)] == "fit":
            case = OddFit(options.seed, number, options.dtypes)
        else:
            case = OddCase(options.seed, number, options.kinds, options.dtypes, rules)
        print(number, case, flush=True)
        expected = case.results("numpy")
        for place in options.places:
            forget()
            with thread_pool.limited_to(case.threads), guarded(place):
                found = case.results(options.backend)
            for text in differences(found, expected, case.tolerance()):
                print("differs:", text, flush=True)
    print("end", flush=True)
    os._exit(0)  # arrays must not be freed by functions that are gone


if __name__ == "__main__":
    main()
