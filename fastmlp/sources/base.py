"""Base class of sequences of blocks that ``fit_stream`` reads ahead."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .read_ahead import read_ahead


class BlockSource(Sequence):
    """Blocks (X, y) or (X, y, sample_weight) that are read when they are asked for.

    ``len(blocks)`` is their number and ``blocks[number]`` reads one; ``fit_stream`` reads them in a thread, in a new
    order in each epoch.

    Attributes
    ----------
    n_samples : int or None
        Number of samples of all blocks, if it is known without reading them.
    """

    n_samples: int | None = None

    @abstractmethod
    def name(self, number: int) -> str:
        """Where a block comes from, such as its file and row group, for messages."""

    @abstractmethod
    def _read(self, number: int) -> Any:
        """Read a block from where it is."""

    @abstractmethod
    def _block(self, found: Any) -> tuple:
        """(X, y) or (X, y, sample_weight) of what ``_read`` returned. Raises ValueError if that is unsuitable."""

    def __getitem__(self, number):
        """Read a block.

        Raises
        ------
        IndexError
            If there is none of this number.
        OSError
            If it cannot be read; the message names the file.
        ValueError
            If its values are unsuitable.
        """
        number = range(len(self))[number]
        try:
            found = self._read(number)
        except MemoryError:
            raise
        except Exception as error:  # of any library
            raise OSError(f"block {number} ({self.name(number)}) cannot be read: {error}") from error
        try:
            return self._block(found)
        except ValueError as error:
            raise ValueError(f"block {number} ({self.name(number)}): {error}") from error

    def read_ahead(self, numbers: Iterable[int], ahead: int) -> Iterator[tuple[int, tuple]]:
        """Generator of pairs (number, block), which reads up to ``ahead`` blocks in a thread before they are needed."""
        return read_ahead(self.__getitem__, numbers, ahead)
