"""Whatever is done to a bundle of evidence is found, and named: by accident, or by somebody who knows its form."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from audit.evidence.archive import ArchiveError, pack, unpack
from audit.evidence.manifest import (
    CA,
    CONSISTENCY,
    LEAVES,
    MANIFEST,
    NEW,
    OLD,
    RANGE_PROOF,
    README,
    VKEY,
    leaf_file,
    proof_file,
)
from audit.evidence.policies import CORE, SCHEMA, policy_digest
from audit.evidence.verify import verify_bundle
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.keys import SignerKey
from audit.verifier.damage import Damaged, DamageKind
from isthmus.canonical import canonical_json, parse_canonical, sha256_hex
from isthmus.pki import create_authority
from isthmus.statement import StatementKind, sign
from tests.integration.evidence_world import EvidenceWorld, evidence_world_in, manifest_of, repacked
from tests.integration.exchange_parties import CONSUMER, DOMAIN, PORTAL, now

pytestmark = [pytest.mark.fault, pytest.mark.integration]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvidenceWorld]:
    with evidence_world_in(tmp_path_factory.mktemp("evidence")) as world:
        world.happen()
        yield world


@pytest.fixture(scope="module")
def data(world: EvidenceWorld) -> bytes:
    world.bundle()  # A record behind the case, so that its checkpoint is not the newest.
    return world.bundle()


def found(world: EvidenceWorld, data: bytes, tmp_path: Path) -> Damaged:
    """What is found wrong with it."""
    path = tmp_path / "case.zip"
    path.write_bytes(data)
    with pytest.raises(Damaged) as caught:
        verify_bundle(path, world.key, ca=x509.load_pem_x509_certificates(world.ca.read_bytes()))
    return caught.value


def members(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Where the content of each file stands in a bundle."""
    at = 0
    for name, content in sorted(unpack(data).items()):
        begin = at + 30 + len(name)
        yield name, begin, begin + len(content)
        at = begin + len(content)


