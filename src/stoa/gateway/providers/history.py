"""Makes a request valid for a provider: messages, images and tools, according to the provider's `Demands`. Pure.

Omissions and changes that the user should know are named in a notice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import takewhile
from typing import Any, Final

import orjson

from stoa.gateway.arguments import arguments_in
from stoa.gateway.providers.concessions import Concessions
from stoa.gateway.providers.demands import Demands
from stoa.gateway.providers.fields import list_of, object_of, text_of
from stoa.gateway.providers.loose import cleaned
from stoa.gateway.providers.pictures import look, problem
from stoa.gateway.providers.schemas import Unusable, tool_parameters
from stoa.gateway.types import (
    DocumentPart,
    ImageAddress,
    ImagePart,
    ModelMessage,
    ModelRequest,
    Part,
    ProviderData,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)

INTERRUPTED: Final = "(My answer was interrupted here.)"
EARLIER: Final = "(Earlier messages are not shown.)"
GO_ON: Final = "Go on."
NO_OUTPUT: Final = "(no output)"
NO_RESULT: Final = "No result of this call is known."
CALL_ID_CHARACTERS: Final = 9
"""Mistral takes ids of nine letters and digits alone; every other provider takes those too."""
IMAGE_CHARACTERS: Final = 4_000
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(slots=True)
class Prepared:
    """A request as its provider takes it. `names` leads from the tools' names on the wire to ours."""

    messages: list[ModelMessage]
    instructions: str | None
    tools: list[ToolSpec] = field(default_factory=list[ToolSpec])
    tools_offered: bool = True
    """False: the tools are only declared for earlier calls, and none may be called."""
    names: dict[str, str] = field(default_factory=dict[str, str])
    notices: list[str] = field(default_factory=list[str])


def prepared(request: ModelRequest, demands: Demands, granted: Concessions, source: str) -> Prepared:
    """`source` is the provider's: data of other providers is not sent to it."""
    made = Prepared([], request.instructions)
    _tools(request, demands, granted, made)
    messages = list(request.messages)
    if granted.last_message_only:
        last = max((place for place, one in enumerate(messages) if one.role == "user"), default=0)
        messages = messages[last:]
    elif granted.halvings:
        messages = _newest(messages, granted.halvings)
    valid = _valid(messages)
    as_text = granted.calls_as_text or not granted.tools
    rest = _paired(_numbered(messages[valid:], made, source, opaque=granted.opaque))
    if as_text:
        rest = [_told(message) for message in rest]
    rest = _pictured(rest, demands, granted, made)
    made.messages = _ordered(messages[:valid], [_without_blanks(message) for message in rest], demands)
    if not made.tools and not as_text:
        _stand_ins(made)
    return made


def _newest(messages: Sequence[ModelMessage], halvings: int) -> list[ModelMessage]:
    """The last message of the user with what follows it, and the newest of those before it: of each `halvings` half of
    their characters."""
    last = max((place for place, one in enumerate(messages) if one.role == "user"), default=0)
    sizes = list(map(_characters, messages[:last]))
    room, first = sum(sizes) >> halvings, last
    while first > 0 and sizes[first - 1] <= room:
        first -= 1
        room -= sizes[first]
    return list(messages[first:])


def _characters(message: ModelMessage) -> int:
    """Of a message's text; an image counts as much as its tokens do, roughly."""
    total = 0
    for part in message.parts:
        match part:
            case TextPart():
                total += len(part.text)
            case DocumentPart():
                total += sum(len(passage.text) for passage in part.passages)
            case ToolCallPart():
                total += len(part.arguments)
            case ToolResultPart():
                total += len(part.result)
            case _:
                total += IMAGE_CHARACTERS
    return total


def _valid(messages: Sequence[ModelMessage]) -> int:
    """The number of leading messages that are valid for every provider: alternating texts. In a long conversation these
    are nearly all, and the steps below only process the rest."""
    role = "user"
    for place, message in enumerate(messages):
        parts = message.parts
        if message.role != role or message.provider is not None or len(parts) != 1:
            return place
        part = parts[0]
        if type(part) is not TextPart or not part.text or part.text.isspace():
            return place
        role = "assistant" if role == "user" else "user"
    return len(messages)


