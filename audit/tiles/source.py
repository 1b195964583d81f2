"""The resources of C2SP tlog-tiles from one snapshot of a ledger's database, byte for byte."""

import sqlalchemy as sa

from audit.ledger.errors import LedgerDamaged
from audit.ledger.schema import records
from audit.ledger.tree import StoredTiles, newest_checkpoint
from audit.tiles.places import Place, available_width
from audit.tlog.errors import TileError
from audit.tlog.merkle import HASH_SIZE
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile, encode_bundle
from audit.witness.stored import cosigned_note

_LEAVES = (
    sa.select(records.c.idx, records.c.leaf)
    .where(records.c.idx >= sa.bindparam("begin"), records.c.idx < sa.bindparam("end"))
    .order_by(records.c.idx)
)


class NotPublished(LookupError):
    """The newest checkpoint does not cover what was asked for; the message says what it covers."""


class TileSource:
    """What a log publishes, as of its newest checkpoint.

    Any width up to the one that the checkpoint covers is served, since a narrower tile is a prefix of a wider
    one: so whoever holds an older checkpoint finds the partial tiles of its size for ever.

    Args:
        connection: a snapshot, used only to read.
        upto: take the newest checkpoint of at most so many entries; the newest of all unless given.

    Raises:
        LedgerDamaged: the database has no checkpoint.
    """

    def __init__(self, connection: sa.Connection, *, upto: int | None = None) -> None:
        head = newest_checkpoint(connection, upto=upto)
        if head is None:
            raise LedgerDamaged("it has no checkpoint")
        self._connection = connection
        self._tiles = StoredTiles(connection)
        self.size = head.size
        """Number of entries the checkpoint covers."""
        self.checkpoint = cosigned_note(connection, head)
        """The signed checkpoint with the lines of the witnesses that cosigned it."""

    def read(self, place: Place) -> bytes:
        """The bytes of a tile or bundle.

        Raises:
            NotPublished: the newest checkpoint does not cover it.
            LedgerDamaged: it does, and the database does not hold it.
        """
        width = available_width(place, self.size)
        if place.width > width:
            raise NotPublished(
                f"the newest checkpoint covers {self.size} entries, which is less than {place.path}"
            )
        try:
            return self._tile(place) if isinstance(place, Tile) else self._bundle(place)
        except TileError as error:
            raise LedgerDamaged(str(error)) from error

    def _tile(self, place: Tile) -> bytes:
        data = self._tiles.read_tile(place.level, place.index, place.width)
        if len(data) < place.width * HASH_SIZE:
            raise LedgerDamaged(f"its {place.path} is cut short")
        return data[: place.width * HASH_SIZE]

    def _bundle(self, place: Bundle) -> bytes:
        begin = place.index * TILE_WIDTH
        end = begin + place.width
        rows = self._connection.execute(_LEAVES, {"begin": begin, "end": end}).all()
        if [row.idx for row in rows] != list(range(begin, end)):
            raise LedgerDamaged(
                f"its checkpoint covers records {begin} to {end - 1}, and some of them are missing"
            )
        return encode_bundle([row.leaf for row in rows])
