"""fit_stream: training on data that arrives in blocks."""

import contextlib
import signal
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, make_optimizer, make_schedule
from fastmlp.training.problem import Samples
from fastmlp.training.streams import Stream
from fastmlp.training.windows import Windows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
digits, labels = load_digits(return_X_y=True)
X, y = digits[:500] / 16, labels[:500]
CUTS = [7, 150, 151, 420]  # some batches span two blocks


def blocks_of(*arrays, cuts=CUTS):
    return list(zip(*(np.split(array, cuts) for array in arrays)))


def mlp(optimizer="adam", **options):
    layers = [Layer(12, "tanh"), Layer(10, "softmax")]
    return MLP(layers, "categorical_cross_entropy", optimizer, random_state=0, **options)


class Blocks:
    """A sequence that is not a list, and records the indices of its calls."""

    def __init__(self, blocks):
        self.blocks, self.asked = blocks, []

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, number):
        self.asked.append(number)
        return self.blocks[number]


@pytest.mark.parametrize("shuffle_blocks", [1, 2, 9])
@pytest.mark.parametrize("cuts", [[], CUTS, list(range(1, 500))])
def test_without_shuffling_the_result_is_that_of_fit(cuts, shuffle_blocks):
    weights = np.random.RandomState(0).rand(500)
    whole = mlp().fit(X, y, 2, 32, shuffle=False, sample_weight=weights)
    parts = mlp().fit_stream(blocks_of(X, y, weights, cuts=cuts), 2, 32, shuffle=False, shuffle_blocks=shuffle_blocks)
    assert_array_equal(parts.parameters, whole.parameters)
    assert parts.history == whole.history
    assert parts.epoch == 2


@pytest.mark.parametrize("class_weight", [None, {3: 5.0}])
@pytest.mark.parametrize("form", ["list", "function", "sparse"])
def test_estimators_without_shuffling(form, class_weight):
    options = {"max_iter": 3, "shuffle": False, "random_state": 0, "class_weight": class_weight}
    whole = MLPClassifier(**options).fit(X, y)
    blocks = blocks_of(X, y)
    given = {
        "list": blocks,
        "function": lambda: iter(blocks),
        "sparse": [(sparse.csr_matrix(rows), targets) for rows, targets in blocks],
    }[form]
    parts = MLPClassifier(**options).fit_stream(given, range(10))
    assert_array_equal(parts.coefs_[0], whole.coefs_[0])
    assert parts.loss_curve_ == whole.loss_curve_
    assert (parts.t_, parts.n_iter_) == (whole.t_, whole.n_iter_) == (1500, 3)
    with warnings.catch_warnings(action="error"):  # the warning about too few epochs is expected
        again = parts.fit_stream(given, range(10))
    assert_array_equal(again.coefs_[0], whole.coefs_[0])  # starts again, as fit does


def test_a_regressor_and_a_warm_start():
    options = {"max_iter": 2, "shuffle": False, "random_state": 0}
    blocks = blocks_of(X[:, 1:], X[:, 0])
    model = MLPRegressor(warm_start=True, **options).fit_stream(blocks)
    assert_array_equal(model.coefs_[0], MLPRegressor(**options).fit(X[:, 1:], X[:, 0]).coefs_[0])
    losses = model.loss_curve_[:]
    assert model.fit_stream(blocks).loss_curve_[:2] == losses
    assert model.loss_curve_[3] < losses[1]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 25), st.integers(1, 4), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_each_sample_is_used_once_in_full_batches(lengths, batch_size, shuffle_blocks, shuffle, in_any_order):
    numbers = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    blocks = [(part[:, None], part) for part in numbers]
    stream = Stream(blocks if in_any_order else lambda: iter(blocks), shuffle_blocks, None, 1)
    windows = Windows(stream, batch_size, np.random.RandomState(0) if shuffle else None, Samples)
    if sum(lengths):
        stream.first()
    *most, last = [
        (samples.X[order, 0], samples.y[order], len(samples.X)) for samples, order, _ in windows.parts(windows.begin())
    ] or [([], [], 0)]
    assert all(len(rows) % batch_size == 0 for rows, *_ in most)
    assert all(held < shuffle_blocks * 40 + batch_size for *_, held in most)
    seen = np.concatenate([rows for rows, *_ in (*most, last)])
    assert_array_equal(seen, np.concatenate([targets for _, targets, _ in (*most, last)]))
    assert_array_equal(np.sort(seen) if shuffle else seen, np.arange(sum(lengths)))


