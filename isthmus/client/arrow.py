"""Reading an Arrow IPC stream message by message; pyarrow, the extra `arrow`, is imported when it is needed."""

import importlib
from typing import Any, Final

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ArrowReader:
    """Reads the messages of one stream in their order.

    Raises:
        ModuleNotFoundError: pyarrow is not installed; says how to install it.
    """

    def __init__(self) -> None:
        self._arrow = pyarrow()
        self.schema: Any = None

    def read(self, chunk: bytes) -> Any:
        """Returns the `pyarrow.RecordBatch` in a message; None for the schema and for the end.

        Raises:
            pyarrow.ArrowInvalid: it is no message, or does not fit the schema.
        """
        if chunk == END_OF_STREAM:
            return None
        message = self._arrow.ipc.read_message(self._arrow.py_buffer(chunk))
        if self.schema is None:
            self.schema = self._arrow.ipc.read_schema(message)
            return None
        batch = self._arrow.ipc.read_record_batch(message, self.schema)
        # In full: what another department sent is read with these offsets next.
        batch.validate(full=True)
        return batch


def pyarrow() -> Any:
    """Returns the module.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Arrow and Parquet need the extra: pip install 'isthmus[arrow]'; rows, CSV and JSON Lines work without it"
        ) from None
