"""Leaving a demonstration running: where everything is, what to try, and waiting for Ctrl-C."""

import json
import shlex
import signal
import threading
from typing import Final

from rich.console import Console

from isthmus.demo.parties import AUDITOR, GATEWAY
from isthmus.demo.run import Running
from isthmus.demo.story import CASE, system
from isthmus.pki import server_name

_LOOK_EVERY_S: Final = 1.0

_NODE: Final = """\
// npm install @grpc/grpc-js @grpc/proto-loader, then: node query.js, in the folder that holds proto/
const fs = require('fs'), grpc = require('@grpc/grpc-js'), loader = require('@grpc/proto-loader');
const definition = loader.loadSync('isthmus/v1/exchange_service.proto',
  {{includeDirs: ['proto'], keepCase: true, longs: String, enums: String}});
const {{ExchangeService}} = grpc.loadPackageDefinition(definition).isthmus.v1;
const credentials = grpc.credentials.createSsl(
  fs.readFileSync({ca}), fs.readFileSync({key}), fs.readFileSync({certificate}));
const client = new ExchangeService({address}, credentials, {{'grpc.ssl_target_name_override': {name}}});
client.Query({{context: {{contract: {contract}, purpose: {purpose}, case_reference: {case}}},
  subject: {{scheme: {scheme}, id: {id}}}, fields: {fields}}},
  (error, answer) => console.log(error ? error.details : JSON.stringify(answer, null, 1)));"""


def wait(world: Running, console: Console) -> None:
    """Prints how to use what runs, and returns when Ctrl-C is pressed.

    Raises:
        ChildFailed: a server has ended by itself.
    """
    for line in instructions(world):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    console.print("running 运行中; Ctrl-C ends everything", markup=False)
    console.file.flush()
    try:
        while not stop.wait(_LOOK_EVERY_S):
            world.children.require_alive()
    finally:
        signal.signal(signal.SIGINT, before)


def instructions(world: Running) -> list[str]:
    """What to print: processes with their addresses, the certificates, and commands to copy."""
    stage, pids = world.stage, world.children.pids()
    lines = ["", "processes:"]
    for who, address in stage.addresses.items():
        name = stage.parties.identity(who).resource
        lines.append(f"  {name:<45} {address:<16} pid {pids[name]}")
    lines += ["", "certificates:", f"  {'authority':<45} {stage.parties.ca}"]
    for title, who in (("a consumer system", _asker(world)), ("an auditor", AUDITOR)):
        certificate, key, _ = stage.parties.files(who)
        lines.append(f"  {title:<45} {certificate}  {key}")
    return [*lines, "", "try:", *_commands(world), "", "or from Node.js:", "", _node_example(world), ""]


def _asker(world: Running) -> str:
    return system(world.scenario.cast.main)


def _case(world: Running) -> str:
    return "" if world.scenario.cast.main.needs_consent else CASE


def _commands(world: Running) -> list[str]:
    stage, cast = world.stage, world.scenario.cast
    main, subject, shared = cast.main, cast.subject, stage.shared
    certificate, key, ca = stage.parties.files(_asker(world))
    about = ["--contract", f"contracts/{main.id}", "--purpose", main.purposes[0]]
    about += ["--subject", f"{subject.scheme}:{subject.id}"]
    about += ["--case", _case(world)] if _case(world) else []
    for field in main.fields:
        about += ["--field", field]
    as_system = ["isthmus", "--cert", str(certificate), "--key", str(key)]
    certificate, key, _ = stage.parties.files(AUDITOR)
    as_auditor = ["isthmus", "--cert", str(certificate), "--key", str(key)]
    exports = {
        "ISTHMUS_ADDRESS": stage.gateway,
        "ISTHMUS_AUDIT_ADDRESS": stage.audit,
        "ISTHMUS_CA": str(ca),
    }
    return [
        "  export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in exports.items()),
        f"  {shlex.join([*as_system, 'query', *about])}",
        f"  {shlex.join([*as_system, 'explain', *about])}",
        f"  {shlex.join([*as_auditor, 'audit', 'list', 'decision = DENY'])}",
        f"  {shlex.join(['isthmus', 'audit', 'verify', str(shared.ledger), '--vkey', str(shared.verifier)])}",
    ]


def _node_example(world: Running) -> str:
    stage, cast = world.stage, world.scenario.cast
    certificate, key, ca = stage.parties.files(_asker(world))
    values = {
        "ca": ca,
        "key": key,
        "certificate": certificate,
        "address": stage.gateway,
        "name": server_name(stage.parties.identity(GATEWAY)),
        "contract": f"contracts/{cast.main.id}",
        "purpose": cast.main.purposes[0],
        "case": _case(world),
        "scheme": cast.subject.scheme,
        "id": cast.subject.id,
    }
    quoted = {name: json.dumps(str(value), ensure_ascii=False) for name, value in values.items()}
    return _NODE.format(**quoted, fields=json.dumps(list(cast.main.fields), ensure_ascii=False))
