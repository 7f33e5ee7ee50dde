"""Mistakes in data and targets."""

import jax
import numpy as np

from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._outcomes import fitted, labels, one_hot
from jnorm.measure.diagnosis._patient import Patient

ROWS, FEW = 4096, 16


def not_finite(patient: Patient) -> Sign | None:
    """NaN or infinity among data or targets."""
    for name, tree in (("data", patient.x), ("targets", patient.targets)):
        for leaf in jax.tree.leaves(tree):
            if leaf.dtype.kind not in "fc" and leaf.dtype.name != "bfloat16":
                continue
            bad = ~np.isfinite(leaf.astype(np.float64))
            if bad.any():
                rows = np.flatnonzero(bad.reshape(len(leaf), -1).any(1)) if leaf.ndim else np.zeros(1, int)
                text = f"{bad.sum()} of {bad.size} numbers of the {name} are not finite, the first in example {rows[0]}"
                return Sign(text, figures={"count": float(bad.sum()), "example": float(rows[0])})
    return None


def apart(patient: Patient) -> Sign | None:
    """First axes of data, outputs and targets that disagree."""
    outputs = [tuple(np.shape(a)) for a in jax.tree.leaves(patient.outputs)]
    targets = [tuple(np.shape(a)) for a in jax.tree.leaves(patient.batch[1])]
    sizes = [shape[0] if shape else 1 for shape in (*outputs, *targets)]
    if len(set(sizes)) <= 1:
        return None
    data = [tuple(a.shape) for a in jax.tree.leaves(patient.x)]
    shown = f"data of shape {data[0]} give outputs of shape {outputs[0]}, beside targets of shape {targets[0]}"
    return Sign(f"{shown}: the first axes are not the same examples")


def all_alike(patient: Patient) -> Sign | None:
    """Data that are the same for every example."""
    leaves = [leaf for leaf in jax.tree.leaves(patient.x) if leaf.ndim and len(leaf) == patient.examples]
    if patient.examples < 2 or not leaves or any((leaf != leaf[:1]).any() for leaf in leaves):
        return None
    return Sign(f"all {patient.examples} examples have the same data")


def axes(patient: Patient) -> Sign | None:
    """Images whose channels stand where the convolution has a position."""
    for product in patient.products:
        if product.node.operation != "conv_general_dilated" or product.data.leaves:
            continue
        _, channel, *places = product.node.site.params["dimension_numbers"].lhs_spec
        shape = product.data.shape
        channels, sizes = shape[channel], [shape[i] for i in places]
        if channels > 4 >= min(sizes) and (channels in sizes or len(sizes) == 1):
            text = f"the first convolution takes shape {shape} as {channels} channels at {'x'.join(map(str, sizes))}"
            return Sign(f"{text} positions: channels stand in the place of an axis of positions", patient.line(product))
    return None


def _features(patient: Patient) -> np.ndarray | None:
    """What comes into the first product, examples by all else."""
    entry = patient.entry
    if entry is None or not entry.size or not np.isfinite(entry).all():
        return None
    count = len(jax.tree.leaves(patient.batch[0])[0])
    return entry.reshape(count, -1) if len(entry) == count else entry.reshape(-1, entry.shape[-1])


def _sizes(rows: np.ndarray) -> np.ndarray:
    """The root mean square of each feature where it is not zero, so that a rare one is no small one."""
    count = np.maximum((rows != 0).sum(0), 1)
    return np.sqrt((rows**2).sum(0) / count)


def scales(patient: Patient) -> Sign | None:
    """Features of which some are a thousand times larger than others."""
    rows = _features(patient)
    if rows is None:
        return None
    sizes = _sizes(rows)
    sizes = sizes[sizes > 0]
    if len(sizes) < 2:
        return None
    small, large = float(np.quantile(sizes, 0.25, method="lower")), float(sizes.max())
    if large < 100 * small:
        return None
    line = next(patient.line(p) for p in patient.products if not p.data.leaves)
    text = f"features that come into the first layer differ in size: a quarter is below {small:.2g}, one is {large:.2g}"
    return Sign(text, line, {"small": small, "large": large}, sure=large > 1000 * small)


def size(patient: Patient) -> Sign | None:
    """Data that are far from one in size, or whose examples differ by little of it."""
    rows = _features(patient)
    if rows is None or patient.once(scales) is not None:
        return None
    value = float(_sizes(rows.reshape(-1, 1))[0])
    line = next(patient.line(p) for p in patient.products if not p.data.leaves)
    apart = float(np.sqrt(np.mean(rows.var(0)) / np.mean(rows**2))) if value else 1.0
    if len(rows) > 1 and 0 < apart < 0.05:
        text = f"data come into the first layer with a size of {value:.3g}, and examples differ by {apart:.2g} of that"
        return Sign(text, line, {"size": value, "apart": apart}, sure=apart < 0.02)
    if value == 0 or 2e-2 < value < 10:
        return None
    text = f"data that are not zero come into the first layer with a size of {value:.3g}, from {rows.min():.3g} to"
    return Sign(f"{text} {rows.max():.3g}", line, {"size": value}, sure=not 5e-3 < value < 30)


def copies(patient: Patient) -> Sign | None:
    """Examples that are there more than once; data of few values, such as answers and categories, may well be."""
    leaves = [leaf for leaf in jax.tree.leaves(patient.x) if leaf.ndim and len(leaf) == patient.examples]
    if patient.examples < 8 or not any(leaf.dtype.kind == "f" and _measured(leaf[:ROWS]) for leaf in leaves):
        return None
    rows = zip(*(np.ascontiguousarray(leaf[:ROWS]) for leaf in leaves), strict=True)
    different = len({b"".join(part.tobytes() for part in row) for row in rows})
    count = min(patient.examples, ROWS)
    if different > 0.9 * count:
        return None
    text = f"of {count} examples {count - different} are copies of others"
    return Sign(text, figures={"different": float(different)}, sure=different <= count / 2)


