"""Two processes with two virtual devices each, on one machine, against one process."""

import socket
import subprocess
import time

import pytest

from jnorm.sweeps import _files as files
from tests.sweeps.test_store import chunks, script


def two(folder, *options, own=None):
    """Both processes of a sweep over the loopback; some have options of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["--processes", 2, "--devices", 2, "--port", port, *options]
    return [script(folder, "--process", process, *shared, *(own or {}).get(process, ())) for process in (0, 1)]


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


def lacking(folder, process, when):
    """Both processes of a sweep, of which one lacks memory: what they print, and say."""
    processes = two(folder, own={process: ["--lack", when]})
    ends = [process.communicate(timeout=100) for process in processes]  # not a hang
    return (
        [process.returncode for process in processes],
        [out.splitlines()[-1:] for out, _ in ends],
        [e for _, e in ends],
    )


@pytest.mark.thorough
@pytest.mark.parametrize(("process", "when"), [(1, "call"), (0, "call"), (1, "compile")])
def test_all_go_on_with_less_where_one_lacks_memory(tmp_path, process, when):
    codes, (one, other), errors = lacking(tmp_path, process, when)
    assert codes == [0, 0], errors
    assert one == other
    text = f"memory did not suffice for 2 runs side by side (process {process}: RESOURCE_EXHAUSTED: Out of memory"
    assert text in errors[0]  # the first process speaks for all
    assert "did not suffice" not in errors[1]
    ends = [int(name.split("-")[1].split(".")[0]) for name in chunks(tmp_path)][::2]
    assert ends == ([*range(4, 39, 4), 39] if when == "compile" else [8, 16, *range(20, 39, 4), 39])
    (event,) = [line for line in files.lines(tmp_path / "journal.0.jsonl") if "did_not_fit" in line]
    assert (event["did_not_fit"], event["then"]) == ([2, 1, 8, 8, 4], [1, 1, 4, 4, 4])


@pytest.mark.thorough
def test_an_error_in_one_process_is_raised_in_all(tmp_path):
    codes, _, (one, other) = lacking(tmp_path, 1, "error")
    assert 0 not in codes
    assert "ValueError: of the third chunk" in other
    assert "RuntimeError: process 1 raised ValueError: of the third chunk" in one
    assert len(chunks(tmp_path)) == 2 * 2


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
