"""Training by several processes that mpiexec started: one fit, whose batches they share."""
