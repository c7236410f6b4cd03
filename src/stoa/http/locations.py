"""The path of an error in a body as a caller writes it: pydantic's location, resolved along the body's own types.

pydantic's location also names the member of a union that was tried (`content[1].text.text`, `config.website.url`),
which is not in the body. The annotation shows which elements are fields and which are such tags, so no list of tags
is needed.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_UNIONS: Final = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Location:
    """`path` as a caller writes it (`content[1].file.id`; "" is the body). `known`: the fields of the object with the
    last element."""

    path: str
    known: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class _At:
    """The types that the value at the current element may have. `tagged`: the next element of the location chooses
    among them."""

    types: list[Any]
    tagged: bool = False


def locate(location: Sequence[str | int], annotation: object) -> Location:
    """`location` without its first element ("body")."""
    at, path, known = _at([annotation]), "", set[str]()
    for name in location:
        if at.tagged and isinstance(name, str):
            at = _at([one for one in at.types if _has_tag(one, name)] or at.types, open_tag=False)
            continue
        known = {field for one in at.types if _is_model(one) for field in _fields(one)}
        below = list(_below(at.types, name))
        if below:
            at = _at(below)
        elif isinstance(name, str) and not known and not _free(at.types):
            continue  # The name of a member of a union, or of a function that checks.
        elif isinstance(name, str) and known and _is_label(name):
            at = _at([one for one in at.types if _is_model(one) and one.__name__ == name] or at.types)
            continue
        else:
            at = _At([])
        path = f"{path}[{name}]" if isinstance(name, int) else (f"{path}.{name}" if path else name)
    return Location(path, known)


def _at(annotations: Sequence[Any], *, open_tag: bool = True) -> _At:
    flat: list[Any] = []
    tagged = False
    for annotation in annotations:
        found, with_tag = _unfold(annotation)
        flat += found
        tagged = tagged or with_tag
    return _At(flat, tagged and open_tag)


def _unfold(annotation: Any) -> tuple[list[Any], bool]:
    """The members of unions, and whether a discriminator chooses among them."""
    if isinstance(annotation, FieldInfo):
        inner, tagged = _unfold(annotation.annotation)
        return inner, tagged or annotation.discriminator is not None
    origin = get_origin(annotation)
    if origin is Annotated:
        first, *notes = get_args(annotation)
        inner, tagged = _unfold(first)
        return inner, tagged or any(isinstance(note, FieldInfo) and note.discriminator is not None for note in notes)
    if origin in _UNIONS:
        parts = [_unfold(one) for one in get_args(annotation)]
        return [one for found, _ in parts for one in found], any(tagged for _, tagged in parts)
    value = getattr(annotation, "__value__", None)  # A type alias.
    return _unfold(value) if value is not None else ([annotation], False)


def _below(annotations: Sequence[Any], name: str | int) -> Iterator[Any]:
    for one in annotations:
        if _is_model(one):
            for known, info in _fields(one).items():
                if known == name:
                    yield info
            continue
        origin, arguments = get_origin(one), get_args(one)
        holder = origin if isinstance(origin, type) else one
        if not isinstance(holder, type) or holder is str:
            continue
        if isinstance(name, int) and issubclass(holder, Sequence | AbstractSet):
            yield arguments[0] if arguments else Any
        elif isinstance(name, str) and issubclass(holder, Mapping):
            yield arguments[1] if len(arguments) == 2 else Any


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _has_tag(model: Any, tag: str) -> bool:
    if not _is_model(model):
        return False
    for info in model.model_fields.values():
        if get_origin(info.annotation) is Literal and tag in (str(one) for one in get_args(info.annotation)):
            return True
    return False


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _free(annotations: Sequence[Any]) -> bool:
    """Whether any key is allowed here, so that the caller chose the name."""
    return any(one is Any for one in annotations) or not annotations


def _is_label(name: str) -> bool:
    """pydantic calls members of a union `str`, `list[…]`, `function-after[…]` or by the name of their class."""
    return "[" in name or name in ("str", "int", "float", "bool", "list", "dict", "none") or name[:1].isupper()
