"""Who calls is known only behind the guard, and codes are spelled as dashboards expect."""

import grpc
import pytest

from isthmus.rpc.caller import caller
from isthmus.rpc.metrics import code_label


def test_a_context_that_nobody_guarded_has_no_caller() -> None:
    with pytest.raises(RuntimeError, match="did not pass the guard"):
        caller(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.CANCELLED, "Canceled"),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
    ],
)
def test_codes_are_spelled_as_the_ecosystems_dashboards_expect(code: grpc.StatusCode, label: str) -> None:
    assert code_label(code) == label
