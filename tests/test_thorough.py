"""The parts of the thorough cases."""

import itertools

import pytest

from tests.thorough import in_part


def test_each_case_is_in_one_part():
    names = [f"tests/test_laws.py::test_law[{i}]" for i in range(300)]
    parts = [[name for name in names if in_part(name, f"{i}/3")] for i in range(3)]
    assert sorted(itertools.chain.from_iterable(parts)) == sorted(names)
    assert min(map(len, parts)) > 60  # of 100 on average, with a deviation of 8
    assert all(in_part(name, "0/1") for name in names)


@pytest.mark.parametrize("part", ["3/3", "-1/3", "1", "a/b", "0/0"])
def test_other_parts_are_refused(part):
    with pytest.raises(ValueError, match=r"`part` must be I/N"):
        in_part("name", part)
