"""A witness's configuration, `witness.toml`; deploy/witness.toml shows and explains every key."""

from dataclasses import dataclass
from pathlib import Path

from audit.config import MetricsSettings
from audit.tiles.address import split_address
from audit.tlog.keys import VerifierKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSettings:
    """The witness.

    Attributes:
        address: where it listens, `host:port`; port 0 takes a free one. Plain HTTP.
        key: the file of its key, as `isthmus witness keygen` makes it.
        memory: the file that remembers what it vouched for; never to be restored from an older copy.
        logs: the vkeys of the logs that it follows, from a source that their operators cannot change.
    """

    address: str
    key: Path
    memory: Path
    logs: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.logs:
            raise ValueError("logs must name the vkey of at least one log")
        split_address(self.address)
        keys = self.keys()
        if min(len({key.name for key in keys}), len({key.public_key for key in keys})) != len(keys):
            raise ValueError("each of the logs has a name and a key of its own")

    def keys(self) -> tuple[VerifierKey, ...]:
        """The keys of the logs."""
        return tuple(VerifierKey.parse(each) for each in self.logs)


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessConfig:
    """All of `witness.toml`."""

    witness: WitnessSettings
    metrics: MetricsSettings | None = None
