"""fastmlp.torch.FastMLP: a torch module computed by the kernels. Without torch these tests are skipped."""

import copy
import pickle
import threading

import numpy as np
import pytest

from fastmlp import MLP, Layer, to_torch

torch = pytest.importorskip("torch", reason="needs the package torch")
from fastmlp.torch import FastMLP  # noqa: E402

LAYERS = [Layer(9, "tanh"), Layer(6, "prelu"), Layer(2, "identity")]


def module(layers=LAYERS, seed=0, **options):
    torch.manual_seed(seed)
    return FastMLP(5, layers, **options)


def rows(n=7, dtype=torch.float32, **options):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(1), dtype=dtype, **options)


def gradients(m, X):
    """(dLoss/dflat, dLoss/dX) of a loss that is not linear in the outputs."""
    X = X.detach().requires_grad_()
    return torch.autograd.grad(m(X).square().sum(), [m.flat, X])


NETWORKS = {
    "hidden layers": LAYERS,
    "softmax": [Layer(4, "gelu"), Layer(3, "softmax")],
    "skips": [Layer(5, "elu"), Layer(5, "tanh", skip=2, skip_weights=False), Layer(2, "exp", skip=3)],
    "linear": [Layer(1, "identity")],
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_gradcheck(layers):
    """Of inputs and weights, in any number of dimensions."""
    m = module(layers, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda X, flat: torch.func.functional_call(m, {"flat": flat}, X), (
        rows(6, torch.float64, requires_grad=True), m.flat,
    ))  # fmt: skip
    assert torch.autograd.gradcheck(m, rows(6, torch.float64).view(2, 3, 5).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_equals_that_of_a_sequential(backend, dtype):
    m = module(dtype=dtype, backend=backend)
    peer = to_torch(m.to_model()).train()
    optimizers = [torch.optim.Adam(one.parameters(), 0.01) for one in (m, peer)]
    X = rows(40, dtype)
    for set_to_none in (True, False, True):
        found = []
        for one, optimizer in zip((m, peer), optimizers):
            optimizer.zero_grad(set_to_none)
            for part in (X[:25], X[25:]):  # gradients are added up
                loss = (one(part) - part[:, :2]).square().mean()
                loss.backward()
            torch.nn.utils.clip_grad_norm_(one.parameters(), 1.0)
            optimizer.step()
            found.append(loss.item())
        assert found[0] == pytest.approx(found[1], rel=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(m(X), peer(X), rtol=1e-3, atol=1e-4)


def test_models_convert_to_modules_and_back():
    model = MLP(LAYERS, dtype="float64", random_state=3).build(5)
    m = FastMLP.from_model(model)
    again = m.to_model("huber", "sgd", alpha=0.1)
    np.testing.assert_array_equal(again.parameters, model.parameters)
    assert (again.loss, again.optimizer.name, again.alpha) == ("huber", "sgd", 0.1)
    X = rows(7, torch.float64)
    np.testing.assert_allclose(m(X).detach(), model.predict(X.numpy()), rtol=1e-12)
    with torch.no_grad():
        for view, right in zip([*m.weights, *m.biases], [*model.weights, *model.biases]):
            np.testing.assert_array_equal(view, right)
            view.zero_()
    assert m.flat.count_nonzero() == 6  # slopes
    m.flat.data.fill_(1)  # copies on both ways
    assert not np.array_equal(model.parameters, m.flat.detach())
    assert not np.array_equal(again.parameters, m.flat.detach())


def test_seeds_and_states():
    m, other = module(), module(seed=1)
    torch.testing.assert_close(m.flat, module().flat, rtol=0, atol=0)
    assert not torch.equal(m.flat, other.flat)
    X = rows()
    m(X).sum().backward()
    made = [copy.deepcopy(m), pickle.loads(pickle.dumps(m)), other]
    other.load_state_dict(m.state_dict())
    for one in made:
        torch.testing.assert_close(one(X), m(X), rtol=0, atol=0)
        with torch.no_grad():
            one.flat.add_(1)
        assert not torch.equal(one(X), m(X))
        assert all(map(torch.isfinite, (one(X).sum(), *(g.sum() for g in gradients(one, X)))))
    with pytest.raises(RuntimeError, match="size mismatch"):
        module([Layer(2, "identity")]).load_state_dict(m.state_dict())
    assert "9 tanh" in repr(m)


def test_weights_put_elsewhere_are_noticed():
    """Assigned, converted, loaded by assignment, written through .data."""
    X = rows()
    m = module()
    m(X)
    changes = (
        lambda: setattr(m, "flat", torch.nn.Parameter(torch.ones_like(m.flat))),
        lambda: setattr(m.flat, "data", torch.full_like(m.flat, 0.5)),
        lambda: m.load_state_dict({"flat": torch.full_like(m.flat, 0.25)}, assign=True),
        lambda: m.flat.data.mul_(0.5),
        lambda: m.load_state_dict({"flat": torch.zeros(2 * len(m.flat) + 1)[1 : len(m.flat) + 1]}, assign=True),
    )
    for change in changes:
        change()
        right = m.to_model()
        for out in (m(X).detach(), torch.no_grad()(m)(X)):
            np.testing.assert_allclose(out, right.predict(X.numpy()), rtol=1e-5)
    m.double()
    assert m(X.double()).dtype == torch.float64
    m.float()
    double = torch.zeros(2 * len(m.flat))
    for wrong in (torch.zeros(3), double[::2], double[: len(m.flat) - 1]):  # the last two where flat was before
        m.flat.data = double[: m.network.n_parameters]
        m(X)
        m.flat.data = wrong
        with pytest.raises(ValueError, match="flat must be a contiguous tensor of shape"):
            m(X)
    m.flat.data = double[: m.network.n_parameters].view(torch.float64)
    with pytest.raises(ValueError, match="flat must be a contiguous tensor of shape"):
        m(X.double())
    with pytest.raises(ValueError, match="in float32 or float64, but the module is torch"):
        module().half()(X.half())


def test_passes_do_not_disturb_each_other():
    """Several forward passes before a backward pass, in any order; retain_graph; predictions in between."""
    m, batches = module(), [rows(n) * n for n in (7, 7, 3, 40, 5000)]
    right = [gradients(m, X) for X in batches]
    given = [X.clone().requires_grad_() for X in batches]
    outs = [m(X) for X in given]
    with torch.no_grad():
        m(torch.full((7, 5), 9.0))
    for order, retain in (((2, 0, 4, 3, 1), True), ((0, 1, 2, 3, 4), False)):
        for i in order:
            found = torch.autograd.grad(outs[i].square().sum(), [m.flat, given[i]], retain_graph=retain)
            for one, expected in zip(found, right[i]):
                torch.testing.assert_close(one, expected, rtol=0, atol=0)
        outs += [m(X * 3) for X in batches]  # which take the buffers that the first backward passes gave back
    together = torch.autograd.grad(sum(m(X).square().sum() for X in batches[:4]), m.flat)[0]
    torch.testing.assert_close(together, sum(one[0] for one in right[:4]))


def test_changes_in_place_before_backward_are_refused():
    m, X = module(), rows().requires_grad_()
    for change in (lambda: m.flat.add_(1), lambda: X.add_(1)):
        loss = m(X).sum()
        with torch.no_grad():
            change()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_what_has_no_gradient_gets_none():
    m, X = module(), rows()
    m(X).sum().backward()
    assert m.flat.grad.shape == m.flat.shape
    m.flat.requires_grad_(False)
    assert not m(X).requires_grad
    X.requires_grad_()
    m(X).sum().backward()
    assert X.grad.shape == X.shape
    with torch.inference_mode():
        assert m(rows()).shape == (7, 2)


def test_second_derivatives_are_refused():
    m, X = module(), rows().requires_grad_()
    first = torch.autograd.grad(m(X).square().sum(), X, create_graph=True)[0]
    torch.testing.assert_close(first, gradients(m, X)[1])
    with pytest.raises(RuntimeError, match="has no second derivatives"):
        first.sum().backward()
    for inputs in (X, m.flat):  # a penalty of gradients beside another loss, from a constant gradient of the outputs
        first = torch.autograd.grad(m(X).sum(), inputs, create_graph=True)[0]
        with pytest.raises(RuntimeError, match="has no second derivatives"):
            (first.square().sum() + m(X).sum()).backward()


def test_dropout_in_training_mode():
    m, X = module([Layer(50, "tanh", dropout=0.5), Layer(2, "identity")]), rows()
    one, two = m(X), m(X)
    assert not torch.equal(one, two)
    torch.manual_seed(4)
    first = m(X)
    torch.manual_seed(4)
    with torch.no_grad():
        assert torch.equal(m(X), first)
    grads = [torch.autograd.grad(first.sum(), m.flat, retain_graph=True)[0] for _ in range(2)]
    torch.testing.assert_close(*grads, rtol=0, atol=0)  # the same dropout, in a second backward pass
    m.eval()
    assert torch.equal(m(X), m(X))
    np.testing.assert_allclose(m(X).detach(), m.to_model().predict(X.numpy()), rtol=1e-5, atol=1e-6)


def test_layouts_and_shapes_of_inputs():
    m, X = module(), rows(12)
    right = m(X)
    for given in (X.T.contiguous().T, X.repeat_interleave(2, 0)[::2]):
        torch.testing.assert_close(m(given), right, rtol=0, atol=0)
    assert m(X.view(3, 4, 5)).shape == (3, 4, 2)
    torch.testing.assert_close(m(X[0]), right[0])
    assert m(X[:0]).shape == (0, 2)
    m(X[:0]).sum().backward()
    assert not m.flat.grad.any()
    (m(X).sum() * 1).backward()  # an expanded gradient
    torch.testing.assert_close(m(torch._neg_view(-X)), right)
    calls = []
    m.register_forward_pre_hook(lambda *_: calls.append(1))
    m(X.view(3, 4, 5))
    assert len(calls) == 1
    with torch.no_grad():
        torch.testing.assert_close(m(X.repeat(500, 1))[:12], right)
    assert m(torch.full((1, 5), torch.nan)).isnan().all()


WRONG = {
    "dtype": lambda: rows(dtype=torch.float64),
    "integers": lambda: rows().long(),
    "device": lambda: rows().to("meta"),
    "columns": lambda: rows()[:, :4],
    "a number": lambda: torch.tensor(1.0),
    "an array": lambda: rows().numpy(),
    "sparse": lambda: rows().to_sparse(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inputs_are_refused(wrong):
    with pytest.raises(ValueError, match=r"X must be a dense torch.float32 tensor of shape \(..., 5\) on the CPU, got"):
        module()(WRONG[wrong]())


def test_wrong_modules_are_refused():
    for change in (lambda m: m.half(), lambda m: m.to("meta")):
        with pytest.raises(ValueError, match=r"call module\.cpu"):
            change(module())(rows())
    with pytest.raises(ValueError, match=r"dtype must be torch.float32 or torch.float64, got torch.float16"):
        module(dtype=torch.float16)
    with pytest.raises(ValueError, match="backend must be 'auto', 'cython', 'numba' or 'numpy'"):
        module(backend="cuda")
    with pytest.raises(ValueError, match="units of a layer"):
        FastMLP(5, [(0, "tanh")])


def test_threads_share_a_module():
    m, batches = module(), [rows(n) * n for n in (7, 7, 3, 40)]
    right, errors = [gradients(m, X) for X in batches], []

    def work(i):
        for _ in range(100):
            if not all(map(torch.equal, gradients(m, batches[i]), right[i])):
                errors.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_gradients_in_several_threads_of_the_kernels(monkeypatch):
    from fastmlp.kernels.cpu import thread_pool

    monkeypatch.setattr(thread_pool, "cores", lambda: 3)
    m, X = module([Layer(200, "tanh"), Layer(200, "tanh"), Layer(2, "identity")]), rows(600)
    found, before = [], torch.get_num_threads()
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        found.append(gradients(m, X))
    torch.set_num_threads(before)
    for one, three in zip(*found):
        torch.testing.assert_close(one, three, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["cython", "numba"])
@pytest.mark.parametrize("precision", ["medium", "high"])
def test_products_in_bfloat16_do_not_disturb_those_of_torch(precision, backend):
    """On a processor with AMX both configure the same registers, in the same threads of the program and in others."""
    rng, generator = np.random.RandomState(0), torch.Generator().manual_seed(0)
    X, y = rng.standard_normal((256, 200)).astype("f4"), rng.standard_normal((256, 10)).astype("f4")
    a, b = (torch.randn(300, 300, generator=generator).bfloat16() for _ in range(2))

    def steps(between):
        model = MLP(
            [Layer(256), Layer(10, "identity")], random_state=0, matmul_precision=precision, backend=backend
        ).build(200)  # fmt: skip
        step = model.compile_step(128)
        for start in (0, 128, 64, 0):
            between()
            step(X[start : start + 128], y[start : start + 128])
        return model.parameters

    alone, product, equal = steps(lambda: None), a @ b, []

    def multiply():
        equal.append(torch.equal(a @ b, product))

    np.testing.assert_array_equal(steps(multiply), alone)
    stop = threading.Event()

    def keep_multiplying():
        while not stop.is_set():
            multiply()

    others = [threading.Thread(target=keep_multiplying) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for _ in range(5):
            np.testing.assert_array_equal(steps(lambda: None), alone)
    finally:
        stop.set()
        for other in others:
            other.join()
    assert len(equal) > 4
    assert all(equal)
