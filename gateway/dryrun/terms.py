"""Other terms tried on the past exchanges of a contract. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from gateway.dryrun.facts import facts_of, fields_of
from gateway.dryrun.past import Past
from gateway.dryrun.report import ALLOW, DENY, UNDECIDED, Tried
from gateway.policy.engine import PolicyEngine
from gateway.policy.rules import Rule

_CONSENT: Final = "CONSENT"

DECIDED_BY_TERMS: Final = frozenset(
    {
        "system-not-listed",
        "purpose-not-allowed",
        "fields-outside-contract",
        "mode-not-allowed",
        "evidence-missing",
        "break-glass-not-allowed",
        "contract-not-yet-valid",
        "contract-expired",
    }
)
"""The rules that other terms may answer otherwise; what every other rule refused stays refused."""

_CONSENT_RULES: Final = "consent-"


@dataclass(frozen=True, slots=True)
class TermsTrial:
    """Decides past exchanges by other terms.

    Args:
        engine: the policy in force, local rules included.
        terms: the document of the terms to try.
        offset: the deployment's offset from UTC.
    """

    engine: PolicyEngine
    terms: Mapping[str, Any]
    offset: timedelta

    def decide(self, past: Past, recorded: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Tried:
        """Returns how the exchange would be decided.

        Args:
            past: the exchange.
            recorded: the document of the terms it was decided by.
            entry: the document of the catalogue entry at the time.
        """
        if past.decision == ALLOW:
            return self._of_release(past, recorded, entry)
        return self._of_denial(past, recorded, entry)

    def _of_release(self, past: Past, recorded: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Tried:
        fired = self._fired(past, self.terms, entry, past.consented)
        if not fired:
            return Tried(ALLOW)
        # What refuses under the recorded terms too is not the doing of the other terms.
        also = set(self._fired(past, recorded, entry, past.consented))
        reasons = tuple(rule.reason.name for rule in fired if rule not in also)
        return Tried(DENY, reasons) if reasons else Tried(ALLOW)

    def _of_denial(self, past: Past, recorded: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Tried:
        if not past.rules or any(self._stays(rule, past) for rule in past.rules):
            return Tried(DENY, past.reasons)
        given, known = fields_of(self.terms), fields_of(recorded)
        purpose = past.purpose or min(self.terms["purposes"], default="")
        # The best case: whatever refuses this would refuse the exchange as well.
        best = replace(past, purpose=purpose, fields=(known & given) or given)
        fired = self._fired(best, self.terms, entry, recorded["legal_basis"] == _CONSENT)
        if certain := [rule for rule in fired if rule.id in DECIDED_BY_TERMS or _about_consent(rule.id)]:
            return Tried(DENY, tuple(rule.reason.name for rule in certain))
        fields_fit = "fields-outside-contract" not in past.rules and known <= given
        return Tried(ALLOW) if past.purpose and fields_fit and not fired else Tried(UNDECIDED)

    def _stays(self, rule: str, past: Past) -> bool:
        if _about_consent(rule):
            glass = self.terms["break_glass"]
            opened = past.emergency and glass["allowed"] and past.system in glass["systems"]
            return bool(self.terms["legal_basis"] == _CONSENT and not opened)
        return rule not in DECIDED_BY_TERMS

    def _fired(
        self, past: Past, terms: Mapping[str, Any], entry: Mapping[str, Any] | None, consented: bool
    ) -> tuple[Rule, ...]:
        facts = facts_of(past, terms, entry, consented=consented, offset=self.offset)
        return self.engine.decide(facts).rules


def _about_consent(rule: str) -> bool:
    return rule.startswith(_CONSENT_RULES)
