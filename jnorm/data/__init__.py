"""Data: sets, splits, minibatches, augmentation, standardization."""
