"""Splits documents into pieces, like the platform's library."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import NAMESPACE_OID, uuid5

from pydantic import Field

from stoa.runs.workflow.nodes.documents import DOCUMENTS_MAX, documents_of, metadata_of
from stoa.runs.workflow.nodes.node import Inputs, Node, NodeFailed, NodeType

_MARKS: Final[Mapping[str, str]] = {
    "character": "",
    "word": " ",
    "sentence": ".",
    "page": "\f",
    "passage": "\n\n",
    "title": "\n#",
}


class SplitterNode(Node):
    """`split_length` units of `split_by` become a piece; the next one begins `split_overlap` units before its end."""

    split_by: Literal["character", "word", "sentence", "page", "passage", "title"] = "passage"
    split_length: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    split_overlap: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @property
    def costly(self) -> bool:
        return True

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.split_overlap >= self.split_length:
            yield "split_overlap", "must be smaller than split_length"


def _decide(node: SplitterNode, inputs: Inputs) -> Any:
    pieces: list[dict[str, Any]] = []
    for document in documents_of(inputs):
        for number, text in enumerate(pieces_of(document["content"], node)):
            if len(pieces) >= DOCUMENTS_MAX:
                raise NodeFailed("output_too_large", f"its documents have more than {DOCUMENTS_MAX} pieces")
            source = str(document.get("id", ""))
            made = str(uuid5(NAMESPACE_OID, f"{source}/{number}/{text}"))
            pieces.append({"id": made, "content": text, "metadata": {**metadata_of(document), "source_id": source}})
    return {"documents": pieces}


def pieces_of(text: str, node: SplitterNode) -> Iterator[str]:
    """Blank pieces are left out."""
    units = _units(text, _MARKS[node.split_by])
    step = node.split_length - node.split_overlap
    for begin in range(0, len(units), step):
        piece = "".join(units[begin : begin + node.split_length])
        if piece.strip():
            yield piece
        if begin + node.split_length >= len(units):
            return


def _units(text: str, mark: str) -> Sequence[str]:
    """The units, each with its delimiter."""
    if not mark:
        return text
    parts = text.split(mark)
    return [*(f"{part}{mark}" for part in parts[:-1]), parts[-1]]


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.splitters.DocumentSplitter",
        group="splitters",
        description="Cuts `documents` into pieces of so many words, sentences, passages, pages or titles.",
        schema=SplitterNode,
        decide=_decide,
    ),
)
