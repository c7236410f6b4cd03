"""Computes the changes that bring a server to the definitions. Pure: takes both as arguments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from stoa.cli.apply.definitions import Definitions, flow_of

WRITE_ONLY: Final = "secrets"
REINDEXED: Final = ("embedder", "chunking", "language")
"""Changing one of these fields of a base with items builds a new index beside the old one."""


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with its current and its wanted value."""

    field: str
    is_: Any
    becomes: Any


@dataclass(frozen=True, slots=True)
class Change:
    """`live` is the current object, `wanted` the one in the file. `why` says why the change is refused."""

    kind: str
    name: str
    action: Action
    wanted: Mapping[str, Any]
    live: Mapping[str, Any] | None = None
    differences: Sequence[Difference] = ()
    below: str | None = None
    why: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields that differ."""
        return frozenset(one.field.partition(".")[0] for one in self.differences)


@dataclass(frozen=True, slots=True)
class Live:
    """The server's objects, by name. An app has the `flow` that it runs."""

    bases: Mapping[str, Sequence[Mapping[str, Any]]]
    sources: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
    tools: Mapping[str, Sequence[Mapping[str, Any]]]
    apps: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order in which they are applied. `others` are on the server and in no file."""

    changes: Sequence[Change]
    others: Sequence[tuple[str, str]]

    @property
    def differs(self) -> bool:
        return any(change.action is not Action.KEEP for change in self.changes)

    def count(self, action: Action) -> int:
        return sum(change.action is action for change in self.changes)


def plan(wanted: Definitions, live: Live, *, send_secrets: bool = False) -> Plan:
    """The order is bases, sources, tools, apps, because each kind may refer to the kinds before it."""
    changes: list[Change] = []
    for name, base in wanted.bases.items():
        changes.append(_compare("base", name, base, live.bases.get(name, ()), send_secrets=send_secrets))
    for (base_name, name), source in wanted.sources.items():
        found = live.sources.get((base_name, name), ())
        changes.append(_compare("source", name, source, found, below=base_name, send_secrets=send_secrets))
    for name, tool in wanted.tools.items():
        changes.append(_compare("tool", name, tool, live.tools.get(name, ()), send_secrets=send_secrets))
    ids = {name: str(found[0]["id"]) for name, found in live.bases.items() if len(found) == 1}
    for name, app in wanted.apps.items():
        changes.append(_compare("app", name, _as_live(app, ids), live.apps.get(name, ()), send_secrets=send_secrets))
    return Plan(changes, _others(wanted, live))


def with_base_ids(flow: Mapping[str, Any], ids: Mapping[str, str]) -> Mapping[str, Any]:
    """Replaces names of bases by ids, in the short form with one agent and in the agents of a graph."""
    return cast("Mapping[str, Any]", _named(flow, ids))


def differences(wanted: object, live: object, field: str = "", depth: int = 0) -> Iterator[Difference]:
    """Fields whose value in the file differs. On the first two levels the server chooses fields that the file leaves
    out. Deeper objects are compared as a whole, without null and empty values."""
    if isinstance(wanted, dict) and isinstance(live, dict) and depth < 2:
        there = cast("dict[str, Any]", live)
        for name, value in cast("dict[str, Any]", wanted).items():
            # The server stores a flow as it was sent, so it is compared as a whole.
            deeper = 2 if name == "flow" else depth + 1
            yield from differences(value, there.get(name), f"{field}.{name}" if field else name, deeper)
    elif _bare(wanted) != _bare(live):
        yield Difference(field, live, wanted)


def leaves(difference: Difference) -> Iterator[Difference]:
    """The fields inside a difference that differ, for display."""
    before, after = difference.is_, difference.becomes
    if isinstance(before, dict) and isinstance(after, dict):
        there, wanted = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for name in dict.fromkeys([*there, *wanted]):
            if _bare(there.get(name)) != _bare(wanted.get(name)):
                yield from leaves(Difference(f"{difference.field}.{name}", there.get(name), wanted.get(name)))
    else:
        yield difference


def _bare(value: object) -> object:
    """Without null and empty values, which the server leaves out or fills in."""
    if isinstance(value, dict):
        pairs = {name: _bare(one) for name, one in cast("dict[str, object]", value).items()}
        return {name: one for name, one in pairs.items() if one is not None} or None
    if isinstance(value, list):
        return [_bare(one) for one in cast("list[object]", value)] or None
    if isinstance(value, bool):
        return value or None
    return float(value) if isinstance(value, int) else value


def _compare(
    kind: str,
    name: str,
    wanted: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    *,
    below: str | None = None,
    send_secrets: bool,
) -> Change:
    if not found:
        return Change(kind, name, Action.CREATE, wanted, below=below)
    live = found[0]
    if len(found) > 1:
        why = f"{len(found)} {kind}s have this name; give them different ones"
        return Change(kind, name, Action.REFUSE, wanted, live, below=below, why=why)
    compared = {key: value for key, value in wanted.items() if key != WRITE_ONLY and not key.startswith("_")}
    differ = [*differences(compared, live)]
    differ += _secrets(wanted, live, send=send_secrets)
    for fixed in ("type", "provider"):
        if any(one.field == fixed for one in differ):
            why = f"{fixed} cannot change; delete it first"
            return Change(kind, name, Action.REFUSE, wanted, live, differ, below, why)
    return Change(kind, name, Action.CHANGE if differ else Action.KEEP, wanted, live, differ, below)


def _secrets(wanted: Mapping[str, Any], live: Mapping[str, Any], *, send: bool) -> list[Difference]:
    """Compares the names of secrets, because their values cannot be read back. `send` sends them in any case."""
    if WRITE_ONLY not in wanted:
        return []
    names = sorted(cast("Mapping[str, str]", wanted[WRITE_ONLY] or {}))
    there = sorted(live.get("secret_names", ()))
    return [Difference(WRITE_ONLY, there, names)] if send or names != there else []


def _as_live(app: Mapping[str, Any], ids: Mapping[str, str]) -> Mapping[str, Any]:
    """An app's definition in the server's format."""
    shaped: dict[str, Any] = {"name": app["name"], "flow": with_base_ids(flow_of(app), ids)}
    if "description" in app:
        shaped["description"] = app["description"]
    if "access" in app:
        shaped["access"] = app["access"]
    for kept in ("workflow", "flow_ui"):
        if kept in app:
            shaped[f"_{kept}"] = app[kept]  # For applying the change; it is not compared.
    return shaped


def _named(value: object, ids: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        named: dict[str, object] = {}
        for key, one in cast("dict[str, object]", value).items():
            if key == "knowledge_bases" and isinstance(one, list):
                named[key] = [ids.get(str(base), str(base)) for base in cast("list[object]", one)]
            else:
                named[key] = _named(one, ids)
        return named
    return [_named(one, ids) for one in cast("list[object]", value)] if isinstance(value, list) else value


def _others(wanted: Definitions, live: Live) -> list[tuple[str, str]]:
    others = [("base", name) for name in live.bases if name not in wanted.bases]
    others += [("source", f"{base}/{name}") for base, name in live.sources if (base, name) not in wanted.sources]
    others += [("tool", name) for name in live.tools if name not in wanted.tools]
    others += [("app", name) for name in live.apps if name not in wanted.apps]
    return others
