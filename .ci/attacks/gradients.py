"""Gradient checks of every public function that has a gradient, of jnorm and of `jax.nn`: none may raise an alarm.

``python .ci/attacks/gradients.py`` takes some twenty minutes; a part of a name as an argument picks functions.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tests.measure.test_no_false_alarm import COARSE, FUNCTIONS, OURS, THEIRS, alarm


def main(part: str = "") -> int:
    """The number of alarms; each is printed."""
    cases = [(name, FUNCTIONS[name].call, FUNCTIONS[name].arguments, 1) for name in OURS]
    cases += [(f"jax.nn.{name}", call, [np.asarray(x)], 2) for name, (call, x) in THEIRS.items()]
    alarms = 0
    for name, call, arguments, order in cases:
        for dtype in ("float32", "float64"):
            if part not in name:
                continue
            start = time.perf_counter()
            said = alarm(call, arguments, dtype, order, COARSE.get(name, ()))
            alarms += bool(said)
            print(f"{name}, {dtype}: {said or 'right'} ({time.perf_counter() - start:.1f} s)", flush=True)
    print(f"{alarms} alarms")
    return alarms


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
