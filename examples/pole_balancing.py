"""Reinforcement learning with a custom gradient: a cart learns to balance a pole, by PPO's clipped policy gradient."""

from importlib.util import find_spec
from time import perf_counter

import numpy as np
from matplotlib.figure import Figure

from fastmlp import MLP, Layer, make_optimizer, to_torch

POLES, STEPS = 16, 500  # episodes at a time, and the length of the longest
BATCH, PASSES, CLIP = 256, 4, 0.2  # of the updates after each round of episodes
DISCOUNT, RATE = 0.99, 3e-3


def push(state, right):
    """One step of 0.02 s of the cart and pole of Barto, Sutton and Anderson (1983), for each row of ``state``."""
    _, speed, angle, spin = state.T
    force, cos, sin = np.where(right, 10, -10), np.cos(angle), np.sin(angle)
    pull = (force + 0.05 * spin**2 * sin) / 1.1
    torque = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    change = np.stack([speed, pull - 0.05 * torque * cos / 1.1, spin, torque], axis=1)
    return (state + 0.02 * change).astype("f4")


def episodes(probabilities, random):
    """Play until every pole has fallen. Returns states, pushes, their probabilities, and which poles were standing."""
    state, standing = random.uniform(-0.05, 0.05, (POLES, 4)).astype("f4"), np.ones(POLES, bool)
    history = []
    while standing.any() and len(history) < STEPS:
        p = probabilities(state)
        right = random.random(POLES) < p[:, 1]
        history.append((state, right, np.where(right, p[:, 1], p[:, 0]), standing))
        state = push(state, right)
        standing = standing & (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < 0.21)
    return map(np.array, zip(*history))


def advantages(standing):
    """Discounted number of further steps before the pole falls, standardized over all samples."""
    to_come, total = np.zeros(standing.shape, "f4"), 0
    for t in reversed(range(len(standing))):
        total = standing[t] * (1 + DISCOUNT * total)
        to_come[t] = total
    return (to_come - to_come[standing].mean()) / (to_come[standing].std() + 1e-6)


class OwnGradient:
    """Policy whose gradient is written out, with an MLP."""

    def __init__(self, model):
        self._model = model
        self.probabilities = model.forward

    def learn(self, X, right, old, advantage):
        """Make one step on -mean(min(r A, clip(r) A)) with r = p / old."""
        i, p = np.arange(len(X)), self._model.forward(X)
        r = p[i, right] / old
        clipped = np.where(advantage > 0, r > 1 + CLIP, r < 1 - CLIP)
        output_gradient = np.zeros_like(p)
        output_gradient[i, right] = np.where(clipped, 0, -advantage / old / len(X))
        self._model.apply(self._model.backward(output_gradient))


class TorchPolicy:
    """The same with a torch module, torch's autograd and torch's Adam."""

    def __init__(self, module):
        import torch

        self._torch, self._module = torch, module
        self._optimizer = torch.optim.Adam(module.parameters(), RATE)

    def probabilities(self, X):
        with self._torch.no_grad():
            return self._module(self._torch.from_numpy(X)).numpy()

    def learn(self, X, right, old, advantage):
        X, right, old, advantage = map(self._torch.from_numpy, (X, right, old, advantage))
        r = self._module(X).gather(1, right[:, None])[:, 0] / old
        loss = -self._torch.minimum(r * advantage, r.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def train(policy, rounds):
    """Returns the mean number of steps before a pole falls, for each round of episodes, and the seconds."""
    random, lengths, start = np.random.RandomState(0), [], perf_counter()
    for _ in range(rounds):
        X, right, old, standing = episodes(policy.probabilities, random)
        samples = [a[standing] for a in (X, right.astype(int), old, advantages(standing))]
        for _ in range(PASSES):
            order = random.permutation(len(samples[0]))
            for i in range(0, len(order), BATCH):
                policy.learn(*(a[order[i : i + BATCH]] for a in samples))
        lengths.append(standing.sum(axis=0).mean())
    return lengths, perf_counter() - start


def policies():
    """{name: policy}, with equal initial weights; those of torch if it is installed."""
    layers = [Layer(64, "tanh"), Layer(64, "tanh"), Layer(2, "softmax")]
    model = MLP(layers, "categorical_cross_entropy", make_optimizer("adam", RATE), random_state=0).build(4)
    found = {"MLP": OwnGradient(model)}
    if find_spec("torch"):
        from fastmlp.torch import FastMLP

        found["torch, FastMLP"] = TorchPolicy(FastMLP.from_model(model))
        found["torch, nn.Sequential"] = TorchPolicy(to_torch(model))
    return found


def main(out, quick=False):
    """Mean number of steps (at most 500) that a pole stands before and after training, and seconds of training."""
    figure, numbers = Figure(figsize=(6, 4), layout="constrained"), {}
    axes = figure.subplots()
    for name, policy in policies().items():
        lengths, seconds = train(policy, 12 if quick else 40)
        numbers[f"{name}: steps in the first round"] = round(float(lengths[0]), 1)
        numbers[f"{name}: steps in the last rounds"] = round(float(np.mean(lengths[-4:])), 1)
        numbers[f"{name}: seconds"] = round(seconds, 2)
        axes.plot(range(1, len(lengths) + 1), lengths, label=name)
    axes.set(xlabel="round of 16 episodes", ylabel="mean steps before the pole falls", ylim=(0, STEPS + 10))
    axes.set_title("Balancing a pole: policy gradient with clipped ratios")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(out / "pole_balancing.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
