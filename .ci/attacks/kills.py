"""Attacks on long runs, whole: ``python .ci/attacks/kills.py [KILLS] [SEED]``.

A sweep of networks with dropout, batch norm and Adam, in segments, is killed (SIGKILL) at random moments, half of the
times as one process and half of the times as two, of which one or both are killed, and started again, until it is
through. All segments are saved, also where that takes more than its share of the time, as on a slow disk. Prints what
each kill cost, and ends with 1 where an array is not that of a sweep that was left alone, byte for byte, or where a
kill has cost more than a segment.
"""

import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEGMENTS = 20
EPOCHS = 30


class Sweep:
    """One or two processes on a store, and how far they say that they are."""

    def __init__(self, folder, processes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        size = ["--network=1", "--always=1", f"--segments={SEGMENTS}", f"--work={EPOCHS}", "--seeds=2"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        self.reports, self.errors, self.processes = [], [], []
        for number in range(processes):
            command = [sys.executable, ROOT / "tests" / "sweeps" / "segments_script.py", folder, *size]
            command += [f"--process={number}", f"--processes={processes}", f"--port={port}"]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            self.processes.append(subprocess.Popen(list(map(str, command)), env=environment, **pipes))
        self.readers = [threading.Thread(target=self.read, args=(process,)) for process in self.processes]
        for reader in self.readers:
            reader.start()

    def read(self, process):
        """Take in what a process reports: finished runs, and what others amount to."""
        for line in process.stderr:
            try:
                done, begun = map(float, line.split())
                self.reports.append(done + begun)
            except ValueError:
                self.errors.append(line)

    def finished(self, patience=600.0):
        """What they print at their end, or None where one was killed."""
        printed = [process.communicate(timeout=patience)[0] for process in self.processes]
        for reader in self.readers:
            reader.join()
        if any(process.returncode for process in self.processes):
            return None
        (words,) = {out.split()[-1] for out in printed}
        return words

    def kill(self, victims):
        """End some of them; the others end by themselves."""
        for process in victims:
            process.kill()
        return self.finished(60.0)


def attacked(folder, processes, kills, chance, expected):
    """The costs of kills, in segments of the runs that go side by side, and whether the result is as expected."""
    costs, reached = [], None
    while True:
        sweep = Sweep(folder, processes)
        while len(sweep.reports) < 3 and sweep.processes[0].poll() is None:  # it begins, goes on, has done a segment
            time.sleep(0.01)
        limit = time.monotonic() + (chance.uniform(0.0, 2.0) if len(costs) < kills else 0.0)
        while time.monotonic() < limit and sweep.processes[0].poll() is None:
            time.sleep(0.005)
        victims = chance.choice([sweep.processes[:1], sweep.processes[1:], sweep.processes]) or sweep.processes
        through = len(costs) >= kills
        words = sweep.finished() if through else sweep.kill(victims)
        if reached is not None and len(sweep.reports) > 1:
            step = processes / SEGMENTS  # in every chunk each process has a run
            costs[-1] = (reached - sweep.reports[1]) / step if sweep.reports[1] < reached else 0.0
            print(f"{processes} processes: killed at {reached:.2f} runs, went on at {sweep.reports[1]:.2f}", flush=True)
        if words is not None:
            return costs, words == expected
        reached = max(sweep.reports, default=reached or 0.0)
        costs.append(0.0)
        if len(costs) > kills:
            print(*sweep.errors, sep="")
            return costs, False


def main(kills, seed):
    """The exit status."""
    chance, wrong = random.Random(seed), 0
    for processes, share in ((1, kills // 2), (2, kills - kills // 2)):
        costs, same, start = [], True, time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            expected = Sweep(Path(folder, "alone"), processes).finished()
            while len(costs) < share and same and expected is not None:  # a sweep may be through before
                store = Path(folder, f"killed-{len(costs)}")
                more, same = attacked(store, processes, share - len(costs), chance, expected)
                costs += more
        most = max(costs, default=0.0)
        print(f"{processes} processes, {len(costs)} kills in {time.monotonic() - start:.0f} s: every array byte-equal:")
        print(f"{same}; the most that a kill cost was {most:.1f} segments, in all {sum(costs):.1f}", flush=True)
        wrong += not same or expected is None or most > 1.01
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, [*sys.argv[1:], *["20", "0"][len(sys.argv) - 1 :]])))
