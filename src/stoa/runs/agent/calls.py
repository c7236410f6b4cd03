"""One tool call, from the model's request to its result: check, approval, ledger entry, call, record.

The ledger's rule: a call is entered before it is made. A node that finds a call begun and without result cannot know
whether it happened: an idempotent tool is called again with the same key; for any other a person is asked.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import reduce
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from stoa.events import Event, EventType
from stoa.gateway import ModelError, arguments_in
from stoa.kernel.storable import as_storable, is_storable
from stoa.runs.agent import builtin
from stoa.runs.agent.checkpoint import AgentState, CallState, calls_report
from stoa.runs.agent.definition import Agent
from stoa.runs.agent.ports import Converse, Job
from stoa.runs.agent.steps import AgentScope, Answer, Checkpoint, LedgerEntry, Question, RunStopped, Step
from stoa.tools import Tool, ToolResult

_DOUBT: Final = (
    "The server failed while it called {name}: the call may already have been made, "
    "and making it again may repeat what it does. Make it again?"
)
_APPROVE: Final = "Allow the call of {name} with these arguments?"
KEY_REVOKED: Final = "key_revoked"
_REVOKED: Final = (
    "{made} The access key that began this run was revoked or has expired, so the run calls nothing more."
    " Answer with what is known."
)
_EVENT_DEPTH: Final = 20
"""Nesting of the arguments within an event or a row."""


def kind_of(tool: Tool | None) -> str:
    return tool.kind.value if tool is not None else "unknown"


class Calls:
    """The calls of one reply."""

    def __init__(self, job: Job, converse: Converse, agent: Agent, scope: AgentScope, iteration: int) -> None:
        self._job = job
        self._converse = converse
        self._agent = agent
        self._scope = scope
        self._iteration = iteration

    async def execute(self, call: CallState) -> AsyncGenerator[Step]:
        """Executes a call until it has a result or waits for a person."""
        arguments = _object(call.arguments)
        if arguments is None:
            yield self._failed(
                call, {}, "tool_bad_arguments", "The arguments are no JSON object, or nested too deeply."
            )
            return
        if builtin.is_builtin(call.name) and call.child is None and not await self._admitted():
            yield self._revoked(call, arguments)
            return
        if call.name == builtin.ASK and self._agent.human_feedback:
            yield self._asked(call, arguments)
            return
        if (
            call.name == builtin.DELEGATE
            and self._agent.subagents_enabled
            and self._scope.depth < self._agent.limits.subagent_depth_max
        ):
            work = self._delegated(call, arguments)
        else:
            work = self._made(call, arguments)
        async with aclosing(work) as steps:
            async for step in steps:
                yield step

    # --- tools ------------------------------------------------------------------------------------------------------
    async def _made(self, call: CallState, arguments: dict[str, Any]) -> AsyncGenerator[Step]:
        tool = self._job.ports.tools.get(call.name)
        if tool is None or not builtin.allowed(tool, self._agent):
            if (
                call.begun
            ):  # The tool was removed after the call had begun; the end of the run closes the ledger's line.
                message = (
                    "Nobody knows whether this call was made: the server failed during it,"
                    f" and {call.name} is no tool any more."
                )
                yield self._failed(call, arguments, "tool_outcome_unknown", message)
                return
            yield self._failed(call, arguments, "tool_unknown", f"There is no tool named {call.name!r}.")
            return
        doubt = call.begun and not tool.idempotent
        wanted = (tool.approval or builtin.named(tool.name, self._agent.approvals)) and not call.approved
        fits = self._job.ports.schemas.argument_problem
        if call.request_id is None and not call.begun and (problem := await fits(arguments, tool.parameters)):
            # The model gets the error at once: nobody is asked to approve a call that cannot be made.
            yield self._failed(call, arguments, "tool_bad_arguments", f"The arguments do not fit: {problem}", tool)
            return
        if not await self._admitted():
            yield self._revoked(call, arguments, tool)
            return
        if call.request_id is None and (doubt or wanted):
            yield self._approval(call, tool, call.params or arguments, _DOUBT if doubt else _APPROVE)
            return
        if call.request_id is not None:
            answer = self._job.ports.answers.get(call.request_id)
            if answer is None:
                return
            if not answer.approved:
                yield self._refused(call, tool, arguments, answer)
                return
            arguments = {**(call.params or arguments), **answer.params}
        elif call.params is not None:
            arguments = call.params

        def begin() -> None:
            call.approved = call.approved or call.request_id is not None
            call.begun, call.request_id = True, None
            call.params = arguments if call.approved else call.params

        yield Checkpoint(begin, ledger=[self._entry(call, tool, arguments, "begun")])
        yield self._settled(call, tool, arguments, await tool.call(arguments, self._job.call(call.id)))

    async def _admitted(self) -> bool:
        admitted = self._job.ports.admitted
        return admitted is None or await admitted()

    def _revoked(self, call: CallState, arguments: Mapping[str, Any], tool: Tool | None = None) -> Checkpoint:
        """A run whose credential was revoked uses no more tools, subagents and questions to people."""
        if call.begun:
            made = "Nobody knows whether this call was made: the server failed during it."
            return self._failed(call, arguments, KEY_REVOKED, _REVOKED.format(made=made), tool, unknown=True)
        return self._failed(call, arguments, KEY_REVOKED, _REVOKED.format(made="This call was not made."), tool)

    def _settled(self, call: CallState, tool: Tool, arguments: Mapping[str, Any], result: ToolResult) -> Checkpoint:
        text = as_storable(result.text)
        if result.code is not None:
            return self._failed(call, arguments, result.code, text, tool)

        def settle() -> None:
            call.result = text

        data = {**self._head(call, tool), "input": arguments, "result": text, "iteration": self._iteration}
        return Checkpoint(
            settle,
            [self._scope.event(EventType.TOOL_CALL_COMPLETED, data)],
            [self._entry(call, tool, arguments, "completed", result=text)],
        )

    def _failed(
        self,
        call: CallState,
        arguments: Mapping[str, Any],
        code: str,
        message: str,
        tool: Tool | None = None,
        *,
        unknown: bool = False,
    ) -> Checkpoint:
        error = {"code": code, "message": message}

        def settle() -> None:
            call.error, call.request_id = error, None

        data = {**self._head(call, tool), "input": arguments, "error": error, "iteration": self._iteration}
        ledger = (
            [self._entry(call, tool, arguments, "unknown" if unknown else "failed", error=error)]
            if tool is not None and call.begun
            else []
        )
        return Checkpoint(settle, [self._scope.event(EventType.TOOL_CALL_FAILED, data)], ledger)

    def _head(self, call: CallState, tool: Tool | None) -> dict[str, Any]:
        return {"id": call.id, "object": "agent.tool_call", "tool": {"name": call.name, "type": kind_of(tool)}}

    def _entry(
        self, call: CallState, tool: Tool, arguments: Mapping[str, Any], status: Any, **outcome: Any
    ) -> LedgerEntry:
        return LedgerEntry(UUID(call.id), call.name, tool.kind.value, arguments, tool.idempotent, status, **outcome)

    # --- people -----------------------------------------------------------------------------------------------------
    def _approval(self, call: CallState, tool: Tool, arguments: Mapping[str, Any], prompt: str) -> Checkpoint:
        request = Question(
            _request_id(call),
            "approval_request",
            prompt.format(name=call.name),
            arguments,
            list(tool.editable_params),
            None,
            self._agent.limits.input_seconds_max,
            dict(tool.parameters),
        )
        data = {
            "id": str(request.id),
            "object": "approval_request",
            "prompt": request.prompt,
            "params": arguments,
            "editable_params": request.editable_params,
            "tool_call_id": call.id,
        }
        return self._request(call, request, self._scope.event(EventType.APPROVAL_REQUEST_CREATED, data))

    def _request(self, call: CallState, request: Question, event: Event) -> Checkpoint:
        def ask() -> None:
            call.request_id = str(request.id)
            call.asked += 1

        return Checkpoint(ask, [event], requests=[request])

    def _refused(self, call: CallState, tool: Tool, arguments: Mapping[str, Any], answer: Answer) -> Checkpoint:
        said = f" They said: {answer.feedback}" if answer.feedback else ""
        if call.begun:
            message = (
                "Nobody knows whether this call was made: the server failed during it,"
                f" and it was not made again.{said}"
            )
            return self._failed(call, arguments, "tool_outcome_unknown", message, tool, unknown=True)
        if answer.status == "expired":
            return self._failed(
                call, arguments, "approval_expired", "Nobody approved this call in time; it was not made.", tool
            )
        return self._failed(
            call, arguments, "approval_declined", f"A person declined this call; it was not made.{said}", tool
        )

    def _asked(self, call: CallState, arguments: Mapping[str, Any]) -> Step:
        """Asks the question, or returns its answer; nothing while it is open."""
        if call.request_id is None:
            return self._question(call, arguments)
        answer = self._job.ports.answers.get(call.request_id)
        if answer is None:
            return ()
        feedback = answer.feedback

        def settle() -> None:
            call.request_id = None
            if answer.status == "answered":
                call.result = feedback or ""
            else:
                call.error = {"code": "input_expired", "message": "Nobody answered in time."}

        return Checkpoint(settle)

    def _question(self, call: CallState, arguments: Mapping[str, Any]) -> Checkpoint:
        question = str(arguments.get("question") or "").strip()
        if not question:

            def settle() -> None:
                call.error = {"code": "tool_bad_arguments", "message": "question cannot be blank."}

            return Checkpoint(settle)
        given = arguments.get("options")
        options = [str(option) for option in given] if isinstance(given, list) and given else None
        request = Question(
            _request_id(call), "human_feedback", question, {}, [], options, self._agent.limits.input_seconds_max
        )
        data: dict[str, Any] = {"id": str(request.id), "object": "agent.human_feedback", "prompt": question}
        event = self._scope.event(EventType.HUMAN_FEEDBACK_REQUESTED, data | ({"options": options} if options else {}))
        return self._request(call, request, event)

    # --- subagents --------------------------------------------------------------------------------------------------
    async def _delegated(self, call: CallState, arguments: Mapping[str, Any]) -> AsyncGenerator[Step]:
        """Runs a subagent, whose state is stored within this call's."""
        brief, name = str(arguments.get("brief") or "").strip(), str(arguments.get("name") or "subagent")
        declared = next((one for one in self._agent.subagents if one.name == name), None)
        problem = self._cannot_delegate(call, brief, name, known=declared is not None)
        if problem is not None:

            def refuse() -> None:
                call.error = {"code": "subagent_refused", "message": problem}

            yield Checkpoint(refuse)
            return
        head = {"id": call.id, "object": "agent.subagent", "name": name, "brief": brief}
        if self._scope.tool_call_id is not None:
            head["parent_id"] = self._scope.tool_call_id
        if call.child is None:

            def begin() -> None:
                call.child = AgentState(brief=brief)

            yield Checkpoint(begin, [self._scope.of_subagent(EventType.SUBAGENT_STARTED, head)])
        assert call.child is not None
        scope = self._scope.subagent(call.id, name)
        try:
            async with aclosing(self._converse(self._agent.subagent(declared), call.child, scope)) as steps:
                async for step in steps:
                    yield step
        except (ModelError, RunStopped) as error:
            yield self._subagent_failed(call, head, error.code, error.message)
            return
        if call.child.turns[-1].open:
            return
        result = call.child.turns[-1].text

        def settle() -> None:
            call.result = result

        yield Checkpoint(settle, [self._scope.of_subagent(EventType.SUBAGENT_COMPLETED, {**head, "result": result})])

    def _subagent_failed(self, call: CallState, head: Mapping[str, Any], code: str, message: str) -> Checkpoint:
        assert call.child is not None, "a subagent that failed had begun"
        error = {"code": code, "message": as_storable(f"The subagent failed: {message}{calls_report(call.child)}")}

        def settle() -> None:
            call.error = error

        return Checkpoint(settle, [self._scope.of_subagent(EventType.SUBAGENT_FAILED, {**head, "error": error})])

    def _cannot_delegate(self, call: CallState, brief: str, name: str, *, known: bool) -> str | None:
        if not brief:
            return "brief cannot be blank."
        if self._agent.subagents and not known:
            names = ", ".join(one.name for one in self._agent.subagents)
            return f"There is no subagent named {name!r}; there are {names}."
        begun = sum(1 for other in self._job.state.agent.calls() if other.child is not None and other is not call)
        if call.child is None and begun >= self._agent.limits.subagents_max:
            return f"This run has had all its {self._agent.limits.subagents_max} subagents."
        return None


def revoked(state: AgentState) -> bool:
    """Whether a call was refused because the run's credential was revoked. Then no more tools are offered."""
    return any(
        call.error is not None and call.error["code"] == KEY_REVOKED for turn in state.turns for call in turn.calls
    )


def _request_id(call: CallState) -> UUID:
    """Each question about the same call (first its approval, then whether to repeat it) is another request."""
    return uuid5(UUID(call.id), f"request {call.asked}")


def _object(arguments: str) -> dict[str, Any] | None:
    """The arguments as they will be stored; None if they are no JSON object or cannot be stored."""
    parsed = arguments_in(arguments.replace("\\u0000", "\\ufffd"))  # The database cannot hold NUL.
    try:
        orjson.dumps(reduce(lambda inner, _: [inner], range(_EVENT_DEPTH), parsed))
    except TypeError:  # Nested deeper than can be written again.
        return None
    return parsed if parsed is not None and is_storable(parsed) else None
