"""Claims of lectures on why deep networks train, each measured and judged: a page of verdicts, and their numbers.

``claims N4 I5`` measures those, ``claims`` all that are there. What is recorded already, by the same rules and with the
same options, is not measured again: interrupted, the same command goes on. Results go into a folder with a page that
stands alone, ``index.html``, and ``summary.json``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional

from experiments import checks

FACTORIZES = True
"""Some claims are about eigenvalues."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    ids: Annotated[tuple[str, ...], Positional] = ()
    """The claims, such as N5 S9; none for all."""
    out: Path = Path("results")
    """Folder for the page, the records and the figures; quick results go into its subfolder quick."""
    quick: bool = False
    """Measure at reduced size: to see that everything runs, not for verdicts."""
    only_page: bool = False
    """Measure nothing; draw the page of what is recorded."""
    against: Path | None = None
    """A summary.json of other seeds: how many verdicts agree, and which do not."""
    seeds: int = 32
    """Runs of each arm where their number is fixed, 4 with --quick; where they are added until a verdict stands, at
    most 128 times as many."""
    first_seed: int = 10000
    """The first seed: another one repeats everything with other runs. Those below 10000 were for trying things out."""
    data: str = "digits"
    """The data set on which networks classify, where a claim has none of its own: digits, mnist, uci/NAME."""
    data_dir: Path | None = None
    """Folder that holds mnist/ and uci/; None: the environment variable JNORM_DATA."""
    processes: int | None = None
    """Processes that take a topic each; None: one for each core, up to four, with --quick on a CPU, else one, as every
    sweep has all cores."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        checks.whole(2, seeds=self.seeds)
        checks.whole(0, first_seed=self.first_seed)
        checks.whole(1, processes=1 if self.processes is None else self.processes)


def run(config: Config) -> dict[str, Any]:
    """Measure, judge and draw the page; returns the summary."""
    from experiments.claims import measuring, page, records, registry
    from experiments.claims.agreement import agreement, words
    from experiments.claims.claim import Setup
    from experiments.common import Output

    entries = registry.chosen(config.ids)
    other = {} if config.against is None else records.of_file(config.against)
    output = Output.open(records.folder_for(config.out / "quick" if config.quick else config.out))
    output.bytes("versions.json", page.text(records.versions()))
    seeds = range(config.first_seed, config.first_seed + (4 if config.quick else config.seeds))
    setup = Setup(seeds, output.folder / "stores", config.data_dir, config.data)
    try:
        if not config.only_page:
            measuring.measure(list(entries.values()), setup, output, quick=config.quick, processes=config.processes)
    finally:  # a page of what is done stands at any time
        summary = records.summary(records.read(output.folder))
        output.bytes("summary.json", page.text(summary))
        output.bytes("index.html", page.html(summary, output.folder, quick=config.quick).encode())
    for record in summary["claims"]:
        print(f"{record['id']:<4} {record['verdict']:<14} {record['statement']}")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary["verdicts"].items())
    print(f"\n{counts}: {output.folder / 'index.html'}")
    if config.against is not None:
        print(words(agreement(other, summary)))
    return summary
