#!/usr/bin/env python3
"""Writes docs/events.md from the table in stoa.events: `python tools/docs/events.py > docs/events.md`."""

from stoa.events import TABLE

HEAD = """\
# Events

Written by `python tools/docs/events.py` from the table of event types in `stoa.events`; a test keeps it current.

Every event is one Server-Sent Event: `id:` holds the sequence, `event:` the type, `data:` one JSON object on one
line.

```json
{"id": "00000004-0006-8000-8000-000000000006", "type": "agent.response.delta", "sequence": 4,
 "timestamp": "2026-06-10T09:11:02.123Z",
 "data": {"object": "agent.response.delta", "delta": "The customer", "iteration": 1}}
```

`sequence` counts 1, 2, 3 … within the run, without gaps. `id` is the same on every read. What follows is `data`.
Ignore types and fields that you do not know. Events of a subagent carry `source` (`{id, name, type: "agent"}`) and
`tool_call_id`, the call that started it.
"""

NOTES = {
    "The run": """\
`usage` is `{prompt_tokens, completion_tokens, total_tokens, cached_tokens?, reasoning_tokens?, estimated?, cost_usd?,
finish_reason?}`: all calls of the model that the run made, its subagents' included; `estimated` where the provider
sent no count (a canceled call), `cost_usd` where a price is known. `finish_reason` says how the model's last reply
ended: `stop`, `length`, `content_filter`, `refusal`, in `usage` of a run that failed also `tool_calls` and `error`
([models](guide/models.md)).
`log` is `{events, sha256}`: the count of all events before this one, and the SHA-256 over their `data:` values, each
followed by a newline.

A run that produces something that is no JSON (a string with lone surrogates, an integer beyond 64 bits, lists nested
too deep) fails alone, with the code `output_unstorable`; what it had said before is kept.
""",
    "The answer": """\
`iteration` counts the model's replies. `output` is all response text of the agent itself, in order; with an
`output_schema`, its last reply.
""",
    "Tools": """\
`type` is `http`, `python`, `mcp` or `unknown`. A result over the tool's `output_bytes_max` is cut, and its last line
says so.

Codes: `tool_bad_arguments`, `tool_unknown`, `tool_timeout`, `tool_unreachable`, `tool_refused`, `tool_failed`,
`tool_address_refused`, `tool_unavailable`, `approval_declined`, `approval_expired`, `tool_outcome_unknown` (a node
died during the call, and a person chose not to make it again, or the tool is gone), `key_revoked` (the key that began
the run was revoked or has expired: nothing more is called).

A call that had begun when its run ended has no closing event: in the ledger (`GET /v1/runs/{run}/tool-calls`) it is
`unknown`, and models of later messages read that nobody knows whether it was made.
""",
    "Nodes of a workflow": """\
`id` is the node's. Events of an agent, a model or a tool within a node carry `source` (`{id, name, type}` of the node).
A node that tries again says `workflow.node.started` with `attempt` and the `error` of the attempt before. An item of a
Map node carries `item` (its number, from 0) and `parent_id` (the Map's id).

A node that has completed is never run again, whatever dies. One that was running begins anew where its own last step
had ended: an agent goes on from its last reply, anything else says `workflow.node.started` once more.

`result` of `run.completed` is the object of the workflow's Output node; `output` is its text, as a chat shows it.
""",
    "People": """\
`id` is the `request_id` that `POST /v1/runs/{run}/input` takes. An answer is taken once:

```json
{"type": "approval", "data": {"request_id": "…", "approved": true, "params": {"amount": 7}}}
```

```json
{"type": "human_feedback", "data": {"request_id": "…", "feedback": "blue"}}
```
""",
}


def page() -> str:
    parts = [HEAD]
    for section in dict.fromkeys(info.section for info in TABLE.values()):
        rows = [f"| `{info.name}` | {info.doc} |" for info in TABLE.values() if info.section == section]
        parts.append("\n".join([f"## {section}", "", "| type | data |", "|---|---|", *rows, ""]))
        if section in NOTES:
            parts.append(NOTES[section])
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
