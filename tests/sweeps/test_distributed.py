"""Two processes with two virtual devices each, on one machine, against one process."""

import socket
import subprocess
import time

import pytest

from tests.sweeps.test_store import chunks, script


def two(folder, *options):
    """Both processes of a sweep over the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["--processes", 2, "--devices", 2, "--port", port, *options]
    return [script(folder, "--process", process, *shared) for process in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process with one device prints: the losses, bit by bit, and the number of failures."""
    process = script(tmp_path_factory.mktemp("alone"))
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return printed


def finished(processes):
    printed = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        printed.append(output.splitlines(keepends=True)[-1])  # the collectives greet each other before
    return printed


def test_two_processes_give_the_result_of_one(tmp_path, alone):
    assert finished(two(tmp_path)) == [alone, alone]
    names = list(chunks(tmp_path))
    assert len(names) == 2 * 5  # 39 runs, four devices that hold two each, a part for each process
    assert names[:2] == ["00000000-00000008.0of2.npz", "00000000-00000008.1of2.npz"]
    # one process reads what two have written, and does what is missing
    (tmp_path / "chunks" / names[3]).unlink()
    process = script(tmp_path)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, printed) == (0, alone), errors
    assert "count as not run" in errors


@pytest.mark.thorough
@pytest.mark.parametrize("victim", [0, 1])
def test_one_process_is_killed_the_other_ends_with_an_error_and_a_resume_completes(tmp_path, victim):
    steps = ("--steps", 10_000)
    processes = two(tmp_path, *steps)
    end = time.monotonic() + 100
    while len(chunks(tmp_path) if (tmp_path / "chunks").exists() else {}) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    processes[victim].kill()  # the others notice at the next exchange, and leave when its heartbeat has been missed
    try:
        _, errors = processes[1 - victim].communicate(timeout=100)  # not a hang
    except subprocess.TimeoutExpired:
        processes[1 - victim].kill()
        raise
    processes[victim].communicate()
    assert processes[1 - victim].returncode != 0
    if victim:  # where the first one is gone JAX itself may be quicker to end the others
        assert "a process of this sweep has gone" in errors
    kept = chunks(tmp_path)
    assert 3 <= len(kept) < 10
    one, other = finished(two(tmp_path, *steps))
    assert one == other
    assert {name: data for name, data in chunks(tmp_path).items() if name in kept} == kept
