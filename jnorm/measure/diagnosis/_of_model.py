"""Mistakes that the program of model and loss shows, and those of its parameters."""

import math
from typing import Any

import jax
import numpy as np

from jnorm import jaxprs
from jnorm.jaxprs import Line
from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._graph import NONE, PRODUCTS, REDUCES, STOPS, Node, Value, behind, moved_from
from jnorm.measure.diagnosis._patient import Patient
from jnorm.measure.gradcheck import check

ROOTS = frozenset({"rsqrt", "sqrt", "pow"})


def mixed(patient: Patient) -> Sign | None:
    """Outputs of an example that depend on other examples, without a batch norm that would say why."""
    count = len(jax.tree.leaves(patient.batch[0])[0])
    outputs = [np.asarray(a, np.float64) for a in jax.tree.leaves(patient.outputs)]
    if count < 3 or any(a.ndim == 0 or len(a) != count for a in outputs):
        return None
    over = [node for node in patient.model if _reduces_examples(node, count)]
    if _has_batch_norm(patient, over):
        return None
    other = patient.rerun(jax.tree.map(lambda a: a.at[-1].set(a[0]), patient.batch[0]))
    for a, b in zip(outputs, jax.tree.leaves(other), strict=True):
        moved = np.abs(np.asarray(b, np.float64) - a)[:-1]
        if moved.max() > 1e-4 * np.abs(a).max():
            text = f"where the last of {count} examples changes, {np.mean(moved.reshape(count - 1, -1).any(1)):.0%} of"
            line = over[0].site.line if over else None
            return Sign(f"{text} the other outputs change, by up to {moved.max():.2g}: examples are mixed", line)
    return None


def _reduces_examples(node: Node, count: int) -> bool:
    if node.operation not in REDUCES or 0 not in node.site.params.get("axes", ()):
        return False
    return all(v.x and bool(v.shape) and v.shape[0] % count == 0 for v in node.values())


def _has_batch_norm(patient: Patient, over: list[Node]) -> bool:
    """Whether a mean over examples goes into a root, as standard deviations do."""
    sums = {id(node) for node in over}
    roots = [node for node in patient.model if node.operation in ROOTS]
    return any(id(node) in sums for root in roots for value in root.values() for node in behind(value, PRODUCTS))


def stopped(patient: Patient) -> Sign | None:
    """Parameters that reach the loss only through what hands no gradient back."""
    result = patient.graph.results[0]
    if not isinstance(result, Value):
        return None
    found = [i for i in sorted(result.leaves - result.live) if not patient.gradients[i].any()]
    if not found:
        return None
    nodes = [node for node in behind(result) if NONE.union(*(v.live for v in node.values())) & set(found)]
    stops = [n for n in nodes if not any(set(found) & v.live for v in n.outputs)]
    first = min(stops, key=lambda n: (n.operation not in STOPS, n.site.index), default=None)
    text = f"{_names(patient, found)} reach the loss, and no gradient comes back"
    text += f": all ways pass `{first.operation}`" if first else ""
    return Sign(text, first.site.line if first else None, {"parameters": float(len(found))})


def unused(patient: Patient) -> Sign | None:
    """Parameters that the loss does not depend on."""
    result = patient.graph.results[0]
    left = [i for i in range(len(patient.names)) if not isinstance(result, Value) or i not in result.leaves]
    if not left:
        return None
    sure = not isinstance(result, Value) or not result.leaves
    return Sign(f"the loss does not depend on {_names(patient, left)}", figures={"parameters": len(left)}, sure=sure)


