"""A table as CSV, piece by piece; numbers as short as they read back equal, lists as words joined by `;`."""

from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter

CSV_SUFFIX = ".csv"
BETWEEN = ";"


class CsvWriter:
    """A CSV file that is being written.

    Args:
        file: where.
        schema: columns of text, numbers, booleans and lists of text.
    """

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        fields = [field.with_type(pa.string()) if pa.types.is_list(field.type) else field for field in schema]
        self._schema = pa.schema(fields)
        self._writer = CSVWriter(str(file), self._schema)

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        columns = [pc.binary_join(each, BETWEEN) if pa.types.is_list(each.type) else each for each in table.columns]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> "CsvWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
