"""Backend 'cuda': the contract (contract.py) on an NVIDIA GPU, through kernels that Numba compiles for the network."""
