"""The training loop and all that it needs: batches, stopping rules, callbacks, interruption, L-BFGS."""
