"""Every seed under every configuration: on all devices and processes, resumable, and what a sweep hands over.

- **Programs.** Names in ``static`` (depth, activation) make a program each; all other hyperparameters are traced, so
  that a whole grid of learning rates is one compilation. Programs are compiled in parallel threads, and the persistent
  compilation cache is used where it is on.
- **Order.** Runs are arranged by the contents of their configuration and by seed: in whatever order a grid is written,
  the results are the same, bit for bit. Another chunk or number of devices may change rounding.
- **Devices.** The runs of a chunk are split over all devices of the mesh. On a CPU, XLA does small matrix products on
  one core: call `use_cores` before JAX computes anything.
- **Processes.** After ``jax.distributed.initialize()`` every process makes the same call. Each saves the runs of its
  own devices, and all return the whole result. Where one dies, the others end with an error; the same call resumes.
- **Stores.** With ``store`` a chunk is on the disk before it is reported, while the next one is computed: see `load`.
  A sweep that was killed goes on where it was, by the plan that it had, and ends as if it had not been killed, bit for
  bit on the same machine. A store belongs to one program, its data and those settings of JAX that change numbers: any
  other is refused, and told what differs. Rounding also depends on the device, on jaxlib and on ``XLA_FLAGS``: with
  others a store goes on, and its journal says which chunks were made with what.
- **Growth.** With more seeds, or other values in the grid, a store computes the runs that are new, and what comes back
  is what a new sweep would return, bit for bit if it has as many runs side by side. New runs get the plan of the old
  ones, but where these were fewer than a device could have done side by side.
- **Stages.** With ``until`` seeds are added only where a rule of `jnorm.statistics.sequential` is undecided.
- **Segments.** A ``train`` that also has ``train.segments``, a number, ``train.begin(key, shared, **hyperparameters)``,
  which returns what a run carries, a pytree of arrays, ``train.advance(key, shared, carried=..., **hyperparameters)``,
  which returns what it carries a segment later, and ``train.finish`` of the same arguments, which returns what
  ``train`` does, goes by segments, as that of ``jnorm.train.loop.trainer(segment=...)`` does. With a store, what the
  runs of a chunk carry is on the disk after a segment while the next is computed, two of them side by side: a process
  that is killed costs a segment. Segments that are so short that saving them would take more than 2 % of the
  processor's time are saved now and then, and progress counts parts of runs. XLA may round a program of one segment
  otherwise than one of all.
- **Platforms.** What a CPU has begun no GPU or TPU finishes, nor the reverse: a table is the work of one platform. By
  default a float32 product keeps 24 bits on a CPU, 11 on a GPU with TF32 and 8 on a TPU, and exp, log and erf are
  coarser there. Runs are ordered by configuration: some would come from one platform and some from the other, and that
  would look like an effect of their hyperparameters. A finished store is read anywhere, one in which nothing is
  finished begins anew, and another model of GPU goes on, with a warning.
- **Memory.** A chunk that does not fit, when it is compiled or when it runs, is made smaller in all processes, with a
  warning and a line in the journal: at first fewer runs in a row, which changes no bit, then fewer side by side.
- **Failures.** A run that diverges is NaN in its own lane and the rest go on: see `SweepResult`.
"""

from jnorm.sweeps import search
from jnorm.sweeps._devices import use_cores
from jnorm.sweeps._progress import Progress
from jnorm.sweeps._results import SweepResult
from jnorm.sweeps._store import load
from jnorm.sweeps._sweep import sweep

__all__ = ["Progress", "SweepResult", "load", "search", "sweep", "use_cores"]
