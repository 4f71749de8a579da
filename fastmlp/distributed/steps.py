"""Steps of a rank: gradients that are added up over the ranks, or own steps whose results are averaged."""

from fastmlp.kernels.spec import Part


class GradientSteps:
    """Steps in which every rank computes the gradient of its part of a batch.

    Parameters
    ----------
    ranks : Ranks
    problem : Problem
    state : TrainingState
        Changed in place, in the same way on all ranks; parameters and slots only by ``store()``.
    batch_size : int
        The most rows of a batch on this rank.
    share : float
        These rows as a part of those of all ranks.
    """

    length = 1  # batches at a time

    def __init__(self, ranks, problem, state, batch_size, share):
        kernels, network, penalty, noise = problem
        self._state, self._update = state, ranks.updates.of(problem, state)
        arrays = self._update.parameters, self._update.gradient
        self._of_part = kernels.prepare_part(network, *arrays, batch_size, penalty, noise)
        self.store = self._update.store

    def run(self, batch, first, sizes, weight, rates):
        """Make a step. Returns this rank's parts of (rows x data loss, rows x penalty) of the batch.

        Parameters
        ----------
        batch : Batches
            The rank's rows.
        first : int
            Place of the rank's first row in the batch.
        sizes : list of one int
            Rows of the batch on all ranks.
        weight : float
            Sum of the weights of these rows.
        rates : array with one number, or None
            Learning rate of the step, if not the optimizer's.
        """
        if not weight:
            return 0.0, 0.0
        state, (n_rows,) = self._state, sizes
        loss, penalty = self._of_part(batch, state.step, Part(first, weight))
        self._update(state.step, None if rates is None else float(rates[0]))
        state.step += 1
        return n_rows * loss, n_rows * penalty


class LocalSteps:
    """Steps that every rank makes on its own parts of some batches, after which weights and state are averaged.

    The arguments are those of GradientSteps; ``length`` is the number of batches between two averages.
    """

    def __init__(self, ranks, problem, state, batch_size, share):
        kernels, network, penalty, noise = problem
        self._ranks, self._state, self.length = ranks, state, ranks.parallel.local_steps
        # Penalties on weights are divided by the rows of a step, here of one rank.
        penalty = penalty._replace(alpha=penalty.alpha * share, l1=penalty.l1 * share)
        if noise is not None:
            noise = noise._replace(seed=(noise.seed + ranks.rank) % 2**63)
        self._train = kernels.prepare_training(
            network, state.optimizer, state.parameters, state.slots, batch_size, penalty, noise
        )

    def run(self, batch, first, sizes, weight, rates):
        """Make steps, one for each of ``sizes``. Arguments and results are those of GradientSteps."""
        state, n_rows = self._state, len(batch.order)
        loss = penalty = 0.0
        if n_rows:
            loss, penalty, _ = self._train(batch, state.step, rates)
        state.step += len(sizes)
        share = n_rows / sum(sizes)
        for array in (state.parameters, state.slots):
            array *= array.dtype.type(share)
            self._ranks.allreduce(array)
        return loss, penalty

    def store(self):
        """Nothing: the state is changed in each step."""
