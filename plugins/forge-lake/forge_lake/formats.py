"""The file formats that are read, and what one file says of itself."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from attrs import frozen

from forge_core.faults import InvalidInput
from forge_lake.names import hint

# empty fields, NA, null and NaN are nulls, in text columns too; in quotes they are text
_CONVERT = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
_PARSE = pyarrow.csv.ParseOptions(newlines_in_values=True)
_CSV_SAMPLE = 8 << 20  # bytes that types are guessed from


@frozen
class Format:
    """`inspect` gives a file's schema, and its rows where a look at the footer tells."""

    name: str
    suffixes: tuple[str, ...]
    arrow: pyarrow.dataset.FileFormat
    inspect: Callable[[pyarrow.fs.FileSystem, str], tuple[pa.Schema, int | None]]


def _inspect_parquet(filesystem: pyarrow.fs.FileSystem, address: str) -> tuple[pa.Schema, int | None]:
    with filesystem.open_input_file(address) as source, pyarrow.parquet.ParquetFile(source) as file:
        return file.schema_arrow, file.metadata.num_rows


def _inspect_csv(filesystem: pyarrow.fs.FileSystem, address: str) -> tuple[pa.Schema, int | None]:
    with filesystem.open_input_stream(address) as source:
        reading = pyarrow.csv.ReadOptions(block_size=_CSV_SAMPLE)
        with pyarrow.csv.open_csv(source, read_options=reading, parse_options=_PARSE, convert_options=_CONVERT) as reader:
            # a column that is empty so far may hold anything later
            return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in reader.schema]), None


_CSV = pyarrow.dataset.CsvFileFormat(
    parse_options=_PARSE, default_fragment_scan_options=pyarrow.dataset.CsvFragmentScanOptions(convert_options=_CONVERT)
)
FORMATS = {
    one.name: one
    for one in (
        Format("parquet", (".parquet", ".pq"), pyarrow.dataset.ParquetFileFormat(), _inspect_parquet),
        Format("csv", (".csv", ".csv.gz", ".csv.zst"), _CSV, _inspect_csv),
    )
}


def format_named(name: str) -> Format:
    if name not in FORMATS:
        raise InvalidInput(f"{name!r} is not a format that the lake reads", hint(name, FORMATS, f"one of {', '.join(FORMATS)}"))
    return FORMATS[name]


def format_of(path: str, otherwise: str) -> Format:
    """A file's own suffix tells before anybody else."""
    lower = path.lower()
    return next((one for one in FORMATS.values() if lower.endswith(one.suffixes)), None) or format_named(otherwise)


def inspect(file_format: Format, filesystem: pyarrow.fs.FileSystem, address: str, path: str) -> tuple[pa.Schema, int | None]:
    """A file's schema without its writer's notes, and its rows. `InvalidInput` where it is not of that format."""
    try:
        schema, rows = file_format.inspect(filesystem, address)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(
            f"{path} is not readable as {file_format.name}: {_first_line(error, address)}", "remove or replace the file"
        ) from error
    names = schema.names
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else ()
    if twice:
        raise InvalidInput(f"{path} has the column {twice[0]!r} twice", "name its columns apart")
    return schema.remove_metadata(), rows


def _first_line(error: BaseException, address: str) -> str:
    lines = str(error).replace(address, "it").splitlines()
    return lines[0] if lines else type(error).__name__
