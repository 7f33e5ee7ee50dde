"""Data sets by name, splits, minibatches as indices, augmentation and standardization."""

from jnorm.data import augment, batches, datasets, splits, standardize

__all__ = ["augment", "batches", "datasets", "splits", "standardize"]
