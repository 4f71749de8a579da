"""The training loop: mini-batch epochs, full-batch solvers, stopping rules, callbacks and interruption."""