@pytest.mark.parametrize("weighted", [False, True])
def test_scaling_uses_all_blocks_if_they_can_be_read_again(weighted):
    arrays = (100 * X + 7, y, np.arange(500.0))[: 3 if weighted else 2]
    options = {"max_iter": 1, "shuffle": False, "scale": "standard", "random_state": 0}
    whole = MLPClassifier(**options).fit(*arrays)
    parts = MLPClassifier(**options).fit_stream(blocks_of(*arrays), range(10))
    assert_allclose(parts.predict_proba(arrays[0]), whole.predict_proba(arrays[0]), rtol=1e-8)
    once = MLPClassifier(**options).fit_stream(iter(blocks_of(*arrays)), range(10))
    assert not np.allclose(once.predict_proba(arrays[0]), whole.predict_proba(arrays[0]), rtol=1e-3)
    kept = MLPClassifier(warm_start=True, **options).fit_stream(blocks_of(*arrays), range(10))
    scaling = kept._net.scaling
    kept.fit_stream([(X, y)], range(10))
    assert_array_equal(kept._net.scaling, scaling)


def test_blocks_and_samples_are_shuffled():
    blocks = Blocks(blocks_of(X, y, cuts=range(50, 500, 50)))
    model = mlp().fit_stream(blocks, 3)
    orders = np.array(blocks.asked[1:]).reshape(3, 10)  # after the first block was read for validation
    assert len({tuple(order) for order in orders}) == 3
    assert_array_equal(np.sort(orders), np.tile(np.arange(10), (3, 1)))
    assert_array_equal(model.parameters, mlp().fit_stream(blocks, 3).parameters)
    assert not np.array_equal(model.parameters, mlp().fit_stream(blocks, 3, shuffle_blocks=10).parameters)
    whole = mlp().fit_stream([(X, y)], 1)
    assert not np.array_equal(whole.parameters, mlp().fit_stream([(X, y)], 1, shuffle=False).parameters)


def test_sorted_data_require_mixing():
    """With one block per class a network forgets the earlier blocks, unless several are mixed."""
    train, held = np.arange(len(labels)) % 3 > 0, np.arange(len(labels)) % 3 == 0
    blocks = [(digits[train & (labels == digit)] / 16, labels[train & (labels == digit)]) for digit in range(10)]
    accuracy = {
        shuffle_blocks: mlp(make_optimizer("adam", 0.01)).fit_stream(blocks, 15, shuffle_blocks=shuffle_blocks)
        .evaluate(digits[held] / 16, labels[held])["accuracy"]
        for shuffle_blocks in (1, 10)
    }  # fmt: skip
    assert accuracy[10] > 0.93 > accuracy[1]


def test_a_function_is_called_once_per_epoch():
    asked = []

    def blocks():
        asked.append(len(asked))
        yield from blocks_of(X, y)

    mlp().fit_stream(blocks, 3)
    assert asked == [0, 1, 2]
    assert mlp().fit_stream(blocks(), 1).epoch == 1
    with pytest.raises(ValueError, match="an iterator of blocks can be used for one epoch only, got 2 epochs"):
        mlp().fit_stream(blocks(), 2)


