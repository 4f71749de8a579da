"""SparseRows as the first layer of a compiled engine takes them."""

# Operations that a matrix product makes in the same time, measured:
NONZERO_FLOPS = 16  # as a nonzero times a weight
UPDATE_FLOPS = 28  # as the update of a weight


def bind_sparse(engine, address, X):
    """Store the addresses of SparseRows in the Run at an address."""
    read_only = engine.read_only
    engine.entries.bind_sparse(address, read_only(X.values), read_only(X.indices), read_only(X.row_starts))


def sparse_flops(network, n_nonzeros, learning=False):
    """Work of the first layer on sparse rows, in operations of a matrix product."""
    return NONZERO_FLOPS * n_nonzeros * network.sizes[1] * (2 if learning else 1)
