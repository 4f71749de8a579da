"""Read the next blocks in a thread while the last ones are learned from."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice


def read_ahead(read, numbers, ahead):
    """Iterate over pairs (number, ``read(number)``) in order; a thread reads up to ``ahead`` of them in advance.

    An error of ``read`` is raised in its place. Closing the iterator waits for the read in progress and ends the
    thread.
    """
    numbers, waiting = iter(numbers), deque()
    with ThreadPoolExecutor(1, "fastmlp-reader") as reader:
        try:
            waiting.extend((number, reader.submit(read, number)) for number in islice(numbers, ahead))
            while waiting:
                number, block = waiting.popleft()
                block = block.result()  # and forget the future, which holds the block too
                waiting.extend((later, reader.submit(read, later)) for later in islice(numbers, 1))
                yield number, block
                del block
        finally:
            for _, block in waiting:
                block.cancel()
