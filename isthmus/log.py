"""Logs: one JSON object a line on standard error, with no personal data in it.

Nothing that came from or goes to a data subject belongs in a log line. Should a line name such a thing all the
same, its value is replaced before it is written.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog
from google.protobuf.message import Message

REDACTED: Final = "[redacted]"
_PERSONAL: Final = frozenset(
    {
        "answer",
        "id_number",
        "identifier",
        "payload",
        "predicate",
        "request",
        "response",
        "row",
        "row_set",
        "rows",
        "subject",
        "subject_id",
        "subjects",
        "value",
        "values",
    }
)


def logger(name: str, **context: Any) -> structlog.typing.FilteringBoundLogger:
    """Returns a logger whose lines carry `logger` and whatever `context` says, such as `exchange=…`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(logger=name, **context)
    return bound


def configure(*, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Sends the process's logs, structlog's and the standard library's, to `stream` (standard error).

    Called once by a `main`, never by a library.

    Raises:
        ValueError: `level` is not DEBUG, INFO, WARNING, ERROR or CRITICAL.
    """
    numbers = logging.getLevelNamesMapping()
    if level.upper() not in numbers:
        raise ValueError(f"{level!r} is no log level; there are DEBUG, INFO, WARNING, ERROR and CRITICAL")
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(numbers[level.upper()]),
        # In one write, so that the lines of workers that share a stream do not run into each other.
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(stream or sys.stderr, numbers[level.upper()], shared)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces what may be personal: values under telling names, protobuf messages and raw bytes."""
    for key, value in event.items():
        if key in _PERSONAL or isinstance(value, bytes | Message):
            event[key] = REDACTED
    return event


def _route_standard_library(stream: TextIO, level: int, processors: list[structlog.typing.Processor]) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors, _drop_exception_text],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries are chattier than their users need; their debug lines may also quote what they handle.
    root.setLevel(max(level, logging.WARNING))


def _drop_exception_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # An exception's text may quote a statement's parameters, and so a person.
    error = event.pop("exc_info", None)
    if isinstance(error, tuple) and error[0] is not None:
        event["exception"] = error[0].__qualname__
    return event
