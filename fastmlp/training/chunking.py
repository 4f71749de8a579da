"""How many batches one native call makes: Python, and with it Ctrl-C, has to wait for them."""

CHUNK_SECONDS = 0.1  # that a call should take
LONGEST_SECONDS = 0.5  # and may take where much of it is the way there and back, as with large networks on a GPU
LEAST_WORK = 0.9  # the share of a call that is work


class Pace:
    """A call of b batches is taken to last overhead + b x slope seconds; two calls that differ in length tell both."""

    def __init__(self, batches):
        self.batches, self._overhead, self._last = max(1, int(batches)), 0.0, None

    def note(self, batches, seconds):
        """Learn from a call."""
        seconds = max(seconds, 1e-6)
        if self._last is None:
            least = 2 * batches  # to learn something
        else:
            least, (before, then) = 1, self._last
            if max(batches, before) > 1.5 * min(batches, before):
                slope = max((seconds - then) / (batches - before), 0.0)
                self._overhead = max(seconds - batches * slope, 0.0)
        self._last = batches, seconds
        slope = max(seconds - self._overhead, 0.01 * seconds) / batches
        work = max(CHUNK_SECONDS - self._overhead, self._overhead * LEAST_WORK / (1 - LEAST_WORK))
        most = LONGEST_SECONDS / seconds * batches
        self.batches = max(1, int(min(max(work / slope, least), most)))
