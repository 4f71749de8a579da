"""Docstrings that list the names of a table."""


def with_names(**tables):
    """Decorator that replaces {KEY} in a docstring by the quoted names in the table of that keyword.

    So the documentation always matches the code.
    """

    def fill(documented):
        if documented.__doc__:  # None with python -OO
            for key, table in tables.items():
                names = "{" + ", ".join(map(repr, table)) + "}"
                documented.__doc__ = documented.__doc__.replace(f"{{{key}}}", names)
        return documented

    return fill
