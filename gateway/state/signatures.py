"""The store of the signatures under contracts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from gateway.state.contracts import ContractRow
from gateway.state.schema import contract_signatures
from gateway.state.times import from_ms, to_ms

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """One department's signature: the statement, who made it and the position of its record."""

    department: str
    signer: str
    thumbprint: str
    statement: str
    digest: str
    signed_at: datetime
    position: int


def insert_signature(conn: sa.Connection, row: ContractRow, signature: SignatureRow) -> None:
    """Adds a department's signature; the table's key refuses a second by the same department."""
    conn.execute(
        contract_signatures.insert().values(
            contract=row.name,
            version=row.version,
            department=signature.department,
            signer=signature.signer,
            thumbprint=signature.thumbprint,
            statement=signature.statement,
            digest=signature.digest,
            signed_at=to_ms(signature.signed_at),
            position=signature.position,
        )
    )


def signatures_of(conn: sa.Connection, rows: Iterable[ContractRow]) -> dict[str, list[SignatureRow]]:
    """Returns the signatures of these versions in the order they were made, by `contracts/x@1`."""
    table, keys = contract_signatures.c, {(row.name, row.version) for row in rows}
    names = sorted({name for name, _ in keys})
    found: dict[str, list[SignatureRow]] = {}
    for start in range(0, len(names), _CHUNK):
        query = (
            sa.select(contract_signatures)
            .where(table.contract.in_(names[start : start + _CHUNK]))
            .order_by(table.position, table.department)
        )
        for row in conn.execute(query):
            if (row.contract, row.version) not in keys:
                continue
            signature = SignatureRow(
                row.department,
                row.signer,
                row.thumbprint,
                row.statement,
                row.digest,
                from_ms(row.signed_at),
                row.position,
            )
            found.setdefault(f"{row.contract}@{row.version}", []).append(signature)
    return found
