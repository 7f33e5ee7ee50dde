import os

import pytest

from jnorm._ground import atomic


@pytest.mark.parametrize("stopped", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, call, stopped):
    atomic.write(tmp_path / "a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(stopped))
        with pytest.raises(type(stopped), match="could not write '.*a': No space" if stopped.args else None):
            atomic.write(tmp_path / "a", b"new")
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("a", b"old")]
    atomic.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_the_error_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"could not write '.*none/a'"):
        atomic.write(tmp_path / "none" / "a", b"")
