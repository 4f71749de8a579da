"""Many fits on Ray, through its joblib backend, and a worker that is killed meanwhile."""

import os
import signal
from contextlib import chdir

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from clusters import assert_same
from fastmlp import MLP, Callback, MLPClassifier, MLPEnsembleClassifier, fit_many
from fastmlp.backends.threads import allowed_threads
from fastmlp.training import pools

X, y = load_iris(return_X_y=True)
pytestmark = [
    pytest.mark.exhaustive,  # it takes 20 seconds to start
    pytest.mark.filterwarnings("ignore:.*(ITERATIONS|iterations):sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's files
]


@pytest.fixture(scope="module")
def ray_on_loopback(tmp_path_factory):
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the switch that keeps it on loopback
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="needs the extra cluster: ray")
    from ray.util.joblib import register_ray

    register_ray()
    with chdir(tmp_path_factory.mktemp("ray")):  # where workers start: not in a checkout, which they would import
        ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield ray
    ray.shutdown()


def network(width):
    return MLP([(width, "tanh"), (3, "softmax")], "categorical_cross_entropy", random_state=0)


def test_fits_are_those_of_threads_although_a_worker_is_killed(ray_on_loopback, tmp_path, capsys):
    killed = tmp_path / "killed"

    class Deadly(Callback):
        def __init__(self):
            self.threads = []

        def after_epoch(self, model, epoch, results):
            self.threads.append(allowed_threads())
            if epoch == 3 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    callback, found, expected = Deadly(), [], []
    for models, backend, callbacks in ((found, "ray", callback), (expected, "threading", None)):
        models += [network(4), network(5), network(6), MLPClassifier(5, max_iter=9, random_state=0, alpha=-1.0)]
        with (
            joblib.parallel_config(backend=backend),
            pytest.warns(UserWarning, match="1 of 4 fits failed.*that of model 3.*alpha"),
        ):
            fit_many(models, X, y, fit_params=[{}, {"callbacks": callbacks}, {}, {}], progress=True)
        assert "4/4" in capsys.readouterr().err
    assert killed.exists()
    assert callback.threads == [1] * 10
    for one, other in zip(found[:3], expected):
        assert_same(one, other)


def test_searches_over_ensembles(ray_on_loopback):
    scores = []
    for backend in ("ray", "threading"):
        members = MLPClassifier(hidden_layer_sizes=5, max_iter=9)
        search = GridSearchCV(MLPEnsembleClassifier(members, random_state=0), {"n_members": [2, 3]}, cv=2, n_jobs=2)
        with joblib.parallel_config(backend=backend):
            scores.append(list(search.fit(X, y).cv_results_["mean_test_score"]))
    assert scores[0] == scores[1]


def test_options_of_tasks(ray_on_loopback):
    with joblib.parallel_config(backend="ray", n_jobs=1, ray_remote_args={"num_cpus": 2}):
        pool = pools.active_pool(None)
        assert pool.n_threads == 1 and pool.threads_of_each(3) == 2
        model = network(3)
        fit_many([model], X, y)
    assert model.epoch == 10
