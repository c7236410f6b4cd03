"""The run's files as documents. They are read like any upload, in a process that can be killed."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import uuid5

from stoa.runs.agent.steps import Step
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType, Produced
from stoa.runs.workflow.ports import FileText
from stoa.runs.workflow.task import Task

Mode = Literal["one-doc-per-file", "one-doc-per-page", "one-doc-per-element"]
_BY_PAGE: Final = ("PyPDFConverter", "PPTXFileConverter")
"""Converters with one document per page by default."""


class ConverterNode(Node):
    """Whatever its transformer chooses, all files of the run are read."""

    document_creation_mode: Mode | None = None

    @property
    def mode(self) -> Mode:
        by_page = self.type.rsplit(".", 1)[-1] in _BY_PAGE
        return self.document_creation_mode or ("one-doc-per-page" if by_page else "one-doc-per-file")


async def _work(node: ConverterNode, _: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    made = [one for file in await readable_files(task) for one in documents_of(file, node.mode)]
    yield Produced(
        {"documents": [{"id": str(uuid5(task.run.id, f"{task.path}/{n}")), **one} for n, one in enumerate(made)]}
    )


async def readable_files(task: Task) -> Sequence[FileText]:
    """The files of the run, each with a text. Raises NodeFailed."""
    files = await task.ports.files()
    if not files:
        raise NodeFailed("input_invalid", "the run has no files: send files with its form, or file_ids")
    for file in files:
        if file.error is not None:
            raise NodeFailed("file_unreadable", f"the file {file.name!r} cannot be read: {file.error}")
    return files


def documents_of(file: FileText, mode: Mode) -> Iterator[dict[str, Any]]:
    about = {"file_id": str(file.id), "file_name": file.name}
    if mode == "one-doc-per-file":
        yield _document([text for _, text in file.passages], about)
    elif mode == "one-doc-per-element":
        for page, text in file.passages:
            yield _document([text], {**about, **_on(page)})
    else:
        pages: dict[int | None, list[str]] = {}
        for page, text in file.passages:
            pages.setdefault(page, []).append(text)
        for page, texts in pages.items():
            yield _document(texts, {**about, **_on(page)})


def _on(page: int | None) -> Mapping[str, Any]:
    return {"page": page} if page is not None else {}


def _document(texts: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": "\n\n".join(texts), "metadata": dict(metadata)}


TYPES: Final = tuple(
    NodeType(
        name=f"dynamiq.nodes.converters.{name}",
        group="converters",
        description="Reads the files of the run with this server's own readers; gives `documents`.",
        schema=ConverterNode,
        work=_work,
    )
    for name in (
        "UnstructuredFileConverter",
        "MultiFileTypeConverter",
        "PyPDFConverter",
        "DOCXFileConverter",
        "PPTXFileConverter",
        "HTMLConverter",
        "TextFileConverter",
        "ExcelFileConverter",
        "TextractFileConverter",
    )
)
