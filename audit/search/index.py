"""What the audit service searches with: the file of columns, who keeps it, and who finds records by it."""

import threading
from pathlib import Path

from audit.background import Background
from audit.search.find import Finder
from audit.search.keep import INTERVAL_S, Read, SegmentKeeper
from audit.search.store import SegmentStore
from audit.tlog.keys import SignerKey

_PAUSE_S = 0.05


class SearchIndex:
    """The search index of a ledger. `start` it; `stop` it in any case.

    Args:
        path: the file in which columns are kept; it is made when it is missing.
        read: opens a snapshot of the ledger.
        log_key: the log's key, with which columns are sealed.
    """

    def __init__(self, path: Path, read: Read, log_key: SignerKey) -> None:
        self._store = SegmentStore(path, log_key)
        self._stopping = threading.Event()
        keeper = SegmentKeeper(read, self._store, pause=_PAUSE_S)
        self._keeping = Background("search", lambda: keeper.keep(self._stopping.is_set), INTERVAL_S)
        self.finder = Finder(self._store)

    def start(self) -> None:
        """Keep what is missing, now and from now on."""
        self._keeping.start()

    def stop(self) -> None:
        """Let go of the file."""
        self._stopping.set()
        self._keeping.stop()
        self._store.close()
