"""Interval proofs of the self-normalizing map, and certificate files that verify faster than they were proved."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import Row, fresh
from experiments.certificate import prove
from jnorm.proofs import certificate

FIRST = """
import time
from jnorm.proofs.certificate import theorem1, theorem2, theorem3
start = time.perf_counter()
assert all(theorem().holds for theorem in (theorem1, theorem2, theorem3))
print(time.perf_counter() - start)
"""


def seconds(call: Callable[[], object], rounds: int = 5) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def run() -> Iterator[Row]:
    """All rows; about a minute."""
    three = lambda: [certificate.theorem1(), certificate.theorem2(), certificate.theorem3()]
    yield Row("theorems 1 to 3, in a new process", fresh(FIRST), "s", most=1.0, detail="after import")
    yield Row("theorems 1 to 3, warm", seconds(three, 30), "s", most=1.0)
    for what, make in (("theorems 1 to 3", three), ("every statement", lambda: prove(tol=1e-9, budget=20_000))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "certificate.json"
            proofs = make()
            certificate.write(path, proofs)
            pairs = [(seconds(lambda path=path: certificate.check(path), 1), seconds(make, 1)) for _ in range(5)]
        count = sum(len(proof.boxes) for proof in proofs)
        detail = f"{pairs[-1][0]:.3g} against {pairs[-1][1]:.3g} s, {len(proofs)} statements, {count} boxes"
        ratio = statistics.median(check / proof for check, proof in pairs)
        yield Row(f"checking over proving, {what}", ratio, "times", most=1.0, detail=detail)
