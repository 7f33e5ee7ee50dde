"""Every seed under every configuration: on all devices and processes, resumable, and what a sweep hands over."""

from jnorm.sweeps import search
from jnorm.sweeps._progress import Progress
from jnorm.sweeps._results import SweepResult
from jnorm.sweeps._store import load
from jnorm.sweeps._sweep import sweep

__all__ = ["Progress", "SweepResult", "load", "search", "sweep"]
