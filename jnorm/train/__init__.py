"""Training as one pure function of a key."""

from jnorm.train import averages, early_stopping, evaluation, gradients, loop, schedules, transforms

__all__ = ["averages", "early_stopping", "evaluation", "gradients", "loop", "schedules", "transforms"]
