"""`POST /v1/responses/compact`: a long conversation as one item, which a later request sends in its place.

The item contains a summary that the model has written. It is not encrypted: it is the caller's own conversation, and a
later request sends it back as earlier messages.
"""

from collections.abc import Mapping
from typing import Any, Final

from stoa.dialects.responses import reading
from stoa.dialects.responses.service import Responses
from stoa.dialects.responses.summaries import packed
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

READ: Final = ("model", "input", "previous_response_id", "instructions")
REQUEST: Final = (
    "Sum up the conversation so far for a model that goes on with it and sees nothing else of it: what was asked,"
    " decided and found out, what is still open, and every name, number and quotation that matters. Write the summary"
    " alone."
)


class NotCompacted(AppError):
    """The model did not write a summary."""

    status = 502
    code = "not_compacted"


async def compacted(responses: Responses, principal: Principal, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Raises AppError."""
    asked = reading.read({**{name: fields.get(name) for name in READ}, "store": False})
    asked.items.append({"type": "message", "role": "user", "content": [{"type": "text", "text": REQUEST}]})
    run = await responses.create(principal, asked, (), None)
    shown = await responses.ended(principal, run)
    texts = [part["text"] for item in shown["output"] if item["type"] == "message" for part in item["content"]]
    if shown["status"] != "completed" or not any(text.strip() for text in texts):
        why = (shown["error"] or {}).get("message", f"its answer is {shown['status']}")
        raise NotCompacted(f"The model wrote no summary: {why}")
    item = {"id": f"cmp_{run.id.hex}", "type": "compaction", "encrypted_content": packed("\n\n".join(texts))}
    return {
        "id": shown["id"],
        "object": "response.compaction",
        "created_at": shown["created_at"],
        "output": [item],
        "usage": shown["usage"],
    }
