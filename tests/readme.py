"""The README's table of rooms, made from what they say themselves: ``python -m tests.readme`` writes it anew."""

import importlib
from pathlib import Path

import jnorm

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- rooms -->\n", "<!-- end of rooms -->\n"


def rows() -> list[str]:
    """A row a room, from the lowest floor up: its name and what it is. The names in it are on the API pages."""
    table = ["| room | what it holds |", "|---|---|"]
    for room in (room for floor in jnorm.FLOORS for room in floor):
        module = importlib.import_module(f"jnorm.{room}")
        what = (module.__doc__ or "").partition("\n")[0].rstrip(".:").replace("``", "`")
        table.append(f"| `jnorm.{room}` | {what} |")
    return table


def written(text: str) -> str:
    """The README with the table as it should be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return "".join([before, START, "\n".join(rows()), "\n", END, after])


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
