"""Another policy tried on the recorded past: the rules that come with the software, and other added ones. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import resources
from typing import Any, Final

import cedarpy

from gateway.dryrun.facts import facts_of
from gateway.dryrun.past import Past
from gateway.dryrun.report import ALLOW, DENY, UNDECIDED, Tried
from gateway.policy.engine import CORE_FILE, PolicyEngine, PolicyFile
from gateway.policy.rules import POLICY_ERROR

_NOT_POLICY: Final = frozenset({"provider-veto", "control-policy", POLICY_ERROR.id})


class PolicyTrial:
    """Decides past exchanges by another policy.

    Args:
        current: the added files in force.
        proposed: the added files to try instead.
        offset: the deployment's offset from UTC.

    Raises:
        PolicyInvalid: a file cannot be used.
    """

    def __init__(
        self, current: Sequence[PolicyFile], proposed: Sequence[PolicyFile], *, offset: timedelta
    ) -> None:
        self._engine = PolicyEngine(proposed)
        self._current_digest = PolicyEngine(current).digest
        self._offset = offset
        core = resources.files("gateway.policy").joinpath(CORE_FILE).read_text(encoding="utf-8")
        self._fixed = _NOT_POLICY | _bodies([PolicyFile(CORE_FILE, core)]).keys()
        before, after = _bodies(current), _bodies(proposed)
        self._kept = frozenset(name for name, body in after.items() if before.get(name) == body)
        self._only_fewer = after.keys() <= self._kept

    @property
    def digest(self) -> str:
        """The digest that records would show under the proposed policy."""
        return self._engine.digest

    def decide(self, past: Past, recorded: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Tried:
        """Returns how the exchange would be decided. Arguments as for `TermsTrial.decide`."""
        if past.decision != ALLOW:
            return self._of_denial(past)
        facts = facts_of(past, recorded, entry, consented=past.consented, offset=self._offset)
        ruling = self._engine.decide(facts)
        return Tried(ALLOW) if ruling.allowed else Tried(DENY, tuple(each.name for each in ruling.reasons))

    def _of_denial(self, past: Past) -> Tried:
        if not past.rules or any(rule in self._fixed for rule in past.rules):
            return Tried(DENY, past.reasons)
        if past.policy_digest != self._current_digest:
            return Tried(UNDECIDED)
        if any(rule in self._kept for rule in past.rules):
            return Tried(DENY, past.reasons)
        # The rules that stay did not refuse it then, and there are no others: nothing would refuse it now.
        return Tried(ALLOW) if self._only_fewer else Tried(UNDECIDED)


def _bodies(files: Sequence[PolicyFile]) -> dict[str, str]:
    """The rules of these files by `@id`, each as one text that is the same for the same rule."""
    found: dict[str, str] = {}
    for file in files:
        for policy in json.loads(cedarpy.policies_to_json_str(file.text))["staticPolicies"].values():
            found[policy["annotations"]["id"]] = json.dumps(policy, sort_keys=True)
    return found
