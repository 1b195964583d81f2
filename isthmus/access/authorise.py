"""Decides who may call which method, by the Cedar rules in `control.cedar`.

The decision is a pure function of the caller's role and the method, so it is remembered; nothing else is.
"""

import hashlib
from functools import lru_cache
from importlib import resources
from typing import Final

import cedarpy

from isthmus.errors import PermissionDenied
from isthmus.identity import Identity, Role
from isthmus.reasons import Reason

POLICY_FILE: Final = "control.cedar"
SCHEMA_FILE: Final = "control.cedarschema"

_PACKAGE: Final = "isthmus.v1."
_MAX_METHOD: Final = 128
_MOST_REMEMBERED: Final = 1024


class ControlPolicyInvalid(ValueError):
    """The control policy does not parse, or does not fit its schema."""


class ControlAuthoriser:
    """Refuses every call that no rule permits. Safe to use from many threads.

    Call it with an identity and a full method name, such as `/isthmus.v1.ExchangeService/Query`.

    Args:
        policy: the Cedar rules; those of the package unless given.

    Raises:
        ControlPolicyInvalid: `policy` does not parse, or names a role, service or method there is not.
    """

    def __init__(self, policy: str | None = None) -> None:
        schema_text = _packaged(SCHEMA_FILE)
        policy_text = _packaged(POLICY_FILE) if policy is None else policy
        self._schema = cedarpy.Schema.from_str(schema_text)
        try:
            self._policies = cedarpy.PolicySet.from_str(policy_text)
        except ValueError as error:
            raise ControlPolicyInvalid(f"{POLICY_FILE}: {error}") from error
        checked = cedarpy.validate_policies(policy_text, self._schema)
        if not checked.validation_passed:
            raise ControlPolicyInvalid(f"{POLICY_FILE}: {checked.errors[0].error}")
        self._entities = cedarpy.Entities.from_json_str("[]")
        self._digest = hashlib.sha256(f"{schema_text}\0{policy_text}".encode()).hexdigest()
        self._permits = lru_cache(maxsize=_MOST_REMEMBERED)(self._evaluate)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the schema and the rules."""
        return self._digest

    def __call__(self, identity: Identity, full_method: str) -> None:
        """Returns when `identity` may call `full_method`.

        Raises:
            PermissionDenied: ROLE_NOT_ALLOWED. An engine that fails refuses.
        """
        if len(full_method) <= _MAX_METHOD and self._permits(identity.role, full_method):
            return
        raise PermissionDenied(
            Reason.ROLE_NOT_ALLOWED,
            f"the role {identity.role.value} may not call {full_method[:_MAX_METHOD]}; the rules in "
            f"{POLICY_FILE} say who may",
            metadata={"role": identity.role.value, "method": full_method[:_MAX_METHOD]},
        )

    def _evaluate(self, role: Role, full_method: str) -> bool:
        service, _, method = full_method.removeprefix("/").partition("/")
        if not service.startswith(_PACKAGE):
            return False
        request = {
            "principal": {"type": "Isthmus::Role", "id": role.value},
            "action": {"type": "Isthmus::Action", "id": method},
            "resource": {"type": "Isthmus::Service", "id": service.removeprefix(_PACKAGE)},
            "context": {},
        }
        result = cedarpy.is_authorized(request, self._policies, self._entities, self._schema)
        return result.allowed and not result.diagnostics.errors


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
