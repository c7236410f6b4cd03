"""Tables as documents, one for each row. The server's own readers find the delimiter and the header."""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import uuid5

from pydantic import Field

from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes.converters import documents_of, readable_files
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.ports import FileText
from stoa.runs.workflow.task import Task

Row = tuple[int, Mapping[str, str]]
"""(line of the file, counted with the header as 1; cells by their column)."""
_CELL_END: Final = re.compile(r"(?<!\\)\|")
_DOCUMENTS_MAX: Final = 50_000


class CsvNode(Node):
    """`content_column` is the text of a document; without it a document is the whole row, a `column: value` each line.
    The `delimiter` of a file is found by the reader, whatever the field says."""

    content_column: Annotated[str, Field(max_length=1_000)] | None = None
    metadata_columns: Annotated[Sequence[str], Field(max_length=1_000)] = ()
    document_creation_mode: Literal["one-doc-per-row", "one-doc-per-file"] = "one-doc-per-row"


async def _work(node: CsvNode, _: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    files = await readable_files(task)

    def made() -> list[dict[str, Any]]:
        if node.document_creation_mode == "one-doc-per-file":
            return [one for file in files for one in documents_of(file, "one-doc-per-file")]
        return [one for file in files for one in _documents(node, file)]

    found = await task.ports.clock.in_thread(made)
    if len(found) > _DOCUMENTS_MAX:
        raise NodeFailed("input_invalid", f"the files hold {len(found):,} rows; at most {_DOCUMENTS_MAX:,} are read")
    yield Produced(
        {"documents": [{"id": str(uuid5(task.run.id, f"{task.path}/{n}")), **one} for n, one in enumerate(found)]}
    )


def _documents(node: CsvNode, file: FileText) -> Iterator[dict[str, Any]]:
    about = {"file_id": str(file.id), "file_name": file.name}
    for number, cells in rows_of(file):
        for column in (node.content_column,) if node.content_column else ():
            if column not in cells:
                known = ", ".join(list(cells)[:20])
                raise NodeFailed("input_invalid", f"{file.name!r} has no column {column!r}; its columns: {known}")
        text = cells[node.content_column] if node.content_column else _whole(cells)
        if text.strip():
            chosen = {name: cells[name] for name in node.metadata_columns if name in cells}
            yield {"content": text, "metadata": {**about, **chosen, "row_number": number}}


def _whole(cells: Mapping[str, str]) -> str:
    return "\n".join(f"{column}: {value}" for column, value in cells.items() if value)


def rows_of(file: FileText) -> Iterator[Row]:
    """The rows of the file's tables. A table that the reader cut repeats its header in each passage."""
    number = 1
    for _, text in file.passages:
        header: Sequence[str] | None = None
        for line in text.split("\n"):
            if not line.startswith("| "):
                continue
            cells = _cells(line)
            if header is None:
                header = [name or f"column_{at}" for at, name in enumerate(cells, 1)]
            elif not all(cell == "---" for cell in cells):
                number += 1
                yield number, dict(zip(header, cells, strict=False))


def _cells(line: str) -> Sequence[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(line)[1:-1]]


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.converters.CSVConverter",
        group="converters",
        description="Reads the CSV files of the run; gives `documents`, one for each row.",
        schema=CsvNode,
        work=_work,
    ),
)
