"""RetireDataset: a department takes an entry out of the catalogue."""

from gateway.catalogue.entry import dataset_of
from gateway.catalogue.publish import require_owner
from gateway.state import datasets
from gateway.state.change import Call, Change, Control
from gateway.state.sources import replace_sources
from isthmus.errors import NotFound, StateConflict
from isthmus.names import DatasetName
from isthmus.v1.catalog_service_pb2 import RetireDatasetRequest, RetireDatasetResponse


def retire(control: Control, call: Call, request: RetireDatasetRequest) -> RetireDatasetResponse:
    """Retires `request.name`. Contracts over it stop being usable until it is published again, and
    the data elements it was the source of are free.

    Raises:
        PermissionDenied: NOT_A_PARTY, the dataset is another department's.
        NotFound: there is no such dataset.
        StateConflict: it is retired already.
    """
    name = DatasetName.parse(request.name)

    def work(change: Change) -> RetireDatasetResponse:
        require_owner(call, name)
        row = datasets.get_dataset(change.connection, str(name))
        if row is None:
            raise NotFound(str(name))
        if row.retired:
            raise StateConflict(str(name), "it is retired already; publish it to offer it again")
        position = change.record(
            row.name, {"retired_revision": row.revision}, dataset=row.name, reason=request.reason
        )
        datasets.mark_retired(change.connection, row.name, position=position)
        replace_sources(change.connection, row.name, (), position=position)
        after = datasets.get_dataset(change.connection, row.name)
        assert after is not None
        return RetireDatasetResponse(dataset=dataset_of(after))

    return control.change(call, work).value
