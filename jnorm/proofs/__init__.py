"""Interval proofs about the layer map of SELU (extra ``verify``)."""

from jnorm.proofs import certificate

__all__ = ["certificate"]
