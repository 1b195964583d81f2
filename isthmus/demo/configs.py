"""The configuration files of the demonstration's processes, as an operator would write them."""

import json
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from audit.tlog.keys import SignerKey
from isthmus.demo.parties import AUDIT, GATEWAY, TRUST_DOMAIN, Parties, node
from isthmus.demo.scenario import Department

Section = Mapping[str, Any]


def toml(sections: Mapping[str, Section]) -> str:
    """TOML text of sections of texts, numbers, flags, lists of them and tables of them."""
    parts = []
    for name, members in sections.items():
        lines = [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in members.items())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{json.dumps(str(key))} = {_value(each)}" for key, each in value.items()) + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    # A JSON string of printable characters is a TOML basic string too.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The files that the gateway and the audit service share: the ledger, its keys, the subject key."""

    ledger: Path
    log_key: Path
    verifier: Path
    subject_key: Path

    @classmethod
    def make(cls, folder: Path) -> "Secrets":
        """Makes fresh keys in `folder`."""
        signer = SignerKey.generate(f"{TRUST_DOMAIN}/log")
        made = cls(folder / "ledger.db", folder / "log.key", folder / "log.pub", folder / "subjects-1.key")
        _secret(made.log_key, signer.encode())
        _secret(made.subject_key, secrets.token_hex(32))
        made.verifier.write_text(signer.verifier.encode() + "\n", encoding="utf-8")
        return made


def _secret(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content + "\n", encoding="utf-8")


def _server(parties: Parties, who: str, address: str) -> Section:
    certificate, key, ca = parties.files(who)
    return {
        "address": address,
        "trust_domain": TRUST_DOMAIN,
        "certificate": certificate,
        "key": key,
        "ca": ca,
    }


def department_file(folder: Path, department: Department, parties: Parties, address: str) -> Path:
    """Writes a department's manifest with the address, database and keys of its node."""
    _secret(folder / "hash.key", secrets.token_hex(32))
    server = {
        **_server(parties, node(department.name), address),
        "hash_key": folder / "hash.key",
        "threads": 8,
    }
    head = toml(
        {
            "server": server,
            "source": {"url": f"sqlite:///{folder / 'data.db'}"},
            "journal": {"url": f"sqlite:///{folder / 'journal.db'}"},
        }
    )
    path = folder / "department.toml"
    path.write_text(f"{head}\n{department.manifest}", encoding="utf-8")
    return path


def audit_file(
    folder: Path, shared: Secrets, departments: Iterable[Department], parties: Parties, address: str
) -> Path:
    """Writes the audit service's configuration."""
    path = folder / "audit.toml"
    sections = {
        "server": _server(parties, AUDIT, address),
        "ledger": _ledger(shared, folder / "audit.pin"),
        "evidence": {"policies": [Path(str(resources.files("gateway") / "policy"))]},
        "subjects": {**_subjects(shared), "schemes": _schemes(departments)},
    }
    path.write_text(toml(sections), encoding="utf-8")
    return path


def gateway_file(
    folder: Path, shared: Secrets, nodes: Mapping[str, str], parties: Parties, address: str
) -> Path:
    """Writes the gateway's configuration; `nodes` are the addresses of the departments' nodes."""
    path = folder / "gateway.toml"
    sections: dict[str, Section] = {
        "server": {**_server(parties, GATEWAY, address), "threads": 32, "grace_seconds": 2.0},
        "ledger": _ledger(shared, folder / "gateway.pin"),
        "subjects": _subjects(shared),
        # Port 0: nobody scrapes the demonstration, and two of them must not meet.
        "metrics": {"port": 0},
    }
    for name, where in nodes.items():
        sections[f"departments.{name}"] = {"title": name, "address": where, "node": "main"}
    path.write_text(toml(sections), encoding="utf-8")
    return path


def _ledger(shared: Secrets, pin: Path) -> Section:
    return {"url": f"sqlite:///{shared.ledger}", "log_key": shared.log_key, "pin": pin}


def _subjects(shared: Secrets) -> Section:
    return {"current": 1, "keys": {"1": shared.subject_key}}


def _schemes(departments: Iterable[Department]) -> dict[str, list[str]]:
    """Every identifier scheme of the manifests with its normalisers."""
    found: dict[str, list[str]] = {}
    for department in departments:
        for dataset in tomllib.loads(department.manifest)["dataset"]:
            found[dataset["subject"]["scheme"]] = dataset["subject"]["normalise"]
    return found
