"""The answers of OpenAI's chat-completions wire, as OpenAI and all its look-alikes send them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stoa.gateway.providers.failures import Failure, found
from stoa.gateway.providers.fields import count_of, index_of, list_of, object_of, text_of
from stoa.gateway.providers.reading import REASONS, Reading, broken_off, finish_of, kept
from stoa.gateway.providers.toolcalls import Names, ToolCalls
from stoa.gateway.types import Delta, Finish, ReasoningDelta, TextDelta, Usage

REASONING: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
"""Spellings of what a model thinks aloud; the first that holds text counts."""
_REASONING_PARTS: Final = ("thinking", "reasoning", "reasoning_content", "reasoning_text", "thought")
_NO_REASONS: Final = ("null", "none", "None")
"""What some servers send in place of null."""
_DEPTH_MAX: Final = 4


class OpenAIReading(Reading):
    """`source` marks what is to be given back to this provider alone; `clean` makes its words fit to be shown."""

    def __init__(self, clean: Callable[[str], str], names: Names | None = None, source: str = "") -> None:
        self._clean = clean
        self._source = source
        self._calls = ToolCalls(names)
        self._reason = ""
        self._said = self._refused = False
        self._thoughts: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._extra: Any = None

    def read(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        choices = event.get("choices")
        if choices:
            for choice in choices if type(choices) is list else list_of(choices):
                self._choice(choice, out)
            if event.get("error"):
                self._fail(event)
        else:
            self._fail(event)
        if groq := object_of(event.get("x_groq")):
            if groq.get("error"):  # Why it stopped early.
                self._fail(groq)
            self._usage(groq.get("usage"), out)
        if usage := event.get("usage"):
            self._usage(usage, out)

    def _choice(self, choice: Any, out: list[Delta]) -> None:
        if type(choice) is not dict or (index_of(choice.get("index")) or 0) > 0:  # Another answer to the same question.
            return
        delta = choice.get("delta")
        if type(delta) is dict and delta:
            content = delta.get("content")
            if len(delta) > 1 or not content:
                self._reasoning(delta, out)
            if content:
                if type(content) is str:
                    self._said = True
                    out.append(TextDelta(content))
                else:
                    self._parts(content, out)
            if len(delta) > 1 or not content:
                self._rest(delta, out)
        else:
            self._whole(choice, out)
        if choice.get("error"):
            self._fail(choice)
        if (reason := choice.get("finish_reason") or choice.get("finishReason")) and reason not in _NO_REASONS:
            self._reason, self.finished = text_of(reason) or "an unknown reason", True
            if usage := choice.get("usage"):
                self._usage(usage, out)

    def _whole(self, choice: Mapping[str, Any], out: list[Delta]) -> None:
        """A choice that holds the message itself. One that only repeats what was streamed is passed over."""
        message = choice.get("message") or choice.get("delta")
        if not isinstance(message, dict):
            message = {"content": message or choice.get("text")}
        if not self._said:
            self._reasoning(message, out)
            self._parts(message.get("content"), out)
            self._rest(message, out)
        else:
            self._calls.read(list_of(message.get("tool_calls")), out)

    def _rest(self, delta: Mapping[str, Any], out: list[Delta]) -> None:
        """Everything of a delta but its reasoning, which comes before its text, and its text."""
        if calls := delta.get("tool_calls"):
            self._calls.read(list_of(calls), out)
        if call := delta.get("function_call"):
            self._calls.read([{"function": call}], out)
        if (refusal := delta.get("refusal")) and (text := text_of(refusal)):
            self._refused = self._said = True
            out.append(TextDelta(text))
        if extra := delta.get("extra_content"):
            self._extra = extra

    def _reasoning(self, delta: Mapping[str, Any], out: list[Delta]) -> None:
        thought = ""
        for name in REASONING:
            if (value := delta.get(name)) and (thought := _thought(value)):
                if name == "reasoning_content":
                    self._thoughts.append(thought)
                break
        details = delta.get("reasoning_details")
        if details:
            for detail in list_of(details):
                if isinstance(detail, dict):
                    thought = thought or text_of(detail.get("text")) or text_of(detail.get("summary"))
                    _add_detail(self._details, detail)
        if thought:
            out.append(ReasoningDelta(thought))

    def _parts(self, content: Any, out: list[Delta], depth: int = 0) -> None:
        """Content as text, as a part or as parts, of text or of thought."""
        if isinstance(content, list):
            for part in content if depth < _DEPTH_MAX else ():
                self._parts(part, out, depth + 1)
        elif isinstance(content, dict):
            if content.get("type") in _REASONING_PARTS or content.get("thought") is True:
                if thought := _thought(content):
                    out.append(ReasoningDelta(thought))
            elif content.get("type") == "refusal" and (text := text_of(content.get("refusal"))):
                self._refused = self._said = True
                out.append(TextDelta(text))
            else:
                text = content.get("text")
                self._parts(text.get("value") if isinstance(text, dict) else text_of(text), out, _DEPTH_MAX)
        elif text := text_of(content):
            self._said = True
            out.append(TextDelta(text))

    def _usage(self, usage: Any, out: list[Delta]) -> None:
        if (counts := usage_of(object_of(usage))) is not None:
            out.append(counts)

    def _fail(self, held: Mapping[str, Any]) -> None:
        """Raises ModelError for a failure that stands in an event or a choice."""
        if (failure := found(held)) is not None:
            raise broken_off(failure, self._clean(failure.message))

    def close(self, out: list[Delta]) -> Finish:
        self._calls.close(out)
        if self._calls and self._source and (data := kept(self._source, self._provider_data())):
            out.append(data)
        if not (self._said or self._calls):
            if not self.finished:
                raise broken_off(Failure(""), "it ended without a word.")
            if REASONS.get(self._reason.strip().lower()) == "tool_calls":
                raise broken_off(Failure(""), "it was to call a tool, and the call did not come.")
        return finish_of(self._reason, calls=bool(self._calls), refused=self._refused)

    def _provider_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"calls": self._calls.provider_data()}
        if self._thoughts:
            data["reasoning_content"] = "".join(self._thoughts)
        if self._details:
            data["reasoning_details"] = self._details
        if self._extra:
            data["extra_content"] = self._extra
        return data


def _thought(value: Any, depth: int = 0) -> str:
    """The text of a thought: a string, or parts that hold strings."""
    if isinstance(value, list):
        return "".join(_thought(item, depth + 1) for item in value) if depth < _DEPTH_MAX else ""
    if isinstance(value, dict):
        for name in ("thinking", "text", "content", "reasoning", "reasoning_content", "thought"):
            if value.get(name) and depth < _DEPTH_MAX and (text := _thought(value[name], depth + 1)):
                return text
        return ""
    return text_of(value)


def _add_detail(details: list[dict[str, Any]], detail: dict[str, Any]) -> None:
    """OpenRouter streams its details in pieces: those of one index and type are one, their texts joined."""
    key = (detail.get("index"), detail.get("type"))
    before = next(
        (one for one in reversed(details) if (one.get("index"), one.get("type")) == key and key[0] is not None), None
    )
    if before is None:
        details.append(dict(detail))
        return
    for name, value in detail.items():
        if name in ("text", "summary", "data") and isinstance(value, str) and isinstance(before.get(name), str):
            before[name] += value
        elif value is not None:
            before[name] = value


def usage_of(usage: Mapping[str, Any]) -> Usage | None:
    """None where nothing is counted: some servers send zeros until the end."""
    details = object_of(usage.get("prompt_tokens_details"))
    prompt = count_of(usage.get("prompt_tokens")) or count_of(usage.get("input_tokens"))
    completion = count_of(usage.get("completion_tokens")) or count_of(usage.get("output_tokens"))
    reasoning = count_of(object_of(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    if reasoning and count_of(usage.get("total_tokens")) == prompt + completion + reasoning:
        completion = count_of(
            completion + reasoning
        )  # xAI and Gemini count thoughts beside the answer, OpenAI within it.
    cached = count_of(details.get("cached_tokens")) or count_of(usage.get("prompt_cache_hit_tokens"))
    written = count_of(details.get("cache_write_tokens")) or count_of(usage.get("cache_creation_input_tokens"))
    if not (prompt or completion):
        return None
    return Usage(prompt, completion, cached, reasoning, cache_write_tokens=min(written, max(prompt - cached, 0)))
