"""Fashion-MNIST, 784-128-10, 10 epochs of Adam in batches of 128: test accuracy over three seeds.

Needs the folder that FASTMLP_DATA names (fashion_mnist/ in it holds the four files of the data set).
"""

import gzip
import warnings

import numpy as np
import pytest

SEEDS = 0, 1, 2


def load(folder, part):
    with (
        gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as images,
        gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as labels,
    ):
        X = np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 784).astype("f4") / 255
        return X, np.frombuffer(labels.read(), np.uint8, offset=8).astype(np.int64)


def _estimator(module):
    def accuracy(train, test, seed):
        import importlib

        kind = importlib.import_module(module).MLPClassifier
        model = kind((128,), batch_size=128, max_iter=10, random_state=seed, alpha=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(*train).score(*test)

    return accuracy


def torch_accuracy(train, test, seed):
    import torch

    torch.manual_seed(seed)
    (X, y), (X_test, y_test) = (tuple(map(torch.from_numpy, part)) for part in (train, test))
    network = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer, loss = torch.optim.Adam(network.parameters()), torch.nn.CrossEntropyLoss()
    for _ in range(10):
        for numbers in torch.randperm(len(X)).split(128):
            optimizer.zero_grad()
            loss(network(X[numbers]), y[numbers]).backward()
            optimizer.step()
    return float((network(X_test).argmax(dim=1) == y_test).float().mean())


LEARNERS = {
    "fastmlp": _estimator("fastmlp"), "scikit-learn": _estimator("sklearn.neural_network"), "torch": torch_accuracy,
}  # fmt: skip


@pytest.mark.parametrize("learner", LEARNERS)
def bench_fashion_mnist(benchmark, data_folder, learner):
    if learner == "torch":
        pytest.importorskip("torch", reason="needs the package torch")
    folder = data_folder / "fashion_mnist"
    train, test = load(folder, "train"), load(folder, "t10k")
    scores = benchmark.pedantic(lambda: [LEARNERS[learner](train, test, seed) for seed in SEEDS], rounds=1)
    benchmark.extra_info["scores"] = scores
