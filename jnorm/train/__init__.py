"""Training as one pure function of a key."""

from jnorm.train import early_stopping, evaluation, gradients, loop, schedules

__all__ = ["early_stopping", "evaluation", "gradients", "loop", "schedules"]
