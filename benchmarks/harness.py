"""How every benchmark measures: side by side in one run, medians, with the machine named beside the figures."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

quick = False
"""Whether two rounds of everything are enough, which the command line says."""

RESULTS = Path(__file__).with_name("results")


class Row(NamedTuple):
    """One figure: what was measured, in which unit, and what was asked of it (``least`` or ``most``, or neither)."""

    what: str
    measured: float
    unit: str
    least: float | None = None
    most: float | None = None
    detail: str = ""

    @property
    def asked(self) -> str:
        """The requirement in words."""
        if self.least is not None:
            return f">= {self.least:g} {self.unit}"
        return f"< {self.most:g} {self.unit}" if self.most is not None else "-"

    @property
    def met(self) -> bool:
        """Whether the figure is what was asked."""
        return (self.least is None or self.measured >= self.least) and (self.most is None or self.measured < self.most)


def turns(rounds: int) -> Iterator[int]:
    """The numbers of the rounds, at most two where it has to be `quick`; a terminal shows which one it is."""
    count = min(rounds, 2) if quick else rounds
    for turn in range(count):
        if sys.stderr.isatty():
            print(f"\r  {turn + 1} of {count} ", end="\r", file=sys.stderr, flush=True)
        yield turn


def interleave(contenders: Mapping[str, Callable[[], Any]], *, rounds: int = 9) -> dict[str, list[float]]:
    """Seconds of each contender in every round. Within a round all run once, in alternating order, so that a slow spell
    of the machine meets all of them. The first call, which compiles, is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        jax.block_until_ready(call())
    for turn in turns(rounds):
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(contenders[name]())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def fresh(code: str, *, rounds: int = 5) -> float:
    """Median of the number that a program prints, run in new processes without any compilation cache."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    runs = (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in turns(rounds)
    )
    return statistics.median(float(run.stdout) for run in runs)


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo")
    models = (
        {line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line}
        if (info.exists())
        else {platform.processor()}
    )
    packages = ("jax", "jaxlib", "numpy", "scipy")
    return {
        "cpu": ", ".join(sorted(models)),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "device": ", ".join(sorted({device.device_kind for device in jax.devices()})),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def line(row: Row) -> str:
    """A row as a line of its own."""
    asked = "" if row.least is row.most is None else f", asked {row.asked}{'' if row.met else ': NOT MET'}"
    return f"{row.what}: {row.measured:.4g} {row.unit}{asked}{f' ({row.detail})' if row.detail else ''}"


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows and the machine in Markdown."""
    cells = [("measure", "asked", "measured", "met", "detail"), ("---", "---:", "---:", "---", "---")]
    for row in rows:
        met = "-" if row.least is row.most is None else "yes" if row.met else "NO"
        cells.append((row.what, row.asked, f"{row.measured:.4g} {row.unit}", met, row.detail))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in cells)
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    return "\n".join([f"# {title}", "", *lines, "", where, ""])


def save(name: str, title: str, rows: Sequence[Row]) -> list[Path]:
    """Write ``results/NAME.json`` and ``results/NAME.md``."""
    data = {"benchmark": name, "machine": machine(), "rows": [{**row._asdict(), "met": row.met} for row in rows]}
    RESULTS.mkdir(exist_ok=True)
    paths = [RESULTS / f"{name}.json", RESULTS / f"{name}.md"]
    paths[0].write_text(json.dumps(data, indent=1) + "\n")
    paths[1].write_text(table(title, rows))
    return paths
