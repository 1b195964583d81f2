"""What the state machines of the control plane share: a world of their own, and calls that may be refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from isthmus.errors import IsthmusError, Reason
from isthmus.identity import Identity
from tests.integration.control_world import World


class ControlMachine(RuleBasedStateMachine):
    """Makes calls in `world`, which lies in `folder` and goes with the machine."""

    expected: ClassVar[frozenset[Reason]]
    """The reasons of refusals that a caller can act on; there must be no other."""
    folder: Path
    world: World

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    def call(self, identity: Identity) -> Any:
        return self.world.control.call(identity, self.world.credentials(identity).thumbprint, "Test")

    def attempt(self, handler: Any, by: Identity, request: Any, **extra: Any) -> Any:
        """Calls a handler; a refusal is fine, and must be one of those a caller can act on."""
        try:
            return handler(self.world.control, self.call(by), request, **extra)
        except IsthmusError as error:
            assert error.reason in self.expected, error
            return None
