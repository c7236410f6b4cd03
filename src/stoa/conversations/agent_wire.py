"""The JSON shape of an agent: the instructions of a conversation's model, and the tools that it may call."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field

from stoa.conversations import rules
from stoa.http import Body
from stoa.http.wire import not_blank
from stoa.kernel.errors import BadRequest


def small(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if metadata is not None:
        try:
            encoded = orjson.dumps(metadata)
        except (TypeError, ValueError, orjson.JSONEncodeError) as error:
            raise ValueError(
                "holds a value that cannot be stored; use plain JSON with numbers of at most 64 bits"
            ) from error
        if len(encoded) > rules.METADATA_BYTES_MAX:
            raise ValueError(f"is over {rules.METADATA_BYTES_MAX // 1024} KiB as JSON")
        if b"\\u0000" in encoded:
            raise ValueError("cannot hold the character NUL")
    return metadata


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class LimitsIn(Body):
    """Of one run, its subagents included. `iterations_max` counts replies of the model (default 25);
    `output_tokens_max` is of one reply."""

    iterations_max: Annotated[int, Field(ge=1, le=1_000)] | None = None
    tokens_max: Annotated[int, Field(ge=1)] | None = None
    output_tokens_max: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    cost_usd_max: Annotated[float, Field(gt=0)] | None = None
    subagents_max: Annotated[int, Field(ge=0, le=64)] | None = None
    subagent_depth_max: Annotated[int, Field(ge=0, le=4)] | None = None
    input_seconds_max: Annotated[float, Field(ge=1, le=90 * 24 * 3600)] | None = None


class SubagentIn(Body):
    """A declared subagent; without `tools` it has its parent's."""

    name: Name
    description: Annotated[str, Field(max_length=2_000), AfterValidator(not_blank)]
    instructions: Annotated[str, Field(max_length=100_000), AfterValidator(not_blank)] | None = None
    tools: Annotated[list[Name], Field(max_length=128)] | None = None


class MemoryIn(Body):
    """What is remembered of a user across conversations. `strategy`: `all` shows the newest `limit` messages,
    `relevant` what the question is about, `both` the newest and of the rest what is relevant. `scope` user looks into
    all of the user's sessions. `save_mode` full keeps the calls of tools with their results too, and shows them
    again."""

    memory_id: UUID
    strategy: Literal["all", "relevant", "both"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] | None = None
    scope: Literal["session", "user"] | None = None
    save_mode: Literal["input_output", "full"] | None = None


class MemoryStoreIn(Body):
    """The notes that the agent keeps on the user."""

    id: UUID
    write_enabled: bool | None = None


class SkillIn(Body):
    """Without `version_id` the newest version counts."""

    id: UUID
    version_id: UUID | None = None


class AgentIn(Body):
    """The model's instructions, the tools that it may call, and its limits.

    `knowledge_bases` are searched by the agent; a model without tools is given what a search for the question finds.
    `memory` false shows nothing of what was said before; left out, the model reads the conversation so far. `skills`
    are instructions that the agent reads when it needs them; with `artifacts` it may publish documents.
    `tools` and `approvals` name tools of /v1/tools; a call of one in `approvals` waits for a person. With
    `human_feedback` the model may ask people. `output_schema` is a JSON schema that the answer must satisfy.
    """

    instructions: Annotated[str, Field(max_length=100_000), AfterValidator(not_blank)] | None = None
    tools: Annotated[list[Name], Field(max_length=128)] | None = None
    approvals: Annotated[list[Name], Field(max_length=128)] | None = None
    knowledge_bases: Annotated[list[UUID], Field(max_length=16)] | None = None
    human_feedback: bool | None = None
    subagents: Annotated[list[SubagentIn], Field(max_length=32)] | None = None
    output_schema: Annotated[dict[str, Any], AfterValidator(small)] | None = None
    limits: LimitsIn | None = None
    memory: bool | MemoryIn | None = None
    memory_store: MemoryStoreIn | None = None
    skills: Annotated[list[SkillIn], Field(max_length=64)] | None = None
    artifacts: bool | None = None


def agent_of(body: AgentIn | None, path: str = "agent") -> Mapping[str, Any] | None:
    """The definition as it is stored: what was set and nothing else. Raises BadRequest for what only a second look
    finds."""
    if body is None:
        return None
    names = [subagent.name for subagent in body.subagents or ()]
    if len(set(names)) < len(names):
        raise BadRequest.field(f"{path}.subagents", "holds two subagents of one name")
    for index, name in enumerate(body.approvals or ()):
        if name not in (body.tools or ()) and name.partition("__")[0] not in (
            body.tools or ()
        ):  # One tool of an MCP server's.
            raise BadRequest.field(f"{path}.approvals[{index}]", f"is {name!r}, which is not among {path}.tools")
    return body.model_dump(mode="json", exclude_none=True)