@pytest.mark.parametrize("shuffle_blocks", [1, 3])
def test_memory_is_bounded_by_a_few_blocks(shuffle_blocks):
    rng = np.random.RandomState(0)
    block = rng.rand(10_000, 50).astype(np.float32), rng.rand(10_000).astype(np.float32)
    model = MLP([Layer(4), Layer(1, "identity")], random_state=0).build(50)
    tracemalloc.start()
    model.fit_stream(
        lambda: ((block[0].copy(), block[1]) for _ in range(20)), batch_size=99, shuffle_blocks=shuffle_blocks
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 + 3.2 * shuffle_blocks) * block[0].nbytes


def test_schedules_require_n_samples():
    optimizer = make_optimizer("momentum", 0.1, schedule=make_schedule("cosine", epochs=2, warmup_epochs=0.5))
    whole = mlp(optimizer).fit(X, y, 2, shuffle=False)
    parts = mlp(optimizer).fit_stream(blocks_of(X, y), 2, shuffle=False, n_samples=500)
    assert_array_equal(parts.parameters, whole.parameters)
    with pytest.raises(ValueError, match="the schedule 'cosine' requires n_samples"):
        mlp(optimizer).fit_stream(blocks_of(X, y))
    plateau = make_optimizer("momentum", 0.1, schedule="reduce_on_plateau")
    assert mlp(plateau).fit_stream(blocks_of(X, y)).epoch == 1


def test_validation_data_patience_callbacks_and_progress(capsys):
    told = []
    model = mlp(make_optimizer("adam", 0.05)).fit_stream(
        blocks_of(X, y), 60, n_samples=500, validation_data=(digits[500:], labels[500:]), patience=3, progress=True,
        callbacks=lambda model, epoch, results: told.append(results),
    )  # fmt: skip
    assert len(told) == model.epoch < 60
    assert np.argmin(model.history["validation_loss"]) == model.epoch - 4
    assert "/30.0k [" in capsys.readouterr().err
    estimator = MLPClassifier(early_stopping=True, learning_rate_init=0.05, n_iter_no_change=3, random_state=0)
    estimator.fit_stream(blocks_of(X, y), range(10), eval_set=(digits[500:], labels[500:]), eval_metric="neg_log_loss")
    best = max(estimator.evals_result_["validation_0"]["neg_log_loss"])
    assert -log_loss(labels[500:], estimator.predict_proba(digits[500:])) == pytest.approx(best)
    assert estimator.n_iter_ < 200


def test_ctrl_c_between_blocks_keeps_the_weights():
    def blocks():
        for number, block in enumerate(blocks_of(X, y)):
            if number == 2:
                signal.raise_signal(signal.SIGINT)
            yield block

    model, fresh = mlp().build(64), mlp().build(64)
    with pytest.warns(UserWarning, match="interrupted by user in epoch 1"):
        model.fit_stream(blocks, 3)
    assert model.interrupted
    assert model.epoch == 0
    assert not np.array_equal(model.parameters, fresh.parameters)
    assert model.fit(X, y, 1).epoch == 1


def test_an_error_of_the_blocks():
    def blocks():
        yield X, y
        raise OSError("the disk is gone")

    model = mlp()
    with pytest.raises(OSError, match="gone"):
        model.fit_stream(blocks, batch_size=50)
    assert model.epoch == 0
    before = model.parameters.copy()
    assert model.fit(X, y, 1, 50).epoch == 1  # not the rest of that epoch, all of whose samples have been used
    assert not np.array_equal(model.parameters, before)
    estimator = MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    before = estimator.coefs_[0].copy()
    with pytest.raises(OSError, match="gone"):
        estimator.fit_stream(blocks, range(10))
    assert_array_equal(estimator.coefs_[0], before)
    assert_array_equal(estimator.classes_, range(10))


NO_WEIGHTS = r"block 1 has (no )?sample weights, unlike the first block"


