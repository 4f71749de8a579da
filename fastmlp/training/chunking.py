"""Choose the number of batches per native call, so that Ctrl-C and progress bars respond in time."""

CHUNK_SECONDS = 0.1  # target duration of a call
LONGEST_SECONDS = 0.5  # maximum duration, if the overhead of a call is large, as with large networks on a GPU
LEAST_WORK = 0.9  # fraction of a call that should not be overhead


class ChunkSize:
    """Adapts the number of batches per call to the measured speed.

    A call of b batches is assumed to take overhead + b x slope seconds, estimated from two calls of different length.

    Attributes
    ----------
    batches : int
        Number of batches of the next call.
    """

    def __init__(self, batches):
        self.batches, self._overhead, self._last = max(1, int(batches)), 0.0, None

    def update(self, batches, seconds):
        """Update the model with the duration of a call."""
        seconds = max(seconds, 1e-6)
        if self._last is None:
            least = 2 * batches  # a different length, to separate overhead and slope
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
