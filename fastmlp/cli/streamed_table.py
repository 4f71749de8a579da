"""A table in Parquet files that are read one row group after another, and the statistics of its columns."""

import numpy as np

from fastmlp.sources.base import BlockSource

from .column_encoder import MAX_CATEGORIES, ColumnEncoder
from .frames import TableError, pd
from .parquet_files import common_schema, frame_of, row_groups_of
from .tables import as_asked, check_complete, check_kinds, check_present, incomplete_rows
from .targets import MAX_CLASSES, classes_of


class StreamedTable:
    """The row groups of Parquet files as frames.

    Parameters
    ----------
    options : SimpleNamespace
        Options of the command train: ``source``, ``target``, ``ignore``, ``text``, ``missing``, ``drop_missing``,
        ``test_size`` and ``seed`` are used.
    """

    def __init__(self, options):
        self.groups, self._options = row_groups_of(options.source), options
        self.names = common_schema(self.groups).names

    def frame(self, number):
        """The frame of a row group, without ignored columns and rows to drop."""
        options = self._options
        frame = frame_of(self.groups[number].read(self.names))
        check_present(frame, [*options.ignore, *options.text, options.target])
        frame = as_asked(frame.drop(columns=list(options.ignore)), options.missing, options.text)
        return frame[~incomplete_rows(frame)].reset_index(drop=True) if options.drop_missing else frame

    def checked_frame(self, number):
        """The same; TableError, which names the row group, for missing values and unsuitable types."""
        frame = self.frame(number)
        try:
            check_kinds(frame, list(frame.columns))
            check_complete(frame, list(frame.columns))
        except TableError as error:
            raise TableError(f"{self.groups[number].name}: {error}") from error
        return frame

    def is_test(self, number, n_rows):
        """Which of the rows of a row group are held out for testing."""
        random_state = np.random.RandomState([self._options.seed, number])
        return random_state.uniform(size=n_rows) < self._options.test_size

    def frames(self, test):
        """Iterate over the frames of the rows for testing, or for training."""
        for number in range(len(self.groups)):
            frame = self.frame(number)
            yield frame[self.is_test(number, len(frame)) == test]


class Statistics:
    """What a plain network needs to know of all rows: the encoding of the columns, and of the target."""

    def __init__(self, table, target, task):
        self._target, self._task = target, task
        self.n_rows = {"train": 0, "test": 0}
        self._n, self._moments, self._values = 0, {}, {}
        for number in range(len(table.groups)):
            frame = table.checked_frame(number)
            n_test = int(table.is_test(number, len(frame)).sum())
            self.n_rows["test"] += n_test
            self.n_rows["train"] += len(frame) - n_test
            if len(frame):
                self._add(frame, table.groups[number].name)

    def _add(self, frame, where):
        before, self._n = self._n, self._n + len(frame)
        for name in frame.columns:
            values = frame[name]
            if pd.api.types.is_numeric_dtype(values):
                values = values.to_numpy(np.float64)
                with np.errstate(over="ignore", invalid="ignore"):
                    added = values.mean(), values.var()
                    self._moments[name] = _combined(self._moments.get(name, (0.0, 0.0)), before, added, len(values))
                if name != self._target:
                    continue
            self._note_values(name, frame[name], where)

    def _note_values(self, name, values, where):
        """Note the different values of a column of strings or of the target, as far as they matter."""
        known = self._values.setdefault(name, set())
        is_target = name == self._target
        if is_target and self._task != "classification" and len(known) > MAX_CLASSES and name in self._moments:
            return  # a number, by regression
        known.update(values.unique() if is_target else values.astype(str).unique())
        if not is_target and len(known) > MAX_CATEGORIES:
            raise TableError(
                f"column {name!r} has more than {MAX_CATEGORIES} distinct strings up to {where}, too many for "
                f"categories. Drop it with --ignore {name!r}."
            )

    def classes(self):
        """The classes of the target, or None for regression; errors as ``classes_of``."""
        values = pd.Series(list(self._values[self._target]), name=self._target)
        return classes_of(values, self._task, self._n)

    def mean_and_std(self, name):
        """Of a numeric column; the standard deviation of a constant is 1."""
        mean, variance = self._moments[name]
        if not (np.isfinite(mean) and np.isfinite(variance)):
            raise TableError(
                f"column {name!r} has numbers that are too large: their mean or standard deviation is not finite."
            )
        return float(mean), float(np.sqrt(variance)) or 1.0

    def encoder(self, names):
        """The ColumnEncoder of the columns, in this order, without the target."""
        columns = []
        for name in names:
            if name == self._target:
                continue
            if name in self._moments and name not in self._values:
                mean, std = self.mean_and_std(name)
                columns.append({"name": name, "mean": mean, "std": std})
            else:
                columns.append({"name": name, "values": sorted(self._values[name])})
        if not columns:
            raise TableError("the table has no columns other than the target.")
        return ColumnEncoder(columns)


def _combined(one, n_one, other, n_other):
    """(mean, variance) of two sets of values from theirs (Chan et al. 1979)."""
    n, step = n_one + n_other, other[0] - one[0]
    mean = one[0] + step * n_other / n
    squares = one[1] * n_one + other[1] * n_other + step * step * n_one * n_other / n
    return mean, squares / n


class TrainingBlocks(BlockSource):
    """The training rows of each row group, encoded by a TableModel."""

    def __init__(self, streamed, model, n_rows):
        self._streamed, self._model, self.n_samples = streamed, model, n_rows

    def __len__(self):
        return len(self._streamed.groups)

    def name(self, number):
        return self._streamed.groups[number].name

    def _read(self, number):
        frame = self._streamed.frame(number)
        return frame[~self._streamed.is_test(number, len(frame))]

    def _block(self, found):
        return self._model.arrays(found)
