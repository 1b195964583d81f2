"""Log lines are JSON, in any script, and hold nobody's data even when a caller of the logger slips."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from isthmus.log import REDACTED, configure, logger
from isthmus.v1.common_pb2 import Subject


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure(level="info", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_its_exchange(output: io.StringIO) -> None:
    logger("exchange", exchange="exchanges/1").info("已释放", rows_released=2)
    line = json.loads(output.getvalue())
    assert line["event"] == "已释放"
    assert "已释放" in output.getvalue()
    assert (line["logger"], line["exchange"], line["rows_released"]) == ("exchange", "exchanges/1", 2)
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_what_may_be_personal_is_replaced(output: io.StringIO) -> None:
    person = Subject(scheme="cn.resident-id", id="110101199003072316")
    logger("exchange").info("slip", subject_id="110101199003072316", about=person, raw=b"110101199003072316")
    line = json.loads(output.getvalue())
    assert (line["subject_id"], line["about"], line["raw"]) == (REDACTED, REDACTED, REDACTED)


def test_lines_below_the_level_are_not_written(output: io.StringIO) -> None:
    logger("exchange").debug("detail")
    assert output.getvalue() == ""


def test_a_librarys_exception_is_logged_by_type_without_its_text(output: io.StringIO) -> None:
    try:
        raise ValueError("no such person 110101199003072316")
    except ValueError:
        logging.getLogger("some.library").exception("query failed")
    line = json.loads(output.getvalue())
    assert (line["logger"], line["exception"]) == ("some.library", "ValueError")
    assert "110101199003072316" not in output.getvalue()


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no log level"):
        configure(level="LOUD")
