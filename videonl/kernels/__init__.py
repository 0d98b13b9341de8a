"""Exact ways to compute a sum over all pairs: tensors in, tensors out."""
