"""Reading ahead: in order, in a thread that ends with its user, no more than asked for, with errors in their place."""

import threading
import time

import pytest

from fastmlp import MLP, Layer, MLPRegressor
from fastmlp.sources.base import BlockSource
from fastmlp.sources.read_ahead import read_ahead
from patience import PATIENCE


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastmlp-reader")]


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_blocks_come_in_order_and_the_thread_ends(ahead):
    assert list(read_ahead(lambda number: number**2, [5, 1, 5, 0], ahead)) == [(5, 25), (1, 1), (5, 25), (0, 0)]
    assert list(read_ahead(abs, [], ahead)) == []
    assert not readers()


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_than_the_given_number_is_read_ahead(ahead):
    begun = []
    blocks = read_ahead(begun.append, range(10), ahead)
    next(blocks)
    wait_for(lambda: len(begun) == 1 + ahead)
    time.sleep(0.05)
    assert begun == list(range(1 + ahead))
    next(blocks)
    wait_for(lambda: len(begun) == 2 + ahead)
    blocks.close()
    assert not readers()


def test_an_error_is_raised_in_its_place():
    def read(number):
        if number == 2:
            raise OSError("gone")
        return number

    blocks = read_ahead(read, range(10), 5)
    assert [next(blocks), next(blocks)] == [(0, 0), (1, 1)]
    with pytest.raises(OSError, match="gone"):
        next(blocks)
    assert not readers()


class Numbers(BlockSource):
    """Blocks of eight samples, which note the threads that read them."""

    n_samples = 80

    def __init__(self):
        self.threads = []

    def __len__(self):
        return 10

    def name(self, number):
        return f"part {number}"

    def _read(self, number):
        self.threads.append(threading.current_thread().name.rpartition("_")[0])
        return [[float(number)]] * 8, [0.0] * 8

    def _block(self, found):
        return found


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [None, Stop, KeyboardInterrupt, ValueError])
def test_a_fit_reads_in_a_thread_that_ends_with_it(error):
    """Also after an error of a callback between epochs, or in one."""
    blocks, model = Numbers(), MLP([Layer(1, "identity")], random_state=0)

    def raises(model, epoch, results):
        if error is not None:
            raise error

    if error is None:
        model.fit_stream(blocks, 2, callbacks=raises)
        assert blocks.threads == ["", *["fastmlp-reader"] * 20]  # the first one is read before, to be checked
    else:
        with pytest.raises(error):
            model.fit_stream(blocks, 2, callbacks=raises)
    assert not readers()


def test_the_thread_ends_after_an_error_within_an_epoch(monkeypatch):
    calls = []

    def failing(epochs, part):
        calls.append(part)
        if len(calls) == 3:
            raise Stop

    monkeypatch.setattr("fastmlp.training.streamed_epochs.StreamedEpochs._run_part", failing)
    with pytest.raises(Stop) as caught:
        MLP([Layer(1, "identity")]).fit_stream(Numbers(), 2, batch_size=8)
    assert not readers()
    del caught  # its frames hold the iterators


def test_the_thread_ends_after_an_error_while_the_scale_is_computed(monkeypatch):
    def failing(*call, **options):
        raise Stop

    monkeypatch.setattr("fastmlp.training.scaling.StandardScaler.partial_fit", failing)
    with pytest.raises(Stop) as caught:
        MLPRegressor(scale="standard", max_iter=1).fit_stream(Numbers())
    assert not readers()
    del caught  # its frames hold the iterators


def test_errors_of_a_block_name_it():
    class Bad(Numbers):
        def _read(self, number):
            if number == 4:
                raise RuntimeError("a library failed")
            return super()._read(number)

        def _block(self, found):
            if found[0][0] == [7.0]:
                raise ValueError("unsuitable")
            return found

    with pytest.raises(OSError, match=r"^block 4 \(part 4\) cannot be read: a library failed$"):
        Bad()[4]
    with pytest.raises(ValueError, match=r"^block 7 \(part 7\): unsuitable$"):
        Bad()[7]
    assert list(Numbers()[-1][0]) == [[9.0]] * 8
