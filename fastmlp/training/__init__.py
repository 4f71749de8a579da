"""The training loop: mini-batch epochs, L-BFGS, stopping rules, callbacks and interruption."""
