"""PublishDataset: a department puts an entry into the catalogue, or a new revision of it."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.catalogue.entry import dataset_of, etag, publishable_json
from gateway.catalogue.sources import claims_of, require_sole_source
from gateway.clocks.pack import Pack
from gateway.state import datasets
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.datasets import DatasetRow
from gateway.state.etags import require_etag
from gateway.state.requests import Once
from gateway.state.sources import SourceRow, replace_sources
from isthmus.canonical import sha256_hex
from isthmus.errors import PermissionDenied, StateConflict
from isthmus.names import DatasetName
from isthmus.reasons import Reason
from isthmus.v1.catalog_service_pb2 import Dataset, PublishDatasetRequest, PublishDatasetResponse


def publish(control: Control, call: Call, request: PublishDatasetRequest) -> PublishDatasetResponse:
    """Publishes `request.dataset` for the caller's own department.

    An entry that says what the current revision says already changes nothing, so a node may publish at every
    start.

    Raises:
        InvalidArgument: the entry breaks a rule; each violation is named.
        PermissionDenied: NOT_A_PARTY, the dataset is another department's.
        EtagMismatch: the entry is not, or no longer, at the etag given.
        IsthmusError: ELEMENT_HAS_SOURCE, another dataset is the source of a data element and no reason is given.
    """
    pack = control.rulebook.current(call.received)
    name, document = publishable_json(request.dataset, pack)
    once = Once.of(request, request.request_id, PublishDatasetResponse)

    def work(change: Change) -> PublishDatasetResponse:
        require_owner(call, name)
        return PublishDatasetResponse(dataset=_write(change, str(name), document, request.etag, pack))

    return control.change_once(call, once, work)


def require_owner(call: Call, name: DatasetName) -> None:
    """Returns when the caller's department owns the dataset.

    Raises:
        Refusal: it does not.
    """
    if call.department != str(name.parent):
        error = PermissionDenied(
            Reason.NOT_A_PARTY,
            f"{name} belongs to {name.parent}, so only its officers and nodes may change it",
        )
        raise Refusal(error, str(name))


def _write(change: Change, name: str, document: str, given_etag: str, pack: Pack) -> Dataset:
    conn, digest = change.connection, sha256_hex(document.encode())
    current = datasets.get_dataset(conn, name)
    require_etag(name, given_etag, "" if current is None else etag(current))
    if current is not None and not current.retired and current.entry_json == document:
        return dataset_of(current)
    if current is not None:
        _require_same_subjects(current, json.loads(document))
    claims = claims_of(name, document)
    require_sole_source(conn, claims, pack)
    revision = 1 if current is None else current.revision + 1
    told = _changed(digest, revision, claims) | {"sharing_class": json.loads(document)["sharing_class"]}
    position = change.record(name, told, dataset=name)
    datasets.write_revision(
        conn,
        name=name,
        document=document,
        digest=digest,
        publisher=change.call.identity.uri,
        at=change.now,
        position=position,
    )
    replace_sources(conn, name, claims, position=position)
    written = datasets.get_dataset(conn, name)
    assert written is not None
    return dataset_of(written)


def _require_same_subjects(current: DatasetRow, entry: Mapping[str, Any]) -> None:
    """Refuses another identifier scheme or other normalisers under the same name.

    They decide which token stands for a person. Under others a withdrawal, or a search for who looked, would miss what
    was recorded before.

    Raises:
        StateConflict: they differ from the published ones.
    """
    before = (current.subject_scheme, list(current.subject_normalisers))
    if before != (entry["subject_scheme"], list(entry["subject_normalisers"])):
        raise StateConflict(
            current.name,
            "its subject_scheme and subject_normalisers cannot change once they are published, since consents and "
            "records are kept by them; publish another dataset and retire this one",
        )


def _changed(digest: str, revision: int, claims: list[SourceRow]) -> dict[str, str | int]:
    changed: dict[str, str | int] = {"entry_digest": digest, "revision": revision}
    if claims:
        changed["element_sources"] = len(claims)
    if second := sum(bool(each.second_reason) for each in claims):
        changed["second_element_sources"] = second
    return changed
