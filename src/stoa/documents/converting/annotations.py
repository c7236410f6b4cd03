"""What people wrote into a PDF beside its text: values of form fields, comments. Runs in the converting process
only."""

import ctypes
from collections.abc import Iterator
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

ANNOTATIONS_MAX: Final = 2_000
_COMMENTS: Final = frozenset(
    {
        pdfium_c.FPDF_ANNOT_TEXT,
        pdfium_c.FPDF_ANNOT_FREETEXT,
        pdfium_c.FPDF_ANNOT_HIGHLIGHT,
        pdfium_c.FPDF_ANNOT_UNDERLINE,
        pdfium_c.FPDF_ANNOT_STRIKEOUT,
        pdfium_c.FPDF_ANNOT_STAMP,
    }
)
_CHECKED: Final = frozenset({pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON})
_UNSEEN_FLAGS: Final = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN


def notes(document: pdfium.PdfDocument, page: pdfium.PdfPage) -> Iterator[str]:
    """Each value with the name of its field, each comment, in the file's order."""
    count = min(pdfium_c.FPDFPage_GetAnnotCount(page), ANNOTATIONS_MAX)
    if not count:
        return
    if document.formenv is None and document.get_formtype() != pdfium_c.FORMTYPE_NONE:
        document.init_forms()
    for number in range(count):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        try:
            yield from _note(document, annotation)
        finally:
            pdfium_c.FPDFPage_CloseAnnot(annotation)


def _note(document: pdfium.PdfDocument, annotation: Any) -> Iterator[str]:
    if pdfium_c.FPDFAnnot_GetFlags(annotation) & _UNSEEN_FLAGS:
        return
    kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
    if kind == pdfium_c.FPDF_ANNOT_WIDGET and document.formenv is not None:
        form = document.formenv
        field = pdfium_c.FPDFAnnot_GetFormFieldType(form, annotation)
        if field in _CHECKED:
            value = "yes" if pdfium_c.FPDFAnnot_IsChecked(form, annotation) else ""
        else:
            value = _string(pdfium_c.FPDFAnnot_GetFormFieldValue, form, annotation)
        name = _string(pdfium_c.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _string(
            pdfium_c.FPDFAnnot_GetFormFieldName, form, annotation
        )
        if value:
            yield f"{name}: {value}" if name else value
    elif kind in _COMMENTS and (text := _string(pdfium_c.FPDFAnnot_GetStringValue, annotation, b"Contents")):
        yield f"Comment: {text}"


def _string(read: Any, *arguments: Any) -> str:
    """A string of pdfium: first ask for its length; it is UTF-16 with a terminating zero."""
    length: int = read(*arguments, None, 0)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2 + 1))()
    read(*arguments, buffer, length)
    return bytes(buffer)[: length - 2].decode("utf-16-le", "replace").strip()