@pytest.mark.parametrize("blocks, error, message", [
    (3, TypeError, "blocks must be a sequence"),
    ([], ValueError, "no samples"), (lambda: iter(()), ValueError, "no samples"),
    ([(X[:0], y[:0])], ValueError, "no samples"), ((X, y), ValueError, "block 0 must be"),
    ([(X, y), (X,)], ValueError, r"block 1 must be \(X, y\) or \(X, y, sample_weight\), got tuple of 1"),
    ([(X, y), (X[:, 1:], y)], ValueError, "block 1: X has 63"),
    ([(X, y), (X, y + 1)], ValueError, "block 1: .*classes|block 1: class numbers"),
    ([(X, y), (X, y[1:])], ValueError, "block 1: .*inconsistent"),
    ([(X, y), (X * np.nan, y)], ValueError, "block 1: .*NaN"),
    ([(X, y, np.ones(500)), (X, y)], ValueError, NO_WEIGHTS),
    ([(X, y), (X, y, np.ones(500))], ValueError, NO_WEIGHTS), (lambda: None, TypeError, "must return an iterator"),
])  # fmt: skip
def test_invalid_blocks(blocks, error, message):
    for model in (mlp(), MLPClassifier(max_iter=1, shuffle=False)):
        classes = () if isinstance(model, MLP) else (range(10),)
        options = {"shuffle": False, "shuffle_blocks": 2} if isinstance(model, MLP) else {"shuffle_blocks": 2}
        with pytest.raises(error, match=message):
            model.fit_stream(blocks, *classes, **options)


def test_blocks_with_targets_of_another_shape_are_refused():
    """The kernels read as many targets per sample as the network has outputs, without a check."""
    wide = np.zeros((500, 3000))
    for first, second in ((wide, X[:, 0]), (X[:, 0], X[:, :2])):
        model = MLPRegressor(max_iter=1, batch_size=500, shuffle=False)
        with pytest.raises(ValueError, match=r"block 1: y has [12] columns after encoding, but the network has"):
            model.fit_stream([(X, first), (X, second)])
    labels = np.column_stack([y > 3, y > 6]).astype(int)
    with pytest.raises(ValueError, match="block 1"):
        MLPClassifier(max_iter=1, batch_size=500, shuffle=False).fit_stream([(X, labels), (X, labels[:, 0])], [0, 1])