def test_the_bundle_itself_is_in_order(world: EvidenceWorld, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "case.zip"
    path.write_bytes(data)
    assert verify_bundle(path, world.key).statements == 3
    path.write_bytes(repacked(data))
    assert verify_bundle(path, world.key).statements == 3


def test_every_flipped_byte_is_found_in_its_file(data: bytes) -> None:
    places = {at: name for name, begin, end in members(data) for at in range(begin, end)}
    changed = bytearray(data)
    for at in range(len(data)):
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(ArchiveError) as caught:
            unpack(bytes(changed))
        if at in places:
            assert caught.value.where == places[at], at
        changed[at] = data[at]


def test_every_cut_is_found(data: bytes) -> None:
    for end in (*range(0, len(data), 997), len(data) - 1):
        with pytest.raises(ArchiveError):
            unpack(data[:end])
    for more in (b"\0", b"PK\x03\x04", data):
        with pytest.raises(ArchiveError):
            unpack(data + more)
        with pytest.raises(ArchiveError):
            unpack(more + data)


def test_every_file_that_is_dropped_added_or_renamed_is_named(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    files = unpack(data)
    for name in files:
        rest = {other: content for other, content in files.items() if other != name}
        assert found(world, pack(rest), tmp_path).where == name
    added = found(world, pack({**files, "records/99.json": b"{}"}), tmp_path)
    assert (added.where, added.kind) == ("records/99.json", DamageKind.BUNDLE)
    for name in files.keys() - {MANIFEST}:
        error = found(world, pack({**files, name: files[name] + b" "}), tmp_path)
        assert (error.where, error.kind) == (name, DamageKind.BUNDLE)


def test_a_file_that_fits_the_manifest_and_no_record_is_named(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    digest = sha256_hex(b"x")
    names = ("notes.txt", "records/99.json", f"statements/{digest}.jws", f"terms/{digest}.json")
    for name in (*names, f"policies/{digest}/exchange.cedar", "lines/0-0.json"):
        assert found(world, repacked(data, **{name: b"x"}), tmp_path).where == name


def test_every_file_that_is_needed_is_missed_though_the_manifest_fits(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    manifest = manifest_of(data)
    indexes = (*manifest.case, *manifest.rests_on)
    records = [name for index in indexes for name in (leaf_file(index), proof_file(index))]
    for name in (OLD, NEW, CONSISTENCY, LEAVES, RANGE_PROOF, VKEY, CA, *records):
        assert found(world, repacked(data, **{name: None}), tmp_path).where == name


def test_no_byte_of_a_leaf_proof_or_checkpoint_can_be_changed_by_who_makes_the_manifest_fit(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    files, manifest = unpack(data), manifest_of(data)
    indexes = (*manifest.case, *manifest.rests_on)
    names = [name for index in indexes for name in (leaf_file(index), proof_file(index))]
    for name in (*names, LEAVES, RANGE_PROOF, OLD, NEW, CONSISTENCY, VKEY):
        content = files[name]
        for at in {0, len(content) // 3, len(content) // 2, len(content) - 2}:
            changed = bytearray(content)
            changed[at] ^= 4
            error = found(world, repacked(data, **{name: bytes(changed)}), tmp_path)
            assert error.kind is not DamageKind.BUNDLE, name
            assert error.where in (name, *_ALSO_NAMED.get(name, (name.replace(".json", ".tlog-proof"),))), (
                name
            )


_ALSO_NAMED = {LEAVES: (RANGE_PROOF,), OLD: (CONSISTENCY,)}
"""What fails where two files contradict each other."""


def edited(data: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The bundle with another manifest."""
    files = unpack(data)
    said = parse_canonical(files[MANIFEST])
    change(said)
    return repacked(pack({**files, MANIFEST: canonical_json(said)}))


def test_no_leaf_of_the_range_can_be_left_out_added_or_moved(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    leaves = unpack(data)[LEAVES].split(b"\n")[:-1]
    for at in range(len(leaves)):
        rest = b"".join(leaf + b"\n" for leaf in (*leaves[:at], *leaves[at + 1 :]))
        assert found(world, repacked(data, **{LEAVES: rest}), tmp_path).where == LEAVES
    swapped = b"".join(leaf + b"\n" for leaf in (leaves[1], leaves[0], *leaves[2:]))
    assert found(world, repacked(data, **{LEAVES: swapped}), tmp_path).where == RANGE_PROOF


def test_a_case_cannot_be_made_shorter_by_its_neighbours(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    manifest = manifest_of(data)
    middle = manifest.case[1]
    dropped = edited(data, lambda said: said.update(case=[manifest.case[0], manifest.case[2]]))
    assert found(world, dropped, tmp_path).where in (leaf_file(middle), proof_file(middle))
    shorter = edited(data, lambda said: said.update(end=manifest.end - 1))
    assert found(world, shorter, tmp_path).where == MANIFEST


def test_what_a_release_rests_on_cannot_be_left_out(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    manifest = manifest_of(data)
    for index in manifest.rests_on:
        record = unpack(data)[leaf_file(index)]
        if b'"SignContract"' not in record and b'"GrantConsent"' not in record:
            continue
        rest = [each for each in manifest.rests_on if each != index]
        stripped = edited(data, lambda said, rest=rest: said.update(rests_on=rest))  # type: ignore[misc]
        stripped = repacked(stripped, **{leaf_file(index): None, proof_file(index): None})
        error = found(world, stripped, tmp_path)
        assert error.kind is DamageKind.UNFOUNDED, error


def test_a_log_that_signed_two_histories_is_told_from_the_true_one(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    signer = SignerKey.parse((world.folder / "secrets" / "log.key").read_text())
    size = int(unpack(data)[OLD].split(b"\n")[1])
    note = sign_checkpoint(Checkpoint(signer.verifier.name, size, bytes(range(32))), signer)
    error = found(world, repacked(data, **{OLD: note}), tmp_path)
    assert (error.where, error.kind) == (CONSISTENCY, DamageKind.FORK)


def test_another_logs_bundle_is_refused(world: EvidenceWorld, data: bytes, tmp_path: Path) -> None:
    other = SignerKey.generate(world.key.name)
    path = tmp_path / "case.zip"
    path.write_bytes(data)
    with pytest.raises(Damaged, match="another key") as caught:
        verify_bundle(path, other.verifier)
    assert (caught.value.where, caught.value.kind) == (VKEY, DamageKind.KEY)
    path.write_bytes(repacked(data, **{VKEY: f"{other.verifier.encode()}\n".encode()}))
    with pytest.raises(Damaged):
        verify_bundle(path, None)


def statements(data: bytes) -> dict[str, str]:
    """The statements by what they are: `CONTRACT` (one of two) and `CONSENT`."""
    texts = {name: text.decode() for name, text in unpack(data).items() if name.startswith("statements/")}
    kinds = {}
    for name, text in texts.items():
        header = text.split(".")[0]
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        kinds["CONSENT" if b"consent" in raw else "CONTRACT"] = name
    return kinds


def test_a_statement_cannot_be_exchanged_for_another(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    files, names = unpack(data), statements(data)
    one, other = names["CONTRACT"], names["CONSENT"]
    assert found(world, repacked(data, **{one: files[other]}), tmp_path).where == one
    flipped = files[one][:-3] + b"AAA"
    assert found(world, repacked(data, **{one: flipped}), tmp_path).where == one
    forged = sign({"contract": "x"}, StatementKind.CONTRACT, world.exchanges.credentials(CONSUMER)).encode()
    assert found(world, repacked(data, **{one: forged}), tmp_path).kind is DamageKind.STATEMENT


def test_a_statement_that_is_left_out_is_said_to_be_missing(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "case.zip"
    name = statements(data)["CONSENT"]
    path.write_bytes(repacked(data, **{name: None}))
    result = verify_bundle(path, world.key)
    assert result.statements == 2
    assert any(re.search(r"the statement of record \d+ \(GrantConsent", each) for each in result.missing)


def test_authorities_of_ones_own_are_not_those_of_the_bundle(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    stranger = create_authority(DOMAIN, now=now())
    path = tmp_path / "case.zip"
    path.write_bytes(data)
    with pytest.raises(Damaged) as caught:
        verify_bundle(path, world.key, ca=[stranger.certificate])
    assert caught.value.kind is DamageKind.STATEMENT and caught.value.where.startswith("statements/")


def test_a_receipt_under_another_checkpoint_is_named(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    name = proof_file(manifest_of(data).case[0])
    later = unpack(world.bundle())[name]
    error = found(world, repacked(data, **{name: later}), tmp_path)
    assert (error.where, error.kind) == (name, DamageKind.CHECKPOINT)


def test_a_leaf_that_is_not_that_of_the_range_is_named(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    for index in manifest_of(data).case:
        name = leaf_file(index)
        altered = unpack(data)[name].replace(b"QUERY", b"BATCH")
        assert found(world, repacked(data, **{name: altered}), tmp_path).where == name


def test_policies_of_other_records_are_named(world: EvidenceWorld, data: bytes, tmp_path: Path) -> None:
    files = {CORE: b"permit(principal, action, resource);", SCHEMA: b""}
    folder = f"policies/{policy_digest(files)}"
    more = {f"{folder}/{name}": text for name, text in files.items()}
    error = found(world, repacked(data, **more), tmp_path)
    assert error.where.startswith(folder) and "no record" in error.problem


def test_terms_and_policies_are_those_that_the_records_name(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    files = unpack(data)
    (terms,) = (name for name in files if name.startswith("terms/"))
    assert found(world, repacked(data, **{terms: files[terms] + b" "}), tmp_path).where == terms
    assert found(world, repacked(data, **{terms: None}), tmp_path).where == terms
    policy = next(name for name in files if name.endswith("/exchange.cedar"))
    error = found(world, repacked(data, **{policy: files[policy] + b"\n"}), tmp_path)
    assert error.where.rpartition("/")[0] == policy.rpartition("/")[0]


def test_the_readme_can_be_told_by_the_digest_in_the_log(
    world: EvidenceWorld, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "case.zip"
    path.write_bytes(data)
    known = verify_bundle(path, world.key).digest
    path.write_bytes(repacked(data, **{README: b"trust me"}))
    assert verify_bundle(path, world.key).digest != known == sha256_hex(data)


def test_the_checksums_are_no_guard_by_themselves(data: bytes) -> None:
    """Who changes a file and its checksum must still meet the one form, and then the manifest."""
    name, begin, _ = next(each for each in members(data) if each[0] == LEAVES)
    changed = bytearray(data)
    changed[begin] ^= 1
    content = unpack(data)[name]
    crc = zlib.crc32(bytes([content[0] ^ 1]) + content[1:])
    header = begin - len(name) - 30
    changed[header + 14 : header + 18] = crc.to_bytes(4, "little")
    with pytest.raises(ArchiveError, match="one form"):
        unpack(bytes(changed))


def test_a_portal_cannot_sign_for_an_officer(world: EvidenceWorld, data: bytes, tmp_path: Path) -> None:
    name = statements(data)["CONTRACT"]
    forged = sign({"contract": "x"}, StatementKind.CONTRACT, world.exchanges.credentials(PORTAL)).encode()
    error = found(world, repacked(data, **{name: forged}), tmp_path)
    assert (error.where, error.kind) == (name, DamageKind.STATEMENT)
    assert replace(manifest_of(data), log="x").log == "x"
