"""Promotes the next queued run of a conversation."""

from uuid import UUID

from stoa.conversations import Role, insert_message, take_position, text_of
from stoa.db import Tx
from stoa.runs import store
from stoa.runs.store import SQL


async def give_turn(tx: Tx, org_id: UUID, conversation_id: UUID) -> bool:
    """Promotes the next queued run, if any: its message gets a position in the history, and any node may claim the run.

    The caller has locked the conversation, and none of its runs is active.
    """
    row = await tx.fetchrow(SQL.next_queued, org_id, conversation_id)
    if row is None:
        return False
    run = store.from_row(row)
    wanted = run.options.get("model_id")
    place = await take_position(tx, org_id, conversation_id, model_id=UUID(wanted) if wanted else None)
    assert place is not None, "a conversation outlives its queue"
    content = run.input["content"]
    await insert_message(
        tx,
        org_id,
        run.project_id,
        conversation_id,
        place.position,
        run.message_id,
        Role.USER,
        content=content,
        text=text_of(content),
        status="completed",
        run_id=run.id,
        metadata=run.options.get("metadata"),
    )
    await tx.execute(SQL.promote, org_id, run.id, place.position, place.model_id)
    tx.notify("stoa_runs", "claim")
    return True
