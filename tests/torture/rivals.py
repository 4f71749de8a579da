"""The networks of the part accuracy: the same sizes, rate, penalty and epochs in fastmlp, scikit-learn and PyTorch."""

import importlib.util
import warnings

import numpy as np
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

import fastmlp

WIDTH, RATE, ALPHA, BATCH = 64, 1e-3, 1e-4, 200


def of_sklearn(module):
    """Predict with the estimators of a module that are called as those of scikit-learn."""

    def fit_and_predict(X, y, new, is_classes, epochs, seed):
        kind = module.MLPClassifier if is_classes else module.MLPRegressor
        model = kind(
            hidden_layer_sizes=(WIDTH,), learning_rate_init=RATE, alpha=ALPHA, batch_size=min(BATCH, len(X)),
            max_iter=epochs, n_iter_no_change=epochs, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # all make the same number of epochs
            return model.fit(X, y).predict(new)

    return fit_and_predict


def of_torch(X, y, new, is_classes, epochs, seed):
    """Predict with a plain training loop in PyTorch, with the initial weights of scikit-learn."""
    import torch

    torch.manual_seed(seed)
    classes = np.unique(y) if is_classes else None
    layers = (
        torch.nn.Linear(X.shape[1], WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, len(classes) if is_classes else 1),
    )
    for layer in layers[::2]:
        torch.nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.uniform_(layer.bias, -(bound := (6 / sum(layer.weight.shape)) ** 0.5), bound)
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    inputs = torch.as_tensor(X, dtype=torch.float32)
    goals = torch.as_tensor(np.searchsorted(classes, y) if is_classes else y.astype(np.float32)[:, None])
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(BATCH):
            outputs = network(inputs[rows])
            if is_classes:
                loss = torch.nn.functional.cross_entropy(outputs, goals[rows])
            else:
                loss = torch.nn.functional.mse_loss(outputs, goals[rows]) / 2
            loss = loss + ALPHA / (2 * len(rows)) * sum((layer.weight**2).sum() for layer in layers[::2])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        found = network(torch.as_tensor(new, dtype=torch.float32)).numpy()
    return classes[found.argmax(axis=1)] if is_classes else found[:, 0]


OURS = of_sklearn(fastmlp)
RIVALS = {"scikit-learn": of_sklearn(neural_network)}
if importlib.util.find_spec("torch"):
    RIVALS["torch"] = of_torch
