"""Type aliases of the public API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array, csr_matrix, sparray, spmatrix

    from fastmlp.kernels.rules import Activation
    from fastmlp.model.inputs import Embedding, OneHot, Periodic, PiecewiseLinear, Plain
    from fastmlp.model.layer import Layer
    from fastmlp.model.losses import Loss
    from fastmlp.model.optimizers import Optimizer
    from fastmlp.training.callbacks import Callback
    from fastmlp.training.schedules import Schedule


class DeviceArray(Protocol):
    """An array on a GPU, for example of CuPy or PyTorch."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


FloatArray: TypeAlias = NDArray[np.floating]
# Arrays, data frames, nested lists, sparse matrices and GPU arrays.
MatrixLike: TypeAlias = "ArrayLike | spmatrix | sparray | DeviceArray"
ArrayOrCSR: TypeAlias = "FloatArray | csr_array | csr_matrix"
RandomState: TypeAlias = "int | np.random.RandomState | None"
StrPath: TypeAlias = str | PathLike[str]

Backend: TypeAlias = Literal["auto", "cython", "numba", "cuda", "numpy"]
MatmulPrecision: TypeAlias = Literal["highest", "high", "medium"]
# A name in the table, or a custom (function, derivative) of the pre-activation.
ActivationSpec: TypeAlias = "str | Activation | tuple[Callable[[float], float], Callable[[float], float]]"
# A name, the result of make_loss, or a custom (function, derivative) of prediction and target.
LossSpec: TypeAlias = "str | Loss | tuple[Callable[[float, float], float], Callable[[float, float], float]]"
OptimizerSpec: TypeAlias = "str | Optimizer"
ScheduleSpec: TypeAlias = "str | Schedule"
LayerSpec: TypeAlias = "Layer | tuple[int, ActivationSpec]"
InputSpec: TypeAlias = "Plain | OneHot | Embedding | Periodic | PiecewiseLinear"
# A name, a name with a scale, or the arrays (W, b) of each layer.
InitSpec: TypeAlias = "str | tuple[str, float] | Sequence[tuple[ArrayLike, ArrayLike]]"

# Functions are called as (model, epoch, results).
CallbackSpec: TypeAlias = "Callback | Callable[[Any, int, dict[str, float]], object]"
Callbacks: TypeAlias = "CallbackSpec | Sequence[CallbackSpec]"
Metric: TypeAlias = "str | Callable[..., float]"
ClassWeight: TypeAlias = "Mapping[Any, float] | Sequence[Mapping[int, float]] | Literal['balanced']"
DataSet: TypeAlias = "tuple[MatrixLike, ArrayLike] | tuple[MatrixLike, ArrayLike, ArrayLike | None]"
Blocks: TypeAlias = "Iterable[DataSet] | Callable[[], Iterable[DataSet]]"
