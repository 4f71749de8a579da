"""FastMLP and torch.nn.Sequential in the same torch programs, float32, in one thread.

Each function takes a Loop and returns (function that makes calls, number of calls).
"""

from itertools import pairwise
from typing import NamedTuple

CALLS = 200


class Loop(NamedTuple):
    """Sizes of a tanh network and rows of a batch; ``trains``: with gradients and a step of torch's Adam."""

    sizes: tuple
    batch: int
    trains: bool


LOOPS = {
    "training step, 8-64-64-1, 32 samples": Loop((8, 64, 64, 1), 32, True),
    "training step, 8-64-64-1, 256 samples": Loop((8, 64, 64, 1), 256, True),
    "outputs, 4-64-64-2, 1 sample": Loop((4, 64, 64, 2), 1, False),
}


def fast_module(sizes):
    from fastmlp.torch import FastMLP

    return FastMLP(sizes[0], [*((n, "tanh") for n in sizes[1:-1]), (sizes[-1], "identity")])


def sequential(sizes):
    import torch

    layers = [module for shape in pairwise(sizes) for module in (torch.nn.Linear(*shape), torch.nn.Tanh())]
    return torch.nn.Sequential(*layers[:-1])


def _in_loop(make):
    def build(loop):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        module, X = make(loop.sizes), torch.randn(loop.batch, loop.sizes[0])
        if not loop.trains:

            def several():
                with torch.no_grad():
                    for _ in range(CALLS):
                        module(X)

            return several, CALLS
        y, optimizer = torch.randn(loop.batch, loop.sizes[-1]), torch.optim.Adam(module.parameters())

        def several_steps():
            for _ in range(CALLS):
                optimizer.zero_grad()
                loss = ((module(X) - y) ** 2).mean()
                loss.backward()
                optimizer.step()

        return several_steps, CALLS

    return build


MODULES = {"FastMLP": _in_loop(fast_module), "nn.Sequential": _in_loop(sequential)}