def linear(patient: Patient) -> Sign | None:
    """Two layers with nothing between them that bends, which are one; a narrow middle is low rank, and on purpose."""
    found = []
    for product in patient.products:
        before = patient.graph.between(product)
        if before is None or before.grouped or product.grouped:
            continue
        if before.units >= min(before.channels, product.units):
            found.append((before, product))
    if not found:
        return None
    lines = [line.number if (line := patient.line(product)) else "?" for product in found[0]]
    text = f"the product of line {lines[0]} goes into that of line {lines[1]} with nothing between them that bends"
    text += f", and so do {len(found) - 1} more" if len(found) > 1 else ""
    return Sign(f"{text}: two layers that are one", patient.line(found[0][1]), {"pairs": float(len(found))})


def running(patient: Patient) -> Sign | None:
    """Values of the network that are divided by roots of constants: running statistics in the place of the batch's."""
    for node in patient.model:
        if node.operation not in ROOTS or node.outputs[0].x:
            continue
        if int(np.prod(node.outputs[0].shape)) < 2:
            continue
        source = _plain_source(node.inputs[0])
        scaled = _scales_the_network(node)
        if source is None or scaled is None:
            continue
        variance = patient.leaves[next(iter(source.leaves))] if isinstance(source, Value) else np.asarray(source)
        text = f"a norm divides by the roots of numbers that are no variances of this batch, {variance.min():.3g} to"
        text += f" {variance.max():.3g}"
        text += ", as they were at the start" if (variance == 1).all() else ""
        return Sign(f"{text}: running statistics, as in evaluation", scaled)
    return None


def _plain_source(value: Any) -> Any:
    """The array that a value is, but for a number that was added: a constant, or a parameter."""
    while isinstance(value, Value) and (node := value.node) is not None:
        if node.operation not in ("add", "max"):
            moved = moved_from(value)
            if moved is value:
                return None
            value = moved
            continue
        value = max(node.inputs, key=lambda v: math.prod(np.shape(v) if not isinstance(v, Value) else v.shape))
    if isinstance(value, Value):
        return value if value.leaves and not value.x else None
    return value


def _scales_the_network(root: Node) -> Line | None:
    """The line where what comes from a root meets a value of the network."""
    nodes = [root]
    for node in nodes:
        for use in (use for value in node.outputs for use in value.uses):
            if use.operation in ("mul", "div") and any(v.moves for v in use.values()):
                return use.site.line
            if not any(v.x for v in use.values()) and len(nodes) < 16:
                nodes.append(use)
    return None


def alike(patient: Patient) -> Sign | None:
    """Units whose weights are all the same, zeros among them, and get the same gradient: they stay the same."""
    found = []
    for product in patient.products:
        leaf = moved_from(product.weight)
        if not isinstance(leaf, Value) or leaf.node is not None or len(leaf.leaves) != 1:
            continue
        number = next(iter(leaf.leaves))
        weight, gradient = patient.leaves[number], patient.gradients[number]
        if weight.ndim < 2 or weight.shape[-1] < 2 or (weight != weight[..., :1]).any():
            continue
        if np.abs(gradient - gradient[..., :1]).max() <= 1e-5 * np.abs(gradient).max():
            found.append((number, product))
    if not found:
        return None
    value, names = patient.leaves[found[0][0]].flat[0], _names(patient, [number for number, _ in found])
    text = f"all weights of a position in {names} are the same ({value:.3g}), and so are their gradients: units"
    return Sign(f"{text} cannot become different", patient.line(found[0][1]), {"parameters": float(len(found))})


def same_draws(patient: Patient) -> Sign | None:
    """Two parameters that were drawn with one key: all their numbers are the same, up to a factor."""
    known: dict[tuple[int, ...], list[int]] = {}
    for i, leaf in enumerate(patient.leaves):
        if leaf.size < 8 or leaf.std() == 0:
            continue
        for j in known.get(leaf.shape, []):
            a, b = (patient.leaves[k] / patient.leaves[k].std() for k in (i, j))
            if np.abs(a - b).max() < 1e-5 * np.abs(a).max():
                return Sign(f"{patient.name(j)} and {patient.name(i)} are the same draw", sure=False)
        known.setdefault(leaf.shape, []).append(i)
    return None


