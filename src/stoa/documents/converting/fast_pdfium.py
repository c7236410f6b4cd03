"""The functions of pdfium that are called for every word and for every line of a drawing.

They take addresses as plain numbers: ctypes converts these in less than half the time of the typed pointers of
`pypdfium2.raw`. An address is valid for as long as its page is open. Runs in the converting process only.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_void_p
from typing import Any, Final

import pypdfium2.raw as pdfium_c


def _function(typed: Any, result: Any, *arguments: Any) -> Callable[..., Any]:
    address = ctypes.cast(typed, c_void_p).value
    assert address is not None, "a function of the library has an address"
    return ctypes.CFUNCTYPE(result, *arguments)(address)


char_box: Final = _function(pdfium_c.FPDFText_GetCharBox, c_int, c_void_p, c_int, *[c_void_p] * 4)
"""(text page, index, left, right, bottom, top): the last four are pointers to doubles."""
page_object: Final = _function(pdfium_c.FPDFPage_GetObject, c_void_p, c_void_p, c_int)
object_type: Final = _function(pdfium_c.FPDFPageObj_GetType, c_int, c_void_p)
object_bounds: Final = _function(pdfium_c.FPDFPageObj_GetBounds, c_int, *[c_void_p] * 5)
"""(object, left, bottom, right, top): the last four are pointers to floats."""
object_matrix: Final = _function(pdfium_c.FPDFPageObj_GetMatrix, c_int, c_void_p, c_void_p)
"""(object, pointer to six floats)."""
segments_count: Final = _function(pdfium_c.FPDFPath_CountSegments, c_int, c_void_p)
path_segment: Final = _function(pdfium_c.FPDFPath_GetPathSegment, c_void_p, c_void_p, c_int)
segment_point: Final = _function(pdfium_c.FPDFPathSegment_GetPoint, c_int, c_void_p, c_void_p, c_void_p)
segment_type: Final = _function(pdfium_c.FPDFPathSegment_GetType, c_int, c_void_p)
segment_close: Final = _function(pdfium_c.FPDFPathSegment_GetClose, c_int, c_void_p)


def address_of(pointer: Any) -> int:
    """The address that a pointer of `pypdfium2.raw` points to."""
    return ctypes.cast(pointer, c_void_p).value or 0


def room(kind: Any, count: int) -> tuple[Any, list[int]]:
    """An array for pdfium's results, and the address of each element."""
    array = (kind * count)()
    base, size = ctypes.addressof(array), ctypes.sizeof(kind)
    return array, [base + size * place for place in range(count)]
