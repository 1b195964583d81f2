"""Decides exchanges by the Cedar rules in `exchange.cedar` and those that a deployment adds.

Cedar skips a policy that errs, a forbid included, so every diagnostic error is a denial here.
docs/POLICY.md tells an official how to read and extend the rules.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import cedarpy

from gateway.policy.facts import Facts
from gateway.policy.rules import POLICY_ERROR, FailedRule, Rule, explain
from isthmus.reasons import Reason

CORE_FILE: Final = "exchange.cedar"
SCHEMA_FILE: Final = "exchange.cedarschema"
_MAX_FILES: Final = 100
_MAX_FILE_BYTES: Final = 1 << 20
_PERMIT: Final = "exchange-permitted"


class PolicyInvalid(ValueError):
    """A policy file cannot be used. The message names the file and says what is wrong."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy file: its name, which appears in messages and in the digest, and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policy says about one exchange: allowed, or refused by `rules`, which then is not empty."""

    facts: Facts
    rules: tuple[Rule, ...]

    @property
    def allowed(self) -> bool:
        """Whether no rule refuses the exchange."""
        return not self.rules

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reason of every rule that refuses it, each once, in the order of the files."""
        return tuple(dict.fromkeys(rule.reason for rule in self.rules))

    def failed_rules(self) -> tuple[FailedRule, ...]:
        """Every rule that refuses it, in words."""
        return tuple(explain(rule, self.facts) for rule in self.rules)


class PolicyEngine:
    """The policy of one deployment. Safe to use from many threads.

    Args:
        additions: further files; they may only forbid.
        remember: how many decisions are remembered; the least recently used goes first. What is remembered
            is a pure function of the facts, never the facts themselves.

    Raises:
        PolicyInvalid: a file does not parse, does not fit the schema, permits something, or has a rule without
            a unique `@id` and a known `@reason`.
    """

    def __init__(self, additions: Sequence[PolicyFile] = (), *, remember: int = 16_384) -> None:
        schema = _packaged(SCHEMA_FILE)
        files = (_packaged(CORE_FILE), *additions)
        self._schema = cedarpy.Schema.from_str(schema.text)
        self._rules = _read_rules(files)
        text = "\n".join(file.text for file in files)
        self._policies = cedarpy.PolicySet.from_str(text)
        self._entities = cedarpy.Entities.from_json_str("[]")
        _require_valid(text, self._schema)
        self._digest = _digest((schema, *files))
        self._remembered = lru_cache(maxsize=remember)(self._evaluate)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over the schema and every policy file with its name."""
        return self._digest

    def decide(self, facts: Facts) -> Ruling:
        """Returns what the rules say; an engine that fails refuses."""
        try:
            rules = self._remembered(facts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic in the engine's Rust is no Exception, and no is the answer
            rules = (POLICY_ERROR,)
        return Ruling(facts, rules)

    def _evaluate(self, facts: Facts) -> tuple[Rule, ...]:
        result = cedarpy.is_authorized(_request(facts), self._policies, self._entities, self._schema)
        fired = set(result.diagnostics.id_annotations_by_reason.values())
        if result.allowed and not result.diagnostics.errors and fired == {_PERMIT}:
            return ()
        rules = tuple(rule for name, rule in self._rules.items() if name in fired)
        erred = bool(result.diagnostics.errors) or result.decision is cedarpy.Decision.NoDecision
        return (*rules, POLICY_ERROR) if erred or not rules else rules


def load_additions(folder: Path) -> tuple[PolicyFile, ...]:
    """Reads the `*.cedar` files of `folder`, by name.

    Raises:
        PolicyInvalid: the folder or a file cannot be read, or there are too many or too large files.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".cedar")
        if len(paths) > _MAX_FILES:
            raise PolicyInvalid(f"{folder}: holds {len(paths)} policy files; at most {_MAX_FILES} are read")
        return tuple(PolicyFile(path.name, _text(path)) for path in paths)
    except OSError as error:
        raise PolicyInvalid(f"{error.filename}: cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise PolicyInvalid(f"{path}: is larger than {_MAX_FILE_BYTES} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PolicyInvalid(f"{path}: is not UTF-8") from None


def _packaged(name: str) -> PolicyFile:
    return PolicyFile(name, resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _request(facts: Facts) -> dict[str, Any]:
    return {
        "principal": {"type": "Isthmus::System", "id": facts.system},
        "action": {"type": "Isthmus::Action", "id": facts.mode.lower()},
        "resource": {"type": "Isthmus::Contract", "id": facts.contract_name},
        "context": facts.context(),
    }


def _digest(files: Sequence[PolicyFile]) -> str:
    document = [[file.name, hashlib.sha256(file.text.encode()).hexdigest()] for file in files]
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


def _read_rules(files: Sequence[PolicyFile]) -> dict[str, Rule]:
    """Returns every forbid by its `@id`, in the order of the files."""
    rules: dict[str, Rule] = {}
    seen: set[str] = {POLICY_ERROR.id}
    for file in files:
        for effect, annotations in _policies(file):
            name = annotations.get("id") or ""
            if not name or name in seen:
                raise PolicyInvalid(f"{file.name}: every rule needs an @id of its own, not {name!r}")
            seen.add(name)
            if effect == "forbid":
                rules[name] = _rule(file, name, annotations)
            elif file.name != CORE_FILE or name != _PERMIT:
                raise PolicyInvalid(f"{file.name}: {name} permits; an added file may only forbid")
    return rules


def _policies(file: PolicyFile) -> list[tuple[str, Mapping[str, str]]]:
    try:
        document = json.loads(cedarpy.policies_to_json_str(file.text))
    except ValueError as error:
        raise PolicyInvalid(f"{file.name}: {error}") from error
    if document["templates"]:
        raise PolicyInvalid(f"{file.name}: holds a template, which nothing would ever fill in")
    policies = document["staticPolicies"]
    ordered = sorted(policies, key=lambda key: int(key.removeprefix("policy")))
    return [(policies[key]["effect"], policies[key].get("annotations", {})) for key in ordered]


def _rule(file: PolicyFile, name: str, annotations: Mapping[str, str]) -> Rule:
    reason = annotations.get("reason") or ""
    if reason not in Reason.__members__ or Reason[reason] is Reason.UNSPECIFIED:
        raise PolicyInvalid(f"{file.name}: {name} needs a @reason that is a name of isthmus.v1.Reason")
    words = (annotations.get("explanation") or "", annotations.get("remedy") or "")
    return Rule(name, Reason[reason], *words)


def _require_valid(text: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        names = result.id_annotations_by_policy_id
        first = result.errors[0]
        where = names.get(first.policy_id, first.policy_id)
        raise PolicyInvalid(f"the rule {where} does not fit {SCHEMA_FILE}: {first.error}")
