"""The same rows in torch, tuned as in its documentation: fused Adam, CUDA graphs or torch.compile, bfloat16 weights.

``python time_torch.py "narrow 64"`` times a row; without a name it measures the rates of matrix products and copies.
"""

import statistics
import sys

from limited import report_values, trace
from rows import ROWS, data_of


def time_torch(row, rounds=7):
    """Median seconds of a training step, or of the prediction of a batch, measured with CUDA events."""
    import torch

    device, kind = torch.device("cuda"), torch.bfloat16 if row.bfloat16 else torch.float32
    layers = []
    for fan_in, fan_out in zip(row.sizes, row.sizes[1:]):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device, kind)
    X, y = (torch.from_numpy(array).to(device) for array in data_of(row))
    X = X.to(kind)
    batch = min(row.batch, row.n_rows)
    step = _training(torch, row, model, X, y, batch) if row.optimizer else _prediction(torch, model, X[:batch])
    return _median_seconds(torch, step, rounds)


def _prediction(torch, model, X):
    model.eval()

    def predict():
        with torch.no_grad():
            return model(X)

    return _captured(torch, predict)


def _training(torch, row, model, X, y, batch):
    """A step on samples selected by an index, from data on the GPU."""
    softmax = row.loss == "categorical_cross_entropy"
    target = y.argmax(dim=1) if softmax else y
    order = torch.randperm(row.n_rows, device=X.device)[:batch].clone()
    if row.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), capturable=True, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def loss_of(rows, wanted):
        out = model(rows).float()
        if softmax:
            return torch.nn.functional.cross_entropy(out, wanted)
        return ((out - wanted) ** 2).sum(dim=1).mean() / 2

    if row.peer == "compile":
        loss_of = torch.compile(loss_of, mode="max-autotune-no-cudagraphs")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(X.index_select(0, order), target.index_select(0, order)).backward()
        optimizer.step()

    return _captured(torch, step)


def _captured(torch, step):
    """The step as a CUDA graph, after warming up on a side stream, as torch requires."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _median_seconds(torch, step, rounds, repeats=20):
    seconds = []
    for number in range(rounds + 1):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeats):
            step()
        end.record()
        end.synchronize()
        if number:
            seconds.append(begin.elapsed_time(end) / 1e3 / repeats)
    return statistics.median(seconds)


def matrix_rate(n=8192):
    """Floating-point operations per second of a bf16 matrix product."""
    import torch

    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / _median_seconds(torch, lambda: a @ b, 5, 10)


def memory_rate(n_bytes=2**33):
    """Bytes per second of a copy on the device, counting those read and those written."""
    import torch

    a = torch.empty(n_bytes // 4, device="cuda")
    b = torch.empty_like(a)
    return 2 * n_bytes / _median_seconds(torch, lambda: b.copy_(a), 5, 5)


def main(name=None):
    if name:
        report_values(torch_seconds=time_torch(ROWS[name]))
    else:
        report_values(flops_rate=matrix_rate())
        report_values(bytes_rate=memory_rate())


if __name__ == "__main__":
    with trace():
        main(*sys.argv[1:])
