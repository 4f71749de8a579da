"""Restore the attributes of an estimator after an error."""


def restore(estimator, before):
    """Restore the attributes that an estimator had before a call."""
    estimator.__dict__ = before.copy()  # at once, for other threads


class restored_on_error:
    """Context manager: after an error the estimator has the attributes in ``before`` again."""

    def __init__(self, estimator, before, kind=BaseException):
        self._estimator, self._before, self._kind = estimator, before, kind

    def __enter__(self):
        pass

    def __exit__(self, kind, error, traceback):
        if error is not None and isinstance(error, self._kind):
            restore(self._estimator, self._before)