# --- tools ----------------------------------------------------------------------------------------------------------
def _tools(request: ModelRequest, demands: Demands, granted: Concessions, made: Prepared) -> None:
    more: list[str] = []
    if request.tools and not granted.tools:
        made.notices.append("This model takes no tools: it is asked without them.")
        return
    for tool in request.tools:
        if tool.name in granted.tools_left_out:
            continue  # The notice was given with the concession.
        try:
            parameters = tool_parameters(tool.parameters, demands)
        except Unusable as error:
            made.notices.append(f"The tool {tool.name} is not offered to this model: {error}.")
            continue
        if len(made.tools) == demands.tools_max:
            made.notices.append(
                f"The tool {tool.name} is not offered: this model's provider takes {demands.tools_max} tools."
            )
            continue
        name = _free(safe_name(tool.name, demands.tool_name_characters_max), made.names)
        made.names[name] = tool.name
        description, rest = _cut(tool.description.strip() or tool.name, demands.tool_description_characters_max)
        if rest:
            more.append(f"More about the tool {name}: {rest}")
        made.tools.append(ToolSpec(name, description, parameters))
    if more:
        made.instructions = "\n\n".join([*([made.instructions] if made.instructions else []), *more])


def safe_name(name: str, characters_max: int = 64) -> str:
    """Letters, digits, _ and - alone, as every provider takes it."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:characters_max] or "unknown_tool"


def _free(name: str, taken: Mapping[str, str]) -> str:
    """The name, or with a number behind it where another tool has it already."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name[:60]}_{number}", number + 1
    return free


def _cut(description: str, characters_max: int) -> tuple[str, str]:
    """A description within the provider's limit, and what of it has to be said elsewhere."""
    if len(description) <= characters_max:
        return description, ""
    end = max(description.rfind(mark, 0, characters_max - 2) for mark in (" ", "\n"))
    end = end if end > characters_max // 2 else characters_max - 2
    return f"{description[:end].rstrip()} …", description[end:].strip()


def _stand_ins(made: Prepared) -> None:
    """Tools for the calls that the history holds, where none is offered now: some providers refuse such a history
    without them."""
    called = [part for message in made.messages for part in message.parts if isinstance(part, ToolCallPart)]
    for name in dict.fromkeys(part.name for part in called):
        made.tools.append(ToolSpec(name, "Not available any more.", {"type": "object", "properties": {}}))
        made.names[name] = name
    made.tools_offered = False


# --- calls and results ----------------------------------------------------------------------------------------------
def _numbered(messages: Sequence[ModelMessage], made: Prepared, source: str, *, opaque: bool) -> list[ModelMessage]:
    """Each call with an id that the provider takes and no other call has, and a name that it takes: its own id where it
    gave one."""
    names = {ours: wire for wire, ours in made.names.items()}
    ids: dict[str, str] = {}
    used: set[str] = set()
    out: list[ModelMessage] = []
    for message in messages:
        provider = message.provider if message.provider is not None and message.provider.source == source else None
        own = list_of(provider.data.get("calls")) if provider is not None else ()
        parts: list[Part] = []
        calls = 0
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                given = object_of(own[calls]) if calls < len(own) else {}
                calls += 1
                id_ = text_of(given.get("id"))
                id_ = id_ if id_ and id_ not in used else _made_id(part.id, used)
                used.add(id_)
                ids[part.id] = id_
                extra = {name: value for name, value in given.items() if name != "id"} if opaque else {}
                name = names.get(part.name) or safe_name(part.name)
                part = ToolCallPart(id_, name, _readable(part.arguments), extra or None)  # noqa: PLW2901
            elif isinstance(part, ToolResultPart):
                name, result = names.get(part.name) or safe_name(part.name), part.result
                result = result if result.strip() else NO_OUTPUT
                part = replace(part, id=ids.get(part.id, part.id), name=name, result=result)  # noqa: PLW2901
            parts.append(part)
        out.append(ModelMessage(message.role, tuple(parts), _kept(provider) if opaque else None))
    return out


def _readable(arguments: str) -> str:
    """A call's arguments as JSON of an object: providers and chat templates parse them, and fail at anything else. What
    a model wrote that is none is told to it as text."""
    try:
        if isinstance(orjson.loads(arguments), dict):
            return arguments
    except orjson.JSONDecodeError:
        if (held := arguments_in(arguments)) is not None:
            return orjson.dumps(cleaned(held)).decode()
    return orjson.dumps({"not_json": arguments.encode("utf-8", "replace").decode()}).decode()


def _kept(provider: ProviderData | None) -> ProviderData | None:
    return provider if provider is not None and provider.data.keys() - {"calls"} else None


