"""A department node and a gateway, as an operator would run them, on one machine and one set of certificates."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from isthmus.demo import configs
from isthmus.demo.configs import Secrets
from isthmus.demo.desk import Desk
from isthmus.demo.parties import GATEWAY, OPERATOR, TRUST_DOMAIN, Parties, node
from isthmus.demo.processes import Child, Children, free_addresses
from isthmus.demo.scenario import Consent, Subject
from isthmus.identity import server_name
from services.manifest_file import load_manifest
from tests.bench import town
from tests.bench.processes import Jobs

NODE: Final = node(town.PROVIDER)
_END_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a grant says about an agreed contract."""

    version: str
    terms_digest: str
    fields: list[dict[str, str]]

    def ask(self) -> dict[str, Any]:
        """The same for a caller."""
        return {"version": self.version, "terms_digest": self.terms_digest, "fields": self.fields}


@dataclass(frozen=True, slots=True)
class Office:
    """A gateway with a ledger of its own, and what was agreed there."""

    folder: Path
    address: str
    shared: Secrets
    terms: Mapping[str, Terms]
    running: list[Child]

    @property
    def pid(self) -> int:
        """The gateway's process id; its workers, if it has several, are children of it."""
        return self.running[-1].process.pid


class Site:
    """Makes certificates and starts a node with so many residents; leaving the context ends every process.

    Args:
        folder: an empty folder, on a disk whose speed counts.
        rows: how many residents the department has.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        folder = self.folder
        logs = folder / "logs"
        logs.mkdir(parents=True)
        self.parties = Parties(folder / "pki")
        self.jobs = self._closing.enter_context(Jobs(logs))
        self.children = self._closing.enter_context(Children(logs, self.parties.credentials(OPERATOR)))
        try:
            self._start_node()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start_node(self) -> None:
        own = self.folder / "node"
        own.mkdir()
        town.make_table(own / "data.db", self.rows)
        (self.node_address,) = free_addresses(1)
        key = own / "hash.key"
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32) + "\n", encoding="utf-8")
        head = {
            "server": {**self.server(NODE, self.node_address), "hash_key": key},
            "source": {"url": f"sqlite:///{own / 'data.db'}"},
            "journal": {"url": f"sqlite:///{own / 'journal.db'}"},
        }
        file = own / "department.toml"
        file.write_text(f"{configs.toml(head)}\n{town.manifest()}", encoding="utf-8")
        self.datasets = load_manifest(file, environ={}).datasets_proto()
        identity = self.parties.identity(NODE)
        self.node = self.children.start(identity, self.node_address, ("department", str(file)))
        self.children.await_ready([self.node])

    def more_jobs(self) -> Jobs:
        """Processes that end before the site does."""
        return Jobs(self.folder / "logs")

    def server(self, who: str, address: str) -> dict[str, Any]:
        """The [server] section of a process of Isthmus."""
        certificate, key, ca = self.parties.files(who)
        return {
            "address": address,
            "trust_domain": TRUST_DOMAIN,
            "certificate": certificate,
            "key": key,
            "ca": ca,
        }

    def files(self, who: str) -> list[str]:
        """Certificate, key and authority of a party."""
        return [str(each) for each in self.parties.files(who)]

    def name(self, who: str) -> str:
        """The name in a party's certificate."""
        return server_name(self.parties.identity(who))

    def open_office(self, name: str, **server: Any) -> Office:
        """Starts a gateway with a new ledger; publishes the dataset, agrees the contracts, takes one consent.

        Args:
            name: of its folder.
            server: further keys of [server].
        """
        folder = self.folder / name
        folder.mkdir()
        shared = Secrets.make(folder)
        (address,) = free_addresses(1)
        sections = {
            "server": {
                **self.server(GATEWAY, address),
                "grace_seconds": 2.0,
                "processors": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
                **server,
            },
            "ledger": {
                "url": f"sqlite:///{shared.ledger}",
                "log_key": shared.log_key,
                "pin": folder / "gateway.pin",
            },
            "subjects": {"current": 1, "keys": {"1": shared.subject_key}},
            "metrics": {"port": 0},
            f"departments.{town.PROVIDER}": {"title": "", "address": self.node_address, "node": "main"},
        }
        (folder / "gateway.toml").write_text(configs.toml(sections), encoding="utf-8")
        terms: dict[str, Terms] = {}
        office = Office(folder, address, shared, terms, [])
        self.reopen(office)
        terms.update(self._prepare(office))
        return office

    def reopen(self, office: Office) -> None:
        """Starts an office's gateway, and returns when it serves."""
        file = office.folder / "gateway.toml"
        child = self.children.start(self.parties.identity(GATEWAY), office.address, ("gateway", str(file)))
        office.running.append(child)
        self.children.await_ready([child])

    def close(self, office: Office) -> None:
        """Ends an office's gateway, and returns when it has ended."""
        process = office.running.pop().process
        process.send_signal(signal.SIGTERM)
        process.wait(_END_WITHIN_S)

    def _prepare(self, office: Office) -> dict[str, Terms]:
        agreed = {}
        with Desk(self.parties, gateway=office.address, audit=office.address) as desk:
            for dataset in self.datasets:
                desk.publish(town.PROVIDER, dataset)
            for contract in town.contracts():
                desk.agree(contract)
                found = desk.get(contract)
                fields = [{"name": each, "transform": how} for each, how in contract.fields.items()]
                agreed[contract.id] = Terms(found.name, found.terms_digest, fields)
            desk.consent(
                Consent(
                    key="first",
                    contract=town.CONSENTED,
                    subject=Subject("", town.SCHEME, town.resident(0)),
                    purposes=(town.PURPOSE,),
                    fields=town.QUERY_FIELDS,
                )
            )
        return agreed
