"""A training in NumPy and double precision, with the chain rule by hand: what `jnorm.train.loop.trainer` must equal.

The network is ``x @ in``, batch norm or only its scale and shift, tanh, ``@ out``, and the loss is the cross-entropy of
softmax. Nothing of `jnorm` is used: the order of the examples comes in as arrays.
"""

from dataclasses import dataclass

import numpy as np

EPS, DECAY = 1e-5, 0.9
"""Of batch norm: what is added to variances, and how much of the running statistics stays."""


@dataclass(frozen=True)
class Settings:
    """What is fixed for a program: sizes, batch norm, the optimizer, and when to stop."""

    size: int
    batch: int
    epochs: int = 3  # the most of them where training stops early, or is cut short
    steps: int | None = None  # after which it is
    accumulate: int = 1  # microbatches, each with statistics of its own; of a rest as many as keep them no larger
    drop: bool = False  # whether a last batch that is not full is left out
    order: str = "reshuffled"  # or "fixed", "given": which orders come in
    norm: bool = False
    running: bool = True  # whether batch norm keeps statistics; else evaluation goes by those of the data set
    optimizer: str = "momentum"  # or "adam"
    schedule: str = "constant"  # or "inverse time", "cosine"
    wait: int | None = None  # epochs without progress that are waited for; None: no early stopping
    tol: float = 1e-4  # what counts as progress


def rate_at(settings, rate, step, total):
    """The learning rate of a step, of ``total``."""
    if settings.schedule == "inverse time":
        return rate / (1 + 0.2 * step)
    return rate * (1 + np.cos(np.pi * step / total)) / 2 if settings.schedule == "cosine" else rate


def forward(p, x, stats):
    """Logits, and what the way back needs."""
    z = x @ p["in"]
    mean, var = stats or (0.0, 1.0 - EPS)
    unit = (z - mean) / np.sqrt(var + EPS)
    h = np.tanh(unit * p["scale"] + p["shift"])
    return h @ p["out"], (z, unit, h)


def surprisals(logits, y):
    """Minus the log-probability of the right class, and all probabilities."""
    logits = logits - logits.max(-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -logs[np.arange(len(y)), y], np.exp(logs)


def gradient(settings, p, running, x, y, count):
    """The summed losses of a microbatch, the gradient of their sum over ``count``, and the running statistics after."""
    z = x @ p["in"]
    stats = (z.mean(0), z.var(0)) if settings.norm else None
    logits, (z, unit, h) = forward(p, x, stats)
    losses, probabilities = surprisals(logits, y)
    at_logits = (probabilities - np.eye(probabilities.shape[1])[y]) / count
    at_y = at_logits @ p["out"].T * (1 - h**2)
    at_z = at_unit = at_y * p["scale"]
    if settings.norm:
        centred = at_unit - at_unit.mean(0) - unit * (at_unit * unit).mean(0)
        at_z = centred / np.sqrt(stats[1] + EPS)
        n, (mean, var, entries) = len(x), running
        weight = n / (n + DECAY * entries)
        if n > 1:
            var = var + weight * (stats[1] * n / (n - 1) - var)
        if n > 1 or entries > 0:  # one example has no variance, and begins no average
            running = mean + weight * (stats[0] - mean), var, n + DECAY * entries
    grads = {"in": x.T @ at_z, "scale": (at_y * unit).sum(0), "shift": at_y.sum(0), "out": h.T @ at_logits}
    return losses.sum(), grads, running


def updated(settings, p, grads, memory, step, rate):
    """Parameters after a step of heavy-ball momentum .9, or of Adam; and what the optimizer remembers."""
    first, second = memory
    if settings.optimizer == "momentum":
        first = {k: 0.9 * first[k] + g for k, g in grads.items()}
        return {k: v - rate * first[k] for k, v in p.items()}, (first, second)
    first = {k: 0.9 * first[k] + 0.1 * g for k, g in grads.items()}
    second = {k: 0.999 * second[k] + 0.001 * g**2 for k, g in grads.items()}
    m, v = 1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)
    moved = {k: p[k] - rate * (first[k] / m) / (np.sqrt(second[k] / v) + 1e-8) for k in p}
    return moved, (first, second)


def train(settings, p, orders, parts, *, rate, l2, clip):
    """What the training reports.

    ``orders`` has the numbers of the examples for each epoch, ``parts`` maps "train", "dev" and "test" to pairs, ``l2``
    penalizes half the squared outgoing weights, and ``clip`` bounds the norm of the whole gradient.
    """
    x, y = parts["train"]
    running = np.zeros_like(p["scale"]), np.ones_like(p["scale"]), 0
    memory = {k: np.zeros_like(v) for k, v in p.items()}, {k: np.zeros_like(v) for k, v in p.items()}
    used = settings.size // settings.batch * settings.batch if settings.drop else settings.size
    total = settings.steps or settings.epochs * -(-used // settings.batch)
    steps = np.full((total, 2), np.nan)
    curve = np.full((settings.epochs, 2), np.nan)
    best, waited, kept, best_epoch, step = np.inf, 0, None, -1, 0

    def score(p, running, part):
        x = parts[part][0]
        whole = (x @ p["in"]).mean(0), (x @ p["in"]).var(0)
        logits, _ = forward(p, x, (running[:2] if settings.running else whole) if settings.norm else None)
        return surprisals(logits, parts[part][1])[0].mean(), np.mean(logits.argmax(-1) == parts[part][1])

    for epoch in range(settings.epochs):
        for first in range(0, used, settings.batch)[: total - step]:
            row = orders[epoch][first : first + settings.batch]
            pieces = -(-len(row) * settings.accumulate // settings.batch)
            loss, grads = 0.0, {k: np.zeros_like(v) for k, v in p.items()}
            for piece in np.array_split(row, pieces):
                part, new, running = gradient(settings, p, running, x[piece], y[piece], len(row))
                loss, grads = loss + part / len(row), {k: g + new[k] for k, g in grads.items()}
            grads["out"] = grads["out"] + l2 * p["out"]
            norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
            steps[step] = loss, norm
            grads = {k: g * min(1.0, clip / norm) for k, g in grads.items()}
            p, memory = updated(settings, p, grads, memory, step, rate_at(settings, rate, step, total))
            step += 1
        curve[epoch] = score(p, running, "dev")
        cost = curve[epoch, 0]
        if settings.wait is None or cost < best:
            waited = 0 if best - cost >= settings.tol else waited + 1
            best, kept, best_epoch = cost, (p, running), epoch
        else:
            waited += 1
        if settings.wait is not None and waited > settings.wait:
            break
    p, running = kept
    report = {"params": p, "step_loss": steps[:, 0], "step_gradient_norm": steps[:, 1]}
    report |= {"curve_dev_loss": curve[:, 0], "curve_dev_accuracy": curve[:, 1]}
    report |= {} if settings.wait is None else {"epochs": epoch + 1, "best_epoch": best_epoch}
    report |= {"state": running} if settings.norm and settings.running else {}
    for part in ("dev", "test"):
        report[f"{part}_loss"], report[f"{part}_accuracy"] = score(p, running, part)
    return report
