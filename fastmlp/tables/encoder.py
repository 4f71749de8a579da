"""TableEncoder: a table as a matrix of scaled numbers, flags and codes."""

import warnings
from dataclasses import asdict, fields

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import TransformerTags
from sklearn.utils.validation import check_is_fitted

from fastmlp.validation.checks import check_dtype, check_integer

from .categories import CategoryColumn
from .cells import BOOLEANS, DATES, EMPTY, NUMBERS, TEXTS, read_cells
from .dates import DateColumn
from .frames import as_table
from .kinds import UnusedColumn, listing
from .numbers import FlagColumn, NumberColumn

COLUMNS = {NUMBERS: NumberColumn, BOOLEANS: FlagColumn, TEXTS: CategoryColumn, DATES: DateColumn}
BY_CLASS = {found.__name__: found for found in (*COLUMNS.values(), UnusedColumn)}


class TableEncoder(BaseEstimator):
    """Encode the columns of a table as a matrix of scaled numbers, flags and codes.

    X may be a frame of pandas, polars or another library that narwhals supports, an Arrow table, a two-dimensional
    array, a list of rows, or a dict of columns. The same values give the same matrix whatever holds them.

    Parameters
    ----------
    dtype : {'float32', 'float64'}, default='float32'
        Data type of the matrix.
    min_frequency : int, default=1
        Categories that occur in fewer rows in fit have no code of their own: like unseen ones, they have the code -1.

    Attributes
    ----------
    columns_ : list
        A record of each column of the table: NumberColumn, FlagColumn, CategoryColumn, DateColumn or UnusedColumn.
    encoded : list of Encoded
        A record of each column of the matrix: its name, kind ('number', 'rank', 'flag' or 'codes'), the column of the
        table that it was made of, the number of codes, and quantiles.
    n_features_in_ : int
        Number of columns of the table.
    feature_names_in_ : ndarray of str
        Names of the columns, if the table has names. Columns of arrays are called x0, x1 and so on.

    Notes
    -----
    - Numbers: the median is subtracted, the result z is divided by the range between the quartiles (half of the whole
      range if that is 0), and clipped smoothly: z / sqrt(1 + (z / 3)^2). Infinite numbers are not counted in fit, and
      become 3 or -3. Durations and times of day are numbers of seconds. A column with more than 10 different numbers
      has a second column with the normal quantiles of their ranks, from -3 to 3.
    - Missing numbers become 0. If there were any in fit, another column is 1 where they are missing, otherwise -1.
      Booleans (1, -1) and dates are treated alike.
    - Strings and categories: codes in the order of the sorted values. Missing is a value of its own, the last one, if
      it occurred in fit. Unseen values, and missing ones that did not occur in fit, have the code -1. Values are
      compared as strings, so the number 1 is the category '1', but not '01'.
    - Dates and times: year, month, day of week, hour, and days since the first date in fit, each like a number. Those
      with a time zone are converted to UTC.
    - Columns are not used if they are constant or empty, or if they hold free text (more than 50 rows, of which more
      than half have different values; there is a warning).
    - Columns with names are found by their names, in any order. Columns that are not used, or that did not occur in
      fit, are ignored.
    """

    def __init__(self, dtype="float32", min_frequency=1):
        self.dtype = dtype
        self.min_frequency = min_frequency

    # Not a TransformerMixin, which turns the matrix into a frame where scikit-learn is configured so.
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=[])
        tags.input_tags.allow_nan = tags.input_tags.categorical = True
        return tags

    def fit(self, X, y=None):
        """Learn scales and categories.

        Parameters
        ----------
        X : table of shape (n_rows, n_columns)
        y : ignored

        Returns
        -------
        TableEncoder

        Raises
        ------
        ValueError
            If X is not a table, has no rows or columns, has several columns of the same name, or none that can be used.
        TypeError
            If a cell holds a list or another nested value.
        """
        self._check_parameters()
        table = as_table(X)
        for number, what in enumerate(("sample", "feature")):
            if not table.shape[number]:
                raise ValueError(
                    f"Found array with 0 {what}(s) (shape={table.shape}) while a minimum of 1 is required."
                )
        names = table.names or [f"x{number}" for number in range(table.shape[1])]
        columns = [self._fit_column(name, read_cells(table.column(i), name)) for i, name in enumerate(names)]
        if all(isinstance(column, UnusedColumn) for column in columns):
            raise ValueError(_nothing_left(columns, table.shape[0]))
        self._set_columns(columns, table.names is not None)
        return self

    def _check_parameters(self):
        check_dtype(self.dtype)
        check_integer("min_frequency", self.min_frequency, 1)

    def _fit_column(self, name, cells):
        if cells.kind == EMPTY:
            return UnusedColumn(name, "no values")
        options = {"min_frequency": self.min_frequency} if cells.kind == TEXTS else {}
        return COLUMNS[cells.kind].fit(name, cells, **options)

    def _set_columns(self, columns, with_names):
        self.columns_, self.n_features_in_ = columns, len(columns)
        vars(self).pop("feature_names_in_", None)
        if with_names:
            self.feature_names_in_ = np.array([column.name for column in columns], object)

    def transform(self, X):
        """Encode a table.

        Parameters
        ----------
        X : table of shape (n_rows, n_columns)

        Returns
        -------
        ndarray of shape (n_rows, n_encoded)

        Raises
        ------
        ValueError
            If a column is missing, or holds another kind of values than in fit.
        TypeError
            If a cell holds a list or another nested value.
        """
        check_is_fitted(self)
        table = as_table(X)
        matrix = np.empty((table.shape[0], len(self.encoded)), check_dtype(self.dtype))
        place = iter(matrix.T)
        for column, cells in self._cells(table):
            for values, part in zip(column.encode(cells), [next(place) for _ in column.encoded], strict=True):
                part[:] = values
        return matrix

    def fit_transform(self, X, y=None):
        """Learn scales and categories, and encode the same table: see ``fit`` and ``transform``.

        Parameters
        ----------
        X : table of shape (n_rows, n_columns)
        y : ignored

        Returns
        -------
        ndarray of shape (n_rows, n_encoded)
        """
        return self.fit(X).transform(X)

    def cells_of(self, X):
        """A list of (record, Cells) of the columns of a table that are used; the errors are those of ``transform``."""
        check_is_fitted(self)
        return list(self._cells(as_table(X)))

    def _cells(self, table):
        for column, number in self._places(table):
            yield column, read_cells(table.column(number), column.name)

    def names_in(self, X):
        """Names of the columns of a table, in its order; those of fit for columns that fit had."""
        table = as_table(X)
        names = list(table.labels or (column.name for column in self.columns_))
        for column, number in self._places(table, used=False):
            names[number] = column.name
        return names

    def _places(self, table, used=True):
        """(record, its number in the table) of each column of fit that is used, or of all that the table has."""
        wanted = [(column, i) for i, column in enumerate(self.columns_) if column.encoded or not used]
        named = hasattr(self, "feature_names_in_")
        numbers = dict(zip(table.labels or (), range(table.shape[1])))
        labels = self.feature_names_in_ if named else [str(number) for number in range(self.n_features_in_)]
        if numbers.keys() == set(labels):  # also the numbers of the columns of a pandas frame
            return [(column, numbers[labels[number]]) for column, number in wanted]
        if named and table.names is not None:
            absent = [column.name for column, _ in wanted if column.encoded and column.name not in numbers]
            if absent:
                listed = listing(map(repr, absent))
                raise ValueError(f"X has no column {listed}, which fit had: add it, with missing values if unknown.")
            return [(column, numbers[column.name]) for column, _ in wanted if column.name in numbers]
        if table.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {table.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input."
            )
        if named or table.names is not None:
            found, fitted = ("does not have valid", "with") if named else ("has", "without")
            warnings.warn(
                f"X {found} feature names, but {type(self).__name__} was fitted {fitted} feature names: the order of "
                "its columns must be that of fit."
            )
        return wanted

    @property
    def encoded(self):
        """A record of each column of the matrix."""
        check_is_fitted(self)
        return [encoded for column in self.columns_ for encoded in column.encoded]

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of the matrix.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        return np.array([encoded.name for encoded in self.encoded], object)

    def describe(self):
        """Describe how each column is encoded.

        Returns
        -------
        list of dict
            With 'name', 'kind' ('numbers', 'booleans', 'strings', 'dates' or 'not used') and 'description', such as
            'numbers: median 3.2, scale 1.5, 12 missing' or '14 categories'.
        """
        check_is_fitted(self)
        return [
            {"name": column.name, "kind": column.kind, "description": column.describe()} for column in self.columns_
        ]

    def saved_state(self):
        """The state of this encoder as stored in a model file, a dict."""
        check_is_fitted(self)
        return {
            "parameters": self.get_params(),
            "with_names": hasattr(self, "feature_names_in_"),
            "columns": [{"class": type(column).__name__, **asdict(column)} for column in self.columns_],
        }

    @classmethod
    def from_saved_state(cls, saved):
        """Create an encoder from the result of ``saved_state``."""
        encoder = cls(**saved["parameters"])
        encoder._check_parameters()
        encoder._set_columns([_record(**column) for column in saved["columns"]], saved["with_names"])
        return encoder


def _record(**saved):
    """The record of a column from a file; ValueError if it is not valid."""
    kind = BY_CLASS[saved.pop("class")]
    for field in fields(kind):
        if field.type in (str, bool, int) and type(saved[field.name]) is not field.type:
            raise ValueError(f"a {kind.__name__} has the {field.name} {saved[field.name]!r}")
    return kind(**saved)


def _nothing_left(columns, n_rows):
    """The message for a table without a column that can be used."""
    if n_rows == 1:
        return "X has only one sample (n_samples=1): at least two different rows are needed."
    reasons = listing(f"{column.name!r} ({column.reason})" for column in columns)
    return f"no column of X can be used: {reasons}. At least one must hold numbers, categories or dates that differ."
