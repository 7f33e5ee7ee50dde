"""In an environment without extras every module is imported, or an error names the extra that it lacks."""

import importlib
import re
import sys
import types
from collections.abc import Callable, Iterator

import jnorm


def modules(module: types.ModuleType) -> Iterator[str]:
    """The public modules below one, by name."""
    for name in module.__all__:
        if isinstance(getattr(module, name), types.ModuleType):
            yield f"{module.__name__}.{name}"
            yield from modules(getattr(module, name))


def lacks(call: Callable[[], object]) -> str | None:
    """The extra that an error names, or None where nothing is lacking."""
    try:
        call()
    except ImportError as error:
        named = re.search(r'pip install "jnorm\[(\w+)\]"', str(error))
        if named is None:
            raise
        return named[1]
    return None


assert "site-packages" in jnorm.__file__, f"not the installed package: {jnorm.__file__}"
found = {}
for room in jnorm.__all__:
    found[room] = lacks(lambda: importlib.import_module(f"jnorm.{room}"))  # noqa: B023 (called at once)
    for name in [] if found[room] else modules(importlib.import_module(f"jnorm.{room}")):
        assert lacks(lambda: importlib.import_module(name)) is None, f"{name} needs an extra to be imported"  # noqa: B023
lacking = {room: extra for room, extra in found.items() if extra}
assert lacking == {"plots": "plot"}, lacking
assert lacks(lambda: jnorm.data.datasets.load("digits")) == "experiments"
assert lacks(lambda: jnorm.proofs.certificate.theorem1()) == "verify"
print(f"Python {sys.version.split()[0]}: {len(found)} rooms without extras; what lacks one names it")
