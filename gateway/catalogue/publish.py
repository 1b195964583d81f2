"""PublishDataset: a department puts an entry into the catalogue, or a new revision of it."""

from gateway.catalogue.entry import dataset_of, etag, publishable_json
from gateway.state import datasets
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.etags import require_etag
from gateway.state.requests import Once
from isthmus.canonical import sha256_hex
from isthmus.errors import PermissionDenied
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
    """
    name, document = publishable_json(request.dataset)
    once = Once.of(request, request.request_id, PublishDatasetResponse)

    def work(change: Change) -> PublishDatasetResponse:
        require_owner(call, name)
        return PublishDatasetResponse(dataset=_write(change, str(name), document, request.etag))

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


def _write(change: Change, name: str, document: str, given_etag: str) -> Dataset:
    conn, digest = change.connection, sha256_hex(document.encode())
    current = datasets.get_dataset(conn, name)
    require_etag(name, given_etag, "" if current is None else etag(current))
    if current is not None and not current.retired and current.entry_json == document:
        return dataset_of(current)
    revision = 1 if current is None else current.revision + 1
    position = change.record(name, {"entry_digest": digest, "revision": revision}, dataset=name)
    datasets.write_revision(
        conn,
        name=name,
        document=document,
        digest=digest,
        publisher=change.call.identity.uri,
        at=change.now,
        position=position,
    )
    written = datasets.get_dataset(conn, name)
    assert written is not None
    return dataset_of(written)
