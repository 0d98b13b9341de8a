"""The operation as the paper writes it, with the N x M matrix: the reference for every form."""

from torch import Tensor

from videonl.kernels.operands import Operands


def literal_sum(op: Operands) -> Tensor:
    """W_z (f(θx, φx) / C) gx -> (B, N, C_out), equations 1 and 6."""
    queries, keys, values = op.embedded()
    return op.out(op.weights(queries, keys) @ values)  # (B, N, M) @ (B, M, D)
