"""An app's sessions on the api host: the conversations that its users have with it (contract section 6)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from stoa.conversations import rules, wire
from stoa.conversations.service import Conversations
from stoa.http import DataList, Gate, Paging, Routes, page_of, refusals
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

UserId = Annotated[str | None, Query(max_length=255, description="Only of this end user.")]


def app_session_routes(conversations: Conversations, gate: Gate) -> Routes:
    router = Routes(tags=["apps"])
    reading = gate("conversations:read")

    @router.get("/v1/apps/{app_id}/sessions", responses=refusals(404))
    async def list_app_sessions(
        app_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SESSIONS_SORTABLE))],
        user_id: UserId = None,
    ) -> DataList[wire.SessionWire]:
        """The app's sessions, newest first: each is a conversation of one end user."""
        return page_of(await conversations.sessions(principal, app_id, page, user_id), wire.session)

    @router.get("/v1/apps/{app_id}/sessions/{session_id}/messages", responses=refusals(404))
    async def list_app_session_messages(
        app_id: UUID,
        session_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging())],
        user_id: UserId = None,
    ) -> DataList[wire.MessageWire]:
        """The session's messages, oldest first. `user_id` is needed where several users named the same session."""
        found = await conversations.session_messages(principal, app_id, session_id, user_id, page)
        return page_of(found, wire.message)

    return router