def gains(patient: Patient) -> list[tuple[float, int, Any]]:
    """Of weights that are parameters as they are: deviation times root of the fan-in, which parameter, the product."""
    found = []
    for product in patient.products:
        leaf = moved_from(product.weight)
        if isinstance(leaf, Value) and leaf.node is None and len(leaf.leaves) == 1 and product.fan_in >= 8:
            number = next(iter(leaf.leaves))
            found.append((float(patient.leaves[number].std()) * np.sqrt(product.fan_in), number, product))
    return found


def too_large(patient: Patient) -> Sign | None:
    """Weights whose deviation times root of the fan-in is above four in most layers; initializers have one or two."""
    return _gain(patient, lambda gain: gain > 4)


def too_small(patient: Patient) -> Sign | None:
    """Weights whose deviation times root of the fan-in is below 1/50 in most layers, and not zero."""
    return _gain(patient, lambda gain: 0 < gain < 0.02)


def _gain(patient: Patient, bad: Any) -> Sign | None:
    every = gains(patient)
    found = [row for row in every if bad(row[0])]
    if len(found) * 2 <= len(every) or not found:
        return None
    gain, number, product = found[len(found) // 2]
    text = (
        f"weights of {_names(patient, [n for _, n, _ in found])} multiply sizes: {patient.name(number)} has deviation"
    )
    text += f" {patient.leaves[number].std():.2g}, times the root of its fan-in {product.fan_in} that is {gain:.2g}"
    return Sign(text, patient.line(product), {"gain": gain, "deviation": float(patient.leaves[number].std())})


def own_rules(patient: Patient) -> list[jaxprs.Site]:
    """Equations whose derivative is somebody's own: rules that are not JAX's, and stops of a gradient.

    Not counted is the ``stop_gradient`` of a maximum that is subtracted before exponentials.
    """
    found = []
    for site in jaxprs.walk(patient.program):
        if site.primitive in jaxprs.CUSTOM and not any(s.is_of_jax for s in (*site.around, site)):
            found.append(site)
    for node in patient.graph.nodes:
        if node.operation == "stop_gradient" and any(v.leaves for v in node.values()) and not _is_of_maximum(node):
            found.append(node.site)
    return found


def _is_of_maximum(stop: Node) -> bool:
    value = stop.inputs[0]
    while isinstance(value, Value) and (node := value.node) is not None:
        if node.operation in ("reduce_max", "pmax"):
            return True
        largest = [v for v in node.values() if v.leaves and v.live]
        if node.operation not in ("select_n", "max", "broadcast_in_dim", "reshape") or len(largest) != 1:
            return False
        value = largest[0]
    return False


def gradient(patient: Patient) -> Sign | None:
    """A derivative that is not that of the loss's values, where the program has rules that are not JAX's own."""
    if not patient.once(own_rules) or patient.once(stopped) is not None:
        return None
    few = jax.tree.map(lambda a: a[:8], patient.batch) if patient.aligned else patient.batch
    of_loss = lambda params, x, targets: patient.of_batch(params, x, targets)[0]
    report = check(of_loss, patient.params, *few, directions=1, entries=2, order=1)
    if report.verdict not in ("wrong", "not deterministic"):
        return None
    fault = next(iter(report.faults), None)
    worst = max(report.leaves, key=lambda leaf: leaf.distance, default=None)
    text = f"the gradient is {report.verdict}" + (f": {fault}" if fault else "")
    if worst is not None and not fault:
        text += f": {worst.leaf} has {worst.gradient:.3g} where values say {worst.difference:.3g}"
    return Sign(text, fault.line if fault else None)


def _names(patient: Patient, leaves: list[int]) -> str:
    shown = ", ".join(patient.name(i) for i in leaves[:3])
    return shown + (f" and {len(leaves) - 3} more" if len(leaves) > 3 else "")
