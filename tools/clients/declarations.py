"""Writes the JavaScript client's types from the Python client's: `python tools/clients/declarations.py`.

The Python classes are compared with the server's OpenAPI document and its table of events; what is written from them
cannot say anything else. A test keeps `types.d.ts` current.
"""

import ast
import re
import sys
from pathlib import Path
from typing import Final

CLIENTS: Final = Path(__file__).parents[2] / "clients"
PACKAGE: Final = CLIENTS / "python" / "src" / "stoa_client"
TARGET: Final = CLIENTS / "javascript" / "src" / "types.d.ts"
PLAIN: Final = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "Any": "unknown"}
BASES: Final = {"Record", "TypedDict", "Event"}
HEAD: Final = """\
// Written by tools/clients/declarations.py from the Python client's types; change those.
// Objects are what the server sent: fields that this version does not know are there too.

export interface EventOf<Type extends string, Data> {
  id: string;
  type: Type;
  sequence: number;
  timestamp: string;
  data: Data;
}
"""


def members(union: ast.expr) -> list[ast.expr]:
    return [*members(union.left), *members(union.right)] if isinstance(union, ast.BinOp) else [union]


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def typescript(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        return " | ".join(typescript(one) for one in members(node) if not is_none(one))
    if isinstance(node, ast.Name):
        return PLAIN.get(node.id, node.id)
    assert isinstance(node, ast.Subscript), ast.dump(node)
    of, inner = ast.unparse(node.value), node.slice
    elements = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if of == "Literal":
        return " | ".join(f'"{ast.literal_eval(one)}"' for one in elements)
    if of == "list":
        text = typescript(inner)
        return f"({text})[]" if "|" in text else f"{text}[]"
    if of in ("dict", "Mapping"):
        return f"Record<string, {typescript(elements[1])}>"
    assert of == "NotRequired", of
    return typescript(inner)


def interface(node: ast.ClassDef) -> str:
    partial = any(keyword.arg == "total" for keyword in node.keywords)
    base = ast.unparse(node.bases[0])
    lines = [f"/** {' '.join(text.split())} */"] if (text := ast.get_docstring(node)) else []
    lines.append(f"export interface {node.name}{'' if base in BASES else f' extends {base}'} {{")
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            hint = field.annotation
            left_out = any(map(is_none, members(hint))) or ast.unparse(hint).startswith("NotRequired")
            mark = "?" if partial or left_out else ""
            lines.append(f"  {field.target.id}{mark}: {typescript(hint)};")
    return "\n".join([*lines, "}\n"])


def interfaces(source: str) -> list[str]:
    """Those of the records and typed dictionaries; what only has methods is no type of the wire."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return [interface(node) for node in classes if ast.unparse(node.bases[0]) in {*BASES, "AccessKey", "EventData"}]


def declarations() -> str:
    types, events = ((PACKAGE / name).read_text("utf-8") for name in ("types.py", "events.py"))
    table = re.findall(r'^    "([\w.]+)": (\w+),$', events, re.MULTILINE)
    data = dict(re.findall(r"^class (\w+)\(Event\):\n    data: (\w+)$", events, re.MULTILINE))
    named = [f'export type {kind} = EventOf<"{name}", {data[kind]}>;' for name, kind in table]
    union = "/** A later server may send others: have a default. */\nexport type StoaEvent =\n"
    union += "\n".join(f"  | {kind}" for _, kind in table) + ";"
    bodies = interfaces(types) + interfaces(events.partition("class Event(Record)")[0])
    return "\n".join([HEAD, *bodies, *named, "", union, "", CONTENT])


CONTENT: Final = """\
/** A text, or parts: texts, uploaded files, or the API's own parts. */
export type Content = string | (string | File | TextPart | FilePart)[];
"""


def main() -> int:
    TARGET.write_text(declarations(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
