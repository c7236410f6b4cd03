"""A document as a model that reads text gets it."""

from stoa.gateway.types import DocumentPart


def as_text(part: DocumentPart) -> str:
    """Named, with its pages marked, and with a note where it is not the whole."""
    if part.error is not None:
        return f'<document name="{part.name}">\nThis file could not be read: {part.error.rstrip(".")}.\n</document>'
    pieces: list[str] = []
    page = None
    for passage in part.passages:
        if passage.page is not None and passage.page != page:
            page = passage.page
            pieces.append(f"[page {page}]")
        pieces.append(passage.text)
    note = "" if part.complete else "\n[Only the passages that are relevant to the question are shown.]"
    return f'<document name="{part.name}">\n' + "\n\n".join(pieces) + f"{note}\n</document>"