def _measured(rows: np.ndarray) -> bool:
    """Whether some feature is no whole number and takes many values, as what is measured does."""
    rows = np.sort(rows.reshape(len(rows), -1), axis=0)
    values = 1 + (np.diff(rows, axis=0) != 0).sum(0)
    return bool(((rows != np.round(rows)).any(0) & (values > FEW)).any())


def one_target(patient: Patient) -> Sign | None:
    """Targets that are the same for all examples, or nearly all."""
    leaves = [leaf for leaf in jax.tree.leaves(patient.targets) if leaf.ndim and len(leaf) > 1]
    if not leaves or patient.examples < 8:
        return None
    if all((leaf == leaf[:1]).all() for leaf in leaves):
        return Sign(f"all {len(leaves[0])} targets are {np.squeeze(leaves[0][0])!s:.40}", figures={"share": 1.0})
    rows = leaves[0].reshape(len(leaves[0]), -1)
    if rows.shape[1] > 64:
        return None
    different, counts = np.unique(rows, axis=0, return_counts=True)
    share = counts.max() / len(rows)
    if len(different) < len(rows) / 4 and share > 0.95:
        return Sign(f"{share:.1%} of the targets are {np.squeeze(different[0])!s:.40}", sure=False)
    return None


def in_order(patient: Patient) -> Sign | None:
    """Examples that are sorted by their label: batches in this order hold one class each."""
    every = patient.targets
    if not isinstance(every, np.ndarray) or every.ndim != 1 or every.dtype.kind not in "iu" or len(every) < 32:
        return None
    if not (np.diff(every.astype(np.int64)) >= 0).all() or every[0] == every[-1]:
        return None
    return Sign(f"examples are sorted by label, from {every[0]} to {every[-1]}", sure=False)


def target_size(patient: Patient) -> Sign | None:
    """Numbers to be said that are far from one in size."""
    outcomes = patient.outcomes
    numbers = None if outcomes is None else fitted(outcomes.targets, outcomes.outputs.shape)
    if outcomes is None or numbers is None or not outcomes["right"] < outcomes.constant:
        return None
    value, middle = float(numbers.std()), float(abs(numbers.mean()))
    if value == 0 or (max(value, middle) < 10 and value > 0.01):
        return None
    text = f"targets have mean {numbers.mean():.3g} and deviation {value:.3g}, outputs start at a size of"
    seen = float(np.sqrt(np.mean(outcomes.outputs**2)))
    return Sign(f"{text} {seen:.2g}", figures={"deviation": value}, sure=max(value, middle) > 100 or value < 1e-3)


def out_of_range(patient: Patient) -> Sign | None:
    """Labels that are no numbers of an output, and that the loss does not leave out."""
    outcomes = patient.outcomes
    if outcomes is None or labels(outcomes.targets, outcomes.outputs.shape) is None:
        return None
    every, classes = np.asarray(patient.targets), outcomes.outputs.shape[-1]
    outside = (every < 0) | (every >= classes)
    masked = (outcomes.targets < 0) | (outcomes.targets >= classes)
    if not outside.any() or (np.isfinite(patient.value) and outcomes.leaves_out(masked)):
        return None
    text = f"labels run from {every.min()} to {every.max()}, the outputs are {classes} classes, 0 to {classes - 1}:"
    return Sign(f"{text} {outside.mean():.1%} are outside", figures={"share": float(outside.mean())})


def rows_of_zeros(patient: Patient) -> Sign | None:
    """Targets of which most are one-hot, and some are nothing but zeros."""
    outcomes, every = patient.outcomes, patient.targets
    if outcomes is None or not one_hot(outcomes.targets, outcomes.outputs.shape):
        return None
    empty = ~every.any(-1)
    if not empty.any():
        return None
    text = f"{empty.sum()} of {empty.size} one-hot targets are rows of zeros: their label was outside of the classes"
    return Sign(text, figures={"count": float(empty.sum())})


def inputs(patient: Patient) -> Sign | None:
    """Targets that are the inputs themselves: tokens that were not shifted."""
    x, targets = patient.x, patient.targets
    tokens = all(isinstance(a, np.ndarray) and a.dtype.kind in "iu" and a.ndim > 1 for a in (x, targets))
    if not tokens or x.shape != targets.shape or (x != targets).any():
        return None
    return Sign("the targets are the inputs, token by token: to copy is all there is to learn")


def future(patient: Patient) -> Sign | None:
    """Next-token targets beside outputs that depend on later inputs: each can see its own target."""
    x, targets = patient.batch
    tokens = all(isinstance(a, jax.Array) and a.dtype.kind in "iu" and a.ndim == 2 for a in (x, targets))
    if not tokens or x.shape != targets.shape or x.shape[1] < 2 or bool((x[:, 1:] != targets[:, :-1]).any()):
        return None
    outputs = patient.outputs
    if not isinstance(outputs, jax.Array) or outputs.shape[:2] != x.shape:
        return None
    other = patient.rerun(x.at[:, -1].set((x[:, -1] + 1) % (x.max() + 1)))
    moved = float(np.abs(np.asarray(other - outputs, np.float64)[:, :-1]).max())
    if moved <= 1e-4 * float(np.abs(np.asarray(outputs, np.float64)).max()):
        return None
    text = f"targets are the next inputs, and earlier outputs move by {moved:.2g} where the last input changes"
    return Sign(f"{text}: they see what they should say", figures={"moved": moved})
