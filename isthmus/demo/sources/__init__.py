"""Where the demonstration's data come from: invented, or a directory that is recognised by its files."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from isthmus.demo.errors import DemoError
from isthmus.demo.scenario import Scenario
from isthmus.demo.sources import chicago, generated, gi_bill, synthea

Loader = Callable[[Path], Scenario]

_KNOWN: Final[Mapping[str, tuple[Sequence[str], Loader]]] = {
    "us_gi_bill": (gi_bill.FILES, gi_bill.scenario),
    "synthea_persons": (synthea.FILES, synthea.scenario),
    "chicago_food": (chicago.FILES, chicago.scenario),
}


def load(data: Path | None, work: Path, *, seed: int, today: date) -> Scenario:
    """Returns the scenario that a directory's files belong to, or the invented one.

    Args:
        data: a directory of CSV files, whatever its name; None for invented data.
        work: where invented data are written.
        seed, today: decide what is invented.

    Raises:
        DemoError: the directory is none that the demonstration knows; says which it knows by which files.
    """
    if data is None:
        return generated.scenario(work, seed=seed, today=today)
    if not data.is_dir():
        raise DemoError(f"{data} is not a directory; --data takes one that holds CSV files")
    for files, scenario in _KNOWN.values():
        if all((data / file).is_file() for file in files):
            return scenario(data)
    known = "; ".join(f"{name} by {', '.join(files)}" for name, (files, _) in _KNOWN.items())
    raise DemoError(f"{data} holds no data set that the demonstration knows. It knows {known}")
