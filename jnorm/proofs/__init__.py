"""Interval proofs about the layer maps of SELU and of any elementwise activation (extra ``verify``)."""

from jnorm.proofs import certificate

__all__ = ["certificate"]
