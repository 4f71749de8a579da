"""Before a fit of an estimator: validate the arguments, scale the data and draw the initial weights."""

from contextlib import closing
from functools import partial

import numpy as np

from fastmlp.backends import registry
from fastmlp.kernels.spec import is_by_target
from fastmlp.model.backend_choice import check_device, compile_custom_functions
from fastmlp.model.initializers import check_init, initial_parameters
from fastmlp.model.precision import (
    HIGHEST,
    check_precision_of_backend,
    check_precision_of_dtype,
    check_precision_of_optimizer,
)
from fastmlp.training.class_weight import is_balanced
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.problem import Problem
from fastmlp.training.squared_errors import Evidence, check_lm_loss, check_lm_network
from fastmlp.training.streams import check_n_samples
from fastmlp.validation.checks import check_seed

from . import samples as samples_of
from .architecture import hidden_widths, plan_of
from .network import FittedNetwork
from .recorders import start_curves
from .resuming import OngoingFit


def prepared(estimator, X, y, sample_weight, call):
    """Validate everything and draw initial weights. Returns (Plan, Problem, Samples, held-out Samples or None).

    The samples are to be scaled by ``scaled``.
    """
    estimator.check_parameters()  # scikit-learn's wrapper skips it in later calls of partial_fit
    if call.first_pass:
        vars(estimator).pop("classes_", None)
    for name in Evidence._fields:  # of an earlier fit with alpha='bayes'
        vars(estimator).pop(f"{name}_", None)
    hidden = hidden_widths(estimator)
    estimator.backend_, kernels, estimator.backend_reason_ = registry.choose(estimator.backend)
    check_precision_of_backend(estimator.matmul_precision, kernels)
    check_precision_of_optimizer(estimator.matmul_precision, estimator.solver, "solver")
    _check_fit(estimator, call, kernels)
    samples = samples_of.validated(estimator, X, y, sample_weight, call.in_parts, call.first_pass, call.classes)
    samples = samples_of.weighted(estimator, samples, call.in_parts)
    estimator._random_state = check_seed(call.random_state)
    if call.callbacks or call.checkpoint is not None:
        estimator._ongoing = OngoingFit(estimator, call)
    plan = plan_of(estimator, samples.X.shape[1], list(map(int, hidden)), samples.y.shape[1])
    check_device(kernels, is_by_target(plan.network.loss_options, samples.weight))
    if plan.optimizer is None and estimator.solver == "lm":
        check_lm_loss("solver='lm'", plan.network.loss, plan.penalty)
        check_lm_network("solver='lm'", kernels, plan.network)
    problem = Problem(kernels, plan.network, plan.penalty, plan.noise)
    _set_network(estimator, problem, _dtype_of(estimator, samples.X, call.first_pass), call.first_pass)
    estimator._net.make_writable()
    samples, held_out = samples_of.in_dtype(estimator, samples, call.in_parts), None
    if estimator.early_stopping and estimator.solver != "lbfgs" and call.evaluation is None:
        samples, held_out = samples_of.split_off(estimator, samples)
    if call.stream is not None:
        check_n_samples(call.stream.n_samples, plan.optimizer)
    return plan, problem, samples, held_out


def scaled(estimator, samples, held_out, call):
    """Samples and held-out Samples as the network sees them. Sets the scaling of a new network."""
    if call.first_pass:
        _set_scaling(estimator, samples, call)
    with call.fit.agreement():
        samples = samples_of.as_network_sees(estimator, samples)
        if held_out is not None:
            held_out = samples_of.as_network_sees(estimator, held_out)
            if not estimator._watches_loss():
                held_out = held_out._replace(y=estimator._decode(held_out.y))
        if call.first_pass:
            estimator._warn_of_targets(samples.y, samples.weight)
        if call.evaluation is not None:
            call.evaluation.begin()
    return samples, held_out


def _check_fit(estimator, call, kernels):
    """Raise ValueError if several ranks cannot run this fit."""
    solver = estimator.solver if is_full_batch(estimator.solver) else ""
    batch_size = None if estimator.batch_size == "auto" else estimator.batch_size
    needs_all = {
        "resume_from": call.checkpoint is not None,
        "class_weight='balanced'": is_balanced(getattr(estimator, "class_weight", None)),
    }
    kernels = None if estimator.backend == "auto" else kernels
    call.fit.check(kernels, solver, batch_size, needs_all, call.stream is not None)


def _dtype_of(estimator, X, first_pass):
    """The dtype of the network. Raises ValueError if it does not suit ``matmul_precision``."""
    precision = estimator.matmul_precision
    if not first_pass:
        fitted = estimator._net.parameters.dtype
        if precision != HIGHEST and fitted != np.float32:
            raise ValueError(
                f"matmul_precision {precision!r} requires float32, but the fitted network is {fitted}, which "
                "warm_start and partial_fit keep: use matmul_precision='highest', or a new estimator or clone."
            )
        return fitted
    dtype = np.dtype(estimator.dtype or (X.dtype if precision == HIGHEST else np.float32))
    check_precision_of_dtype(precision, dtype)
    return dtype


def _set_network(estimator, problem, dtype, first_pass):
    """Set ``_net`` to the network, with new weights or those of the previous fit."""
    network, fitted = problem.network, None if first_pass else estimator._net.network
    if not first_pass and (network.blocks, network.skips) != (fitted.blocks, fitted.skips):
        change = f"layer sizes {fitted.sizes}, but data and hidden_layer_sizes now require {network.sizes}"
        if network.sizes == fitted.sizes:
            change = "skip connections or trainable slopes that differ from the current skip and activation"
        raise ValueError(
            f"the fitted network has {change}: warm_start and partial_fit cannot change the architecture. Use a "
            "new estimator or clone."
        )
    estimator.out_activation_ = network.activations[-1]
    if not first_pass:
        compile_custom_functions(problem.kernels, network, estimator._net.parameters)
        estimator._net = estimator._net.shallow_copy()  # an error before training restores the old network
        estimator._net.network, estimator._net.noise, estimator._net.continuation = network, problem.noise, None
        return
    estimator.n_iter_ = estimator.t_ = 0
    estimator.n_outputs_, estimator.n_layers_ = network.sizes[-1], len(network.sizes)
    # As in scikit-learn, the gain of the output layer is that of the hidden activation.
    one_for_all = isinstance(estimator.activation, str)
    gains = (estimator.activation,) * len(network.sizes) if one_for_all else network.activations
    init = check_init(estimator.init)
    parameters = initial_parameters(network, init, gains, estimator._random_state, dtype)
    compile_custom_functions(problem.kernels, network, parameters)
    estimator._net = FittedNetwork(network, parameters, problem.noise)
    if not is_full_batch(estimator.solver):
        start_curves(estimator)


def _set_scaling(estimator, samples, call):
    """Compute the mean and standard deviation for ``scale``, or take those of a checkpoint."""
    if estimator.scale is None:
        return
    scales, stream = (estimator.scale != "targets", estimator._scales_targets()), call.stream
    if call.checkpoint is not None:
        saved = call.checkpoint.model._net
        scalings = saved.scaling, saved.target_scaling
    elif stream is not None and stream.is_repeatable:
        with closing(stream.blocks(None, partial(samples_of.unscaled_block, estimator))) as blocks:
            scalings = call.fit.scalings((block for *_, block in blocks), *scales)
    else:
        scalings = call.fit.scalings([samples], *scales)
    estimator._net.scaling, estimator._net.target_scaling = scalings