@pytest.mark.parametrize("batch_size", [64, 10**9])
def test_small_blocks_and_large_batches(batch_size):
    """The batch size is clipped only if it exceeds the number of all samples, as in fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocks = blocks_of(X, X[:, 0], cuts=range(30, 500, 30))
        parts = MLPRegressor(max_iter=2, batch_size=batch_size, shuffle=False, random_state=0).fit_stream(blocks)
        model = mlp().fit_stream(blocks_of(X, y), 2, batch_size, shuffle=False)
    with pytest.warns(UserWarning) if batch_size > 500 else contextlib.nullcontext():
        whole = MLPRegressor(max_iter=2, batch_size=batch_size, shuffle=False, random_state=0).fit(X, X[:, 0])
    assert_array_equal(parts.coefs_[0], whole.coefs_[0])
    assert_array_equal(model.parameters, mlp().fit(X, y, 2, batch_size, shuffle=False).parameters)


def test_a_block_with_zero_weights_is_ignored():
    weights = np.arange(500) >= CUTS[1]
    options = {"max_iter": 2, "batch_size": 50, "shuffle": False, "random_state": 0}
    for scale in (None, "standard"):
        whole = MLPClassifier(scale=scale, **options).fit(X, y, weights)
        parts = MLPClassifier(scale=scale, **options).fit_stream(blocks_of(X, y, weights), range(10))
        assert_allclose(parts.coefs_[0], whole.coefs_[0], rtol=1e-9, atol=1e-12)
    sorted_rows = [(X[y == digit], y[y == digit]) for digit in range(10)]
    none = {0: 0.0}
    MLPClassifier(class_weight=none, **options).fit_stream(sorted_rows, range(10))
    mlp().fit_stream(sorted_rows, class_weight=none)
    with pytest.raises(ValueError, match="samples with a nonzero weight"):
        MLPClassifier(scale="standard", **(options | {"max_iter": 1})).fit_stream(
            iter(blocks_of(X, y, weights)), range(10)
        )


def test_dense_and_sparse_blocks():
    dense, thin = (X[:250], y[:250]), (sparse.csr_matrix(X[250:]), y[250:])
    whole = mlp().fit(X, y, 2, 32, shuffle=False)
    for blocks in ([dense, thin], [(sparse.csr_matrix(dense[0]), dense[1]), (X[250:], y[250:])]):
        assert_array_equal(mlp().fit_stream(blocks, 2, 32, shuffle=False).parameters, whole.parameters)


def test_a_wrong_n_samples_warns():
    with pytest.warns(UserWarning, match="blocks provided 500 samples, but n_samples is 7"):
        mlp(make_optimizer("adam", schedule="cosine")).fit_stream(blocks_of(X, y), n_samples=7)


def test_errors_give_the_index_of_the_block():
    blocks = blocks_of(X, y, cuts=range(50, 500, 50))
    blocks[7] = (X * np.nan, y)
    with pytest.raises(ValueError, match=r"block 7: .*NaN"):
        mlp().fit_stream(blocks)


def test_unsupported_options():
    for call, message in (
        (lambda: MLPRegressor(solver="lm").fit_stream([(X, y)]), "got 'lm', which needs all samples at once"),
        (lambda: mlp("lbfgs").fit_stream([(X, y)]), "needs all samples at once"),
        (lambda: MLPClassifier(solver="lbfgs").fit_stream([(X, y)], range(10)), "needs all samples at once"),
        (lambda: mlp().fit_stream([(X, y)], class_weight="balanced"), "not supported by partial_fit and fit_stream"),
        (
            lambda: MLPClassifier(class_weight="balanced").fit_stream([(X, y)], range(10)),
            "not supported by partial_fit and",
        ),
        (lambda: MLPClassifier(early_stopping=True).fit_stream([(X, y)], range(10)), "requires an eval_set"),
        (lambda: MLPClassifier().fit_stream([(X, y)], None), "classes must be given"),
        (lambda: MLPClassifier().fit_stream([(X, y)], range(9)), "classes"),
        (lambda: mlp().fit_stream([(X, y)], shuffle_blocks=0), "shuffle_blocks must be"),
        (lambda: mlp().fit_stream([(X, y)], n_samples=0), "n_samples must be"),
        (lambda: mlp().fit_stream([(X, y)], batch_size=None), "batch_size must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_data_loader_of_torch(n_workers):
    torch = pytest.importorskip("torch", reason="needs the package torch")
    tensors = torch.utils.data.TensorDataset(*map(torch.tensor, (X.astype("f4"), y, np.arange(500.0))))
    loader = torch.utils.data.DataLoader(tensors, batch_size=70, num_workers=n_workers)
    options = {"max_iter": 2, "shuffle": False, "random_state": 0}
    model = MLPClassifier(**options).fit_stream(loader, range(10))
    assert_array_equal(model.coefs_[0], MLPClassifier(**options).fit(X.astype("f4"), y, np.arange(500.0)).coefs_[0])


def test_a_parquet_file_in_batches(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")
    import pandas as pd

    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)]).assign(digit=y)
    frame.to_parquet(tmp_path / "digits.parquet")

    def blocks():
        for batch in parquet.ParquetFile(tmp_path / "digits.parquet").iter_batches(90):
            rows = batch.to_pandas()
            yield rows.drop(columns="digit"), rows["digit"]

    options = {"max_iter": 2, "shuffle": False, "random_state": 0}
    model = MLPClassifier(**options).fit_stream(blocks, range(10))
    assert_array_equal(model.coefs_[0], MLPClassifier(**options).fit(X, y).coefs_[0])
    assert list(model.feature_names_in_) == list(frame.columns[:-1])
