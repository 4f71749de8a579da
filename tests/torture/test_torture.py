"""The short form of each part of 'make torture', and the page with the figures of the long one."""

import json

import pytest
import torture


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", torture.PARTS)
def test_nothing_breaks(name):
    assert torture.run(name, torture.SHORT)["faults"] == []


def test_the_page_shows_the_results():
    assert torture.TABLE.read_text() == torture.table(json.loads(torture.RESULTS.read_text()))
