"""The witness protocol over HTTP, a WSGI application: POST of `/add-checkpoint`, and nothing else."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from audit.witness.metrics import WitnessMetrics
from audit.witness.protocol import MAX_REQUEST_BYTES, PATH, SIZE_TYPE
from audit.witness.witness import Refused, Witness
from isthmus.log import logger

_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: HTTPStatus
    body: bytes
    kind: str = _TEXT
    more: tuple[tuple[str, str], ...] = ()


class WitnessApp:
    """Answers for one witness.

    Args:
        witness: decides.
        metrics: counts.
    """

    def __init__(self, witness: Witness, metrics: WitnessMetrics) -> None:
        self._witness = witness
        self._metrics = metrics

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        answer = self._answer(environ)
        self._metrics.answered(answer.status)
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            *answer.more,
        ]
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        return [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ.get("PATH_INFO") != PATH:
            return _said(HTTPStatus.NOT_FOUND, f"there is {PATH}")
        if environ["REQUEST_METHOD"] != "POST":
            return _said(HTTPStatus.METHOD_NOT_ALLOWED, "use POST", (("Allow", "POST"),))
        body = environ["wsgi.input"].read(MAX_REQUEST_BYTES + 1)
        try:
            return Answer(HTTPStatus.OK, self._witness.add_checkpoint(body))
        except Refused as error:
            return self._refused(error)
        except sqlite3.DatabaseError as error:
            logger("witness").error("cannot remember, so does not cosign", problem=str(error))
            return _said(HTTPStatus.SERVICE_UNAVAILABLE, "cannot remember it now; try again", _LATER)

    def _refused(self, error: Refused) -> Answer:
        if error.split is not None:
            self._metrics.split(error.split.origin)
            logger("witness").error("a log split", log=error.split.origin, size=error.split.size)
        status = HTTPStatus(error.status)
        if error.size is not None:
            return Answer(status, f"{error.size}\n".encode(), SIZE_TYPE)
        return _said(status, str(error))


_LATER: Final = (("Retry-After", "5"),)


def _said(status: HTTPStatus, words: str, more: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status, f"{words}\n".encode(), more=more)
