"""What one rank meets is raised on all of them, with the same message and before any of them waits for ever."""

import json

import pytest
from mpi import run_ranks

from problems import quick_first

EXPECTED = {
    "other width": "ValueError: rank {last} has sizes (4, 6, 1), but rank 0 has (4, 5, 1): all ranks must train the",
    "other dtype": "ValueError: rank {last} has dtype 'float64', but rank 0 has 'float32'",
    "other optimizer": "learning_rate=1.1), but rank 0 has make_optimizer('sgd', learning_rate=0.1)",
    "other epochs": "rank {last} has epochs 4, but rank 0 has 3",
    "other parameters": "rank {last} has penalties Penalty(l1=0.0, activity_l1=0.0, activity_l2=0.0, alpha=1.1)",
    "other columns": "rank {last} has sizes (3, 5, 1), but rank 0 has (4, 5, 1)",
    "other samples": "rank {last} passed other samples than rank 0: pass the same ones on all ranks, or use",
    "other samples of an estimator": "rank {last} passed other samples than rank 0",
    "no samples on one": "ValueError: rank {last}: Found array with 0 sample(s)",
    "None on rank 0": "ValueError: rank 0: X must be an array",
    "NaN on one": "ValueError: rank {last}: Input X contains NaN",
    "weights on one": "rank {last} has sample weights True, but rank 0 has False",
    "patience on one": "rank {last} has patience 3, but rank 0 has None",
    "small batches": "is less than {n}, the number of ranks",
    "monitor": "monitor needs all samples on every rank: use DataParallel with rows='all'",
    "balanced classes of own rows": "class_weight='balanced' needs all samples on every rank",
    "checkpoint of own rows": "resume_from needs all samples on every rank",
    "labels of two kinds": "Mix of label input types (string and number)",
    "labels on one": "ValueError: rank {last}: Unknown label type: continuous. Maybe you are trying to fit a",
    "few samples to scatter": "ValueError: rank 0: 1 samples cannot be scattered over {n} ranks: each needs at least",
    "samples to scatter on one": "ValueError: rank {last}: with rows='scattered' only rank 0 passes samples",
    "other lengths to scatter": "rank 0: Found input variables with inconsistent numbers of samples: [60, 59]",
    "nothing to scatter": "TypeError: rank 0: X must be an array, a frame or a list of samples, got NoneType",
    "no weights to scatter": "sample weights (times class weights) are 0 on all ranks",
    "no weights for lbfgs": "sample weights (times class weights) are 0 on all ranks",
    "infinite scale": "y or sample_weight is too large for scale",
    "wrong callbacks on rank 0": "TypeError: rank 0: callbacks must be fastmlp.Callback objects or functions, got 3",
    "other quantiles": "rank {last} has loss options ((0.1, 0.9),), but rank 0 has ((0.2, 0.9),)",
    "other captured variables": "ValueError: rank {last} has values of custom functions [['22.6875', '1.6875', '0.75',",
    "other rows of tables": "rank {last} passed other samples than rank 0",
    "local steps of lbfgs": "local_steps and compression are not for 'lbfgs'",
    "small batches of a stream": "is less than {n}, the number of ranks",
    "freed communicator": "communicator must be an intracommunicator that has not been freed",
    "lm": "ValueError: 'lm' cannot be used with a communicator: use 'lbfgs' or 'adam'.",
    "invalid parameter": "The 'alpha' parameter of MLPRegressor must be a float in the range",
    "no communicator": "communicator must be one of mpi4py, such as MPI.COMM_WORLD, or a DataParallel, got 3",
    "no communicator of an estimator": "TypeError: communicator must be one of mpi4py",
    "unknown rows": "rows must be 'all', 'own' or 'scattered', got 'mine'",
    "compression of steps": "compression is of gradients, which local_steps > 1 does not send",
    "callback": "it broke",
    "callback on rank 0 only": "it broke",
    "callback that interrupts": "KeyboardInterrupt",
    "callback that interrupts in its own way": "it broke",
    "open file": "cannot be sent to the other ranks: TypeError: an open file. Pass arrays",
    "metric": "it broke",
    "callback of lbfgs": "it broke",
    "callback that exits": "SystemExit: 3",
    "callback after the fit": "it broke",
    "fit in a callback": "RuntimeError: a fit of several ranks is running and has called this function on rank 0 alone",
    "fit with another communicator": "RuntimeError: a fit of several ranks is running and has called this function",
    "fit in a metric": "RuntimeError: a fit of several ranks is running and has called this function on rank 0 alone",
    "fits in threads": "ValueError: models fitted in threads cannot share a communicator",
    "folds in threads": "ValueError: models fitted in threads cannot share a communicator",
    "members in threads": "ValueError: models fitted in threads cannot share a communicator",
    "other models": "ValueError: rank {last} has the call 'fit of MLPRegressor', but rank 0 has 'fit of MLP'",
    "epochs on one": "ValueError: rank {last}: epochs must be an integer of at least 1, got 0",
    "epochs of a stream on one": "ValueError: rank {last}: epochs must be an integer of at least 1, got 0",
    "epochs of partial_fit on one": "ValueError: rank {last}: epochs must be an integer of at least 1, got 0",
    "parameter on one": "rank {last}: InvalidParameterError: The 'alpha' parameter of MLPRegressor must be",
    "lbfgs in a stream on one": "ValueError: rank {last}: fit_stream requires a stochastic solver",
    "metric on one": "has evaluation sets {{'validation_0': ['neg_loss']}}, but rank 0 has {{'validation_0': ['r2']}}",
    "fitted on one": "ValueError: rank {last} has a fitted network True, but rank 0 has False",
    "freed after a fit": "communicator must be an intracommunicator that has not been freed",
    "strict about convergence": "ConvergenceWarning: Stochastic Optimizer: Maximum iterations (2) reached",
    "strict about batches": "UserWarning: Got `batch_size` less than 1 or larger than sample size",
    "strict about blocks": "samples, but n_samples is 7",
    "no weights at all": "ValueError: sample weights (times class weights) are 0 on all ranks",
    "other names": "rank {last} has columns ['d', 'c', 'b', 'a'], but rank 0 has ['a', 'b', 'c', 'd']",
    "other names of an estimator": "rank {last} has columns ['d', 'c', 'b', 'a'], but rank 0 has ['a', 'b', 'c', 'd']",
    "other names of tables": "rank {last} has columns ['d', 'c', 'b', 'a'], but rank 0 has ['a', 'b', 'c', 'd']",
    "other labels": "ValueError: rank {last} has classes ['no', 'yes'], but rank 0 has ['maybe', 'yes']",
    "other labels of tables": "ValueError: rank {last} has classes ['no', 'yes'], but rank 0 has ['maybe', 'yes']",
    "other class weights": "rank {last} has class_weight {{0: 1, 1: 3}}, but rank 0 has {{0: 1, 1: 2}}",
    "other first block": "rank {last} passed other samples than rank 0",
    "fewer blocks": "rank {last} has number of blocks {block}, but rank 0 has {blocks}",
    "fewer blocks of an iterator": "rank {last} has number of blocks {block}, but rank 0 has {blocks}",
    "other shuffling of blocks": "rank {last} has shuffle_blocks 2, but rank 0 has 1",
    "n_samples on one": "rank {last} has n_samples given False, but rank 0 has True",
    "other n_samples": "rank {last} has n_samples 61, but rank 0 has 60",
    "checkpoint": "FileNotFoundError: [Errno 2] the folder does not exist: '/nowhere'",
    "divergence": "DivergenceError: Solver produced non-finite parameter weights",
    "other columns in a block": "ValueError: rank {last}: block {block}: X has 2 columns, but the network has 4 inputs",
    "own rows of tables": "TabularMLPRegressor needs all samples on every rank",
    "time limit of tables": "time_limit is not available with a communicator: set epochs and n_members",
    "invalid table": "Found input variables with inconsistent numbers of samples: [60, 59]",
    "afterwards": "10 epochs",
}


@pytest.mark.parametrize("n_ranks", quick_first([2, 3]))
def test_all_ranks_raise_the_same_error(n_ranks):
    """For the errors of callbacks and metrics the kind of the error may differ: not every one can be sent."""
    done = run_ranks(n_ranks, "errors.py")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.keys() == EXPECTED.keys()
    for case, messages in found.items():
        expected = EXPECTED[case].format(last=n_ranks - 1, n=n_ranks, blocks=2 * n_ranks, block=2 * n_ranks - 1)
        assert all(expected in message for message in messages), (case, messages)