def _made_id(ours: str, used: set[str]) -> str:
    """Derived from ours, so that it is the same in each request: providers cache what they have read."""
    number = 0
    while True:
        digest = sha256(f"{ours}/{number}".encode()).digest()
        made = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:CALL_ID_CHARACTERS])
        if made not in used:
            return made
        number += 1


def _paired(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Each call is followed by its result, and each result follows its call."""
    out: list[ModelMessage] = []
    for place, message in enumerate(messages):
        if message.role == "tool":
            continue  # It was taken with its calls.
        out.append(message)
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        if calls:
            following = takewhile(lambda one: one.role == "tool", messages[place + 1 :])
            results = {part.id: part for one in following for part in one.parts if isinstance(part, ToolResultPart)}
            missing = [
                ToolResultPart(call.id, call.name, NO_RESULT, failed=True) for call in calls if call.id not in results
            ]
            found = [results[call.id] for call in calls if call.id in results]
            out.append(ModelMessage("tool", (*found, *missing)))
    return out


def _told(message: ModelMessage) -> ModelMessage:
    """Tool calls and results as text."""
    parts: list[Part] = []
    for part in message.parts:
        match part:
            case ToolCallPart():
                parts.append(TextPart(f"[I called the tool {part.name} with {part.arguments}]"))
            case ToolResultPart():
                parts.append(TextPart(f"[Result of the tool {part.name}: {part.result}]"))
            case _:
                parts.append(part)
    return ModelMessage("user" if message.role == "tool" else message.role, tuple(parts))


# --- pictures -------------------------------------------------------------------------------------------------------
def _pictured(
    messages: Sequence[ModelMessage], demands: Demands, granted: Concessions, made: Prepared
) -> list[ModelMessage]:
    """Pictures under their true media type; those that the provider does not take as a note in their place. The newest
    count first."""
    room, count = demands.pictures_bytes_max, 0
    out: list[ModelMessage] = []
    for message in reversed(messages):
        if not granted.pictures and any(isinstance(part, ImageAddress) for part in message.parts):
            message = replace(message, parts=tuple(map(_address_left_out, message.parts)))  # noqa: PLW2901
        if not any(isinstance(part, ImagePart) for part in message.parts):
            out.append(message)
            continue
        parts: list[Part] = []
        for part in reversed(message.parts):
            if isinstance(part, ImagePart):
                why = problem(part, demands) if granted.pictures else "this model's provider refused it"
                if why is None and (len(part.data) > room or count == demands.pictures_max):
                    why = "this model's provider takes no more pictures at once"
                if why is None and (seen := look(part.data)) is not None:
                    room, count = room - len(part.data), count + 1
                    part = replace(part, mime_type=seen.mime_type)  # noqa: PLW2901
                else:
                    made.notices.append(f"The picture {part.name} is not shown to the model: {why}.")
                    part = TextPart(f"[The picture {part.name} is not shown: {why}.]")  # noqa: PLW2901
            parts.append(part)
        out.append(replace(message, parts=tuple(reversed(parts))))
    return out[::-1]


def _address_left_out(part: Part) -> Part:
    if not isinstance(part, ImageAddress):
        return part
    return TextPart("[A picture is not shown: this model's provider refused it.]")


# --- order ----------------------------------------------------------------------------------------------------------
def _without_blanks(message: ModelMessage) -> ModelMessage:
    parts = tuple(part for part in message.parts if not (isinstance(part, TextPart) and not part.text.strip()))
    return message if len(parts) == len(message.parts) else replace(message, parts=parts)


def _ordered(valid: Sequence[ModelMessage], messages: Sequence[ModelMessage], demands: Demands) -> list[ModelMessage]:
    """Roles alternate, a user's message is first, and the last one is not the assistant's. `valid` are already
    valid."""
    out = list(valid)
    for message in messages:
        if not message.parts:
            continue
        last = out[-1] if out else None
        if last is None and message.role != "user":
            out.append(_says("user", EARLIER))
        if last is not None and last.role == message.role:
            out[-1] = ModelMessage(message.role, (*last.parts, *message.parts), message.provider or last.provider)
            continue
        if last is not None and last.role == "tool" and message.role == "user" and not demands.user_after_tool:
            out.append(_says("assistant", INTERRUPTED))
        out.append(message)
    if out and out[-1].role == "assistant":
        out.append(_says("user", GO_ON))
    return out


def _says(role: Any, text: str) -> ModelMessage:
    return ModelMessage(role, (TextPart(text),))
