"""The commands info, bench and measure, about this machine."""

import click
import numpy as np

from fastmlp import __version__
from fastmlp.backends import cost_model, registry
from fastmlp.kernels.spec import PRECISIONS, Network, optimizer

from .common import Widths, as_json, echo_json, plain_messages


@click.command()
@as_json
def info(as_json):
    """Show which backends work on this machine, package versions and threads."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import platform, python_version

    from threadpoolctl import threadpool_info

    from fastmlp.backends.threads import allowed_threads

    def version_of(package):
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    chosen = registry.choose()
    found = {
        "fastmlp": __version__, "python": python_version(), "platform": platform(), "threads": allowed_threads(),
        "packages": {package: version_of(package) for package in ("numpy", "scipy", "scikit-learn", "numba")},
        "backends": {name: registry.why_not(name) for name in registry.MODULES},
        "auto": {"backend": chosen.name, "reason": chosen.reason},
        "matmul_precision": products_of(chosen.kernels),
        "blas": [
            {name: library[name] for name in ("internal_api", "version", "num_threads")}
            for library in threadpool_info() if library["user_api"] == "blas"
        ],
    }  # fmt: skip
    if as_json:
        echo_json(found)
        return
    click.echo(f"fastmlp {__version__}, Python {found['python']}, {found['platform']}, {found['threads']} threads")
    for package, number in found["packages"].items():
        click.echo(f"  {package} {number or 'is not installed'}")
    for name, reason in found["backends"].items():
        click.echo(f"backend {name}: {'works' if reason is None else 'does not work: ' + reason}")
    click.echo(f"backend auto takes {chosen.name}: {chosen.reason}")
    for description in filter(None, found["matmul_precision"].values()):
        click.echo(f"  {description}")
    for library in found["blas"]:
        click.echo(f"BLAS {library['internal_api']} {library['version']}: {library['num_threads']} threads")


def products_of(kernels):
    """{precision: how a backend computes large matrix products in it}; "" where there is only one way."""
    network = Network((1, 1), ("identity",), "squared_error")
    return {
        name: kernels.describe(network._replace(matmul_precision=name), optimizer("sgd"), np.dtype("float32"), 10**6)
        for name in PRECISIONS
    }


@click.command(epilog="Examples: fastmlp bench; fastmlp bench --network 784,128,10 --batch-size 128 --json")
@click.option("--network", type=Widths(), help="Layer widths, inputs first, for example 784,128,10.")
@click.option("--batch-size", type=click.IntRange(1), help="Batch size for --network.  [default: 32]")
@click.option("--backend", "names", multiple=True, type=click.Choice(list(registry.MODULES)),
              help="Backend to time; may be repeated.  [default: all that work]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True,
              help="Timed epochs per backend.")  # fmt: skip
@as_json
def bench(network, batch_size, names, rounds, as_json):
    """Time training and prediction on this machine, for each backend and for scikit-learn.

    Reports the median number of rows per second over shuffled epochs with Adam and ReLU in float32, and the time to
    predict one row with compile_predict (scikit-learn: predict).
    """
    from fastmlp.backends.threads import allowed_threads

    from .speed import BENCH_NETWORKS, time_network

    with plain_messages():
        if network is None and batch_size is not None:
            raise click.UsageError("--batch-size needs --network.")
        if network is not None and len(network) < 2:
            raise click.UsageError("--network needs at least two widths: inputs and outputs.")
        for name in names:
            if registry.why_not(name) is not None:
                raise click.ClickException(f"backend {name} does not work here: {registry.why_not(name)}")
        names = list(names) or [name for name in registry.MODULES if registry.works(name)]
        chosen = BENCH_NETWORKS if network is None else [(network, batch_size or 32)]
        found = []
        for sizes, rows in chosen:
            times = time_network(sizes, rows, names, rounds)
            found.append({"network": sizes, "batch_size": rows, **times._asdict()})
            if as_json:
                continue
            click.echo(f"{'-'.join(map(str, sizes))}, batch {rows}")
            baseline = times.samples_per_second["scikit-learn"]
            for name, rate in times.samples_per_second.items():
                one = times.row_seconds.get(name)
                row = "" if one is None else f"   one row in {one * 1e6:.2f} us"
                click.echo(f"  {name:12} {rate:13,.0f} samples/s  {rate / baseline:6.1f} x scikit-learn{row}")
    if as_json:
        echo_json({"threads": allowed_threads(), "results": found})


@click.command()
@as_json
def measure(as_json):
    """Measure CPU and GPU speed, which the backend 'auto' uses to choose between them."""
    from .speed import measure_gpu

    reason = registry.why_not(registry.GPU)
    if reason is not None:
        raise click.ClickException(f"no GPU to measure: {reason}")
    with plain_messages():
        rows = []
        for name, cpu, gpu in measure_gpu():
            rows.append({"network": name, "cpu_seconds": cpu, "gpu_seconds": gpu})
            if not as_json:
                click.echo(f"{name}: {cpu * 1e6:.0f} us per step on the CPU, {gpu * 1e6:.0f} us on the GPU")
    if as_json:
        echo_json({"file": str(cost_model.FILE), "steps": rows})
    else:
        click.echo(f"saved in {cost_model.FILE}")
