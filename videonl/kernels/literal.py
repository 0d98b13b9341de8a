"""The operation as the paper writes it, through the N x M matrix: what every form is held to."""

from torch import Tensor

from videonl.kernels.operands import Operands


def literal_sum(op: Operands) -> Tensor:
    """W_z (f(θx, φx) / C) gx -> (B, N, C_out), equations 1 and 6."""
    queries, keys, values = op.embedded()
    return op.out(op.weights(queries, keys) @ values)  # (B, N, M) @ (B, M, D)
