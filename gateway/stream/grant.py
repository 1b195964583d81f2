"""The grant of a stream: one item, of mode STREAM (docs/PROTOCOL.md)."""

from datetime import datetime

from gateway.exchange.grant import LIFETIME, Grant, Passenger, granted_fields
from gateway.stream.wish import Wish
from isthmus.canonical import canonical_json
from isthmus.ids import uuid7
from isthmus.terms import rfc3339


def stream_grant(passenger: Passenger, wish: Wish, *, now: datetime) -> Grant:
    """Returns the grant, before it is signed, for one stream; issued `now`."""
    asked, contract, id = passenger.exchange.asked, passenger.contract, uuid7(now)
    item = {
        "exchange": passenger.exchange.name,
        "mode": asked.mode.value,
        "consumer": asked.consumer,
        "system": asked.system,
        "contract": contract.full_name,
        "terms_digest": contract.terms_digest,
        "dataset": contract.dataset,
        "purpose": asked.purpose,
        "fields": granted_fields(passenger),
        "row_filters": contract.terms["row_filters"],
        "subjects": [],
        "predicate": None,
        "filters": list(wish.filters),
        "encoding": wish.encoding.value,
        "resume": wish.resume_token,
    }
    payload = {
        "grant": id,
        "department": contract.provider,
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(now + LIFETIME),
        "items": [item],
    }
    return Grant(id, contract.provider, (passenger,), canonical_json(payload))
