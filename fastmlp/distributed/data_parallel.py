"""DataParallel: the processes that train a network together, and how they do so."""

from __future__ import annotations

import sys
from typing import Any, Literal

from fastmlp.extras import from_extra
from fastmlp.validation.checks import check_integer

ROWS, COMPRESSIONS = ("all", "own", "scattered"), (None, "bfloat16")
NOT_USABLE = "communicator must be an intracommunicator that has not been freed."


class DataParallel:
    """Train a network by several processes, each of which computes its part of every batch.

    They are started by MPI, for example ``mpiexec -n 4 python script.py``, and make the same calls of ``fit``. Each
    process, a rank, computes the gradient of its rows of a batch, the gradients are added up, and all ranks make the
    same step. In ``fit`` with rows='all', without ``local_steps`` and ``compression``, the result is that of a single
    process, to rounding, for any number of ranks, dropout and early stopping included. In every case all ranks end with
    the same weights.

    Callbacks, metrics and progress bars are those of rank 0; the other ranks do what it decides. An error that only one
    rank meets while others wait for it ends the job (``MPI_Abort``).

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm
        The ranks, for example ``mpi4py.MPI.COMM_WORLD``.
    rows : {'all', 'own', 'scattered'}, default='all'
        'all': all ranks train on the same samples, which each of them passes, or rank 0 alone while the others pass
        None. 'own': each rank passes its own samples, and the network is trained on all of them; each batch has rows
        of every rank, in proportion to their numbers of rows. 'scattered': rank 0 passes all samples and the others
        None; each rank receives an equal part, and trains as with 'own'. ``fit_stream`` shares blocks out with 'all'
        and 'scattered'. Estimators for tables, ``monitor``, ``resume_from`` and class_weight='balanced' require 'all'.
    local_steps : int, default=1
        Number of steps that a rank makes on its own parts of the batches before weights and optimizer state are
        averaged over the ranks (Stich 2019, "Local SGD converges fast and communicates little"). For slow networks;
        with more than 1 the result depends on the number of ranks.
    compression : {None, 'bfloat16'}, default=None
        'bfloat16' halves the bytes that are sent: gradients, and then their sums, are rounded to bfloat16.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    Copies share the communicator. Pickles and model files leave it out: a loaded model has ``communicator=None``.

    Examples
    --------
    >>> from mpi4py import MPI  # doctest: +SKIP
    >>> model = MLP([Layer(64), Layer(1, "identity")], communicator=MPI.COMM_WORLD)  # doctest: +SKIP
    >>> model.fit(X, y, epochs=20, batch_size=256)  # doctest: +SKIP
    """

    def __init__(
        self,
        communicator: Any,
        rows: Literal["all", "own", "scattered"] = "all",
        local_steps: int = 1,
        compression: Literal["bfloat16"] | None = None,
    ) -> None:
        if not hasattr(communicator, "Allreduce") or not hasattr(communicator, "Get_rank"):
            raise TypeError(
                f"communicator must be one of mpi4py, such as MPI.COMM_WORLD, or a DataParallel, got {communicator!r}."
            )
        with from_extra("mpi", "a communicator needs mpi4py"):
            from mpi4py import MPI
        if communicator == MPI.COMM_NULL or communicator.Is_inter():
            raise ValueError(NOT_USABLE)
        if not isinstance(rows, str) or rows not in ROWS:
            raise ValueError(f"rows must be 'all', 'own' or 'scattered', got {rows!r}.")
        if not isinstance(compression, (str, type(None))) or compression not in COMPRESSIONS:
            raise ValueError(f"compression must be None or 'bfloat16', got {compression!r}.")
        self.communicator, self.rows = communicator, rows
        self.local_steps, self.compression = check_integer("local_steps", local_steps, 1), compression
        if compression is not None and self.local_steps > 1:
            raise ValueError("compression is of gradients, which local_steps > 1 does not send: choose one of them.")
        _abort_after_uncaught_errors()

    @property
    def has_own_rows(self) -> bool:
        """Whether each rank has samples of its own in ``fit``."""
        return self.rows != "all"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return _nothing, ()

    def __repr__(self):
        options = f"rows={self.rows!r}, local_steps={self.local_steps}, compression={self.compression!r}"
        return f"DataParallel({self.communicator!r}, {options})"


def _nothing():
    """What a pickle of a DataParallel becomes: another process has no part in its communicator."""


def check_communicator(given):
    """None or a DataParallel, from None, a DataParallel or a communicator of mpi4py."""
    return given if given is None or isinstance(given, DataParallel) else DataParallel(given)


def _abort_after_uncaught_errors():
    """Let an uncaught error on one rank end the job: Python would wait for the other ranks before it exits."""
    from mpi4py.run import set_abort_status

    if getattr(sys.excepthook, "ends_job", False):
        return
    previous = sys.excepthook

    def hook(kind, error, where):
        previous(kind, error, where)
        set_abort_status(error)

    hook.ends_job = True
    sys.excepthook = hook
