"""Restore the attributes of an estimator after an error."""

from contextlib import contextmanager


def restore(estimator, before):
    """Restore the attributes that an estimator had before a call."""
    vars(estimator).clear()
    vars(estimator).update(before)


@contextmanager
def restored_on_error(estimator, before, kind):
    """Context manager: after an error of that kind the estimator has the attributes in ``before`` again."""
    try:
        yield
    except kind:
        restore(estimator, before)
        raise
