"""Whether a wheel and a source archive hold what they should: ``python .ci/wheel.py WHEEL SDIST``."""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
wheel, sdist = sys.argv[1:]
sources = {str(path.relative_to(ROOT)) for path in (ROOT / "jnorm").rglob("*") if path.suffix in (".py", ".typed")}
with zipfile.ZipFile(wheel) as archive:
    packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
    text = archive.read(metadata).decode()
assert packed == sources, f"the wheel differs from jnorm/: {sorted(packed ^ sources)}"
assert "Requires-Python: >=3.11" in text
assert "License-Expression: MIT" in text
with tarfile.open(sdist) as archive:
    inside = {name.partition("/")[2] for name in archive.getnames()}
needed = sources | {
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "pyproject.toml",
    "docs/index.md",
    "tests/conftest.py",
}
assert needed <= inside, f"the source archive lacks {sorted(needed - inside)}"
print(f"{Path(wheel).name}: {len(sources)} files; {Path(sdist).name}: {len(inside)} files")
