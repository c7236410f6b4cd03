# Written by tools/clients/unasync.py from _async/knowledge_bases.py; change that.
"""Knowledge bases: uploading files and searching them."""

import builtins
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from stoa_client import types
from stoa_client._sync.paging import Page, fetch_page
from stoa_client._sync.transport import Transport
from stoa_client.errors import StoaError
from stoa_client.wire import (
    NOT_GIVEN,
    Call,
    NotGiven,
    Upload,
    given,
    once,
    path,
    query,
    set_fields,
)

Mode = Literal["semantic", "keyword", "hybrid"]
DONE = frozenset({"processed", "failed"})


class KnowledgeBases:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        project_id: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
    ) -> Page[types.KnowledgeBase]:
        filters = query(project_id=project_id, page=page, page_size=page_size, sort=sort)
        return fetch_page(self._transport, Call("GET", "/v1/knowledgebases", query=filters), types.KnowledgeBase)

    def create(
        self,
        name: str,
        *,
        project_id: str | None = None,
        description: str | None = None,
        embedder: types.EmbedderInput | None = None,
        chunking: types.ChunkingInput | None = None,
        retriever: types.RetrieverInput | None = None,
        language: str | None = None,
        ocr: Literal["auto", "off"] | None = None,
        idempotency_key: str | None = None,
    ) -> types.KnowledgeBase:
        """Creates a knowledge base. Everything except the name has a default."""
        body = set_fields(
            name=name,
            project_id=project_id,
            description=description,
            embedder=embedder,
            chunking=chunking,
            retriever=retriever,
            language=language,
            ocr=ocr,
        )
        call = Call("POST", "/v1/knowledgebases", body=body, headers=once(idempotency_key))
        return types.KnowledgeBase((self._transport.json(call))["data"])

    def get(self, knowledgebase_id: str) -> types.KnowledgeBase:
        call = Call("GET", path("/v1/knowledgebases/{}", knowledgebase_id))
        return types.KnowledgeBase((self._transport.json(call))["data"])

    def update(
        self,
        knowledgebase_id: str,
        *,
        name: str | NotGiven = NOT_GIVEN,
        description: str | NotGiven | None = NOT_GIVEN,
        embedder: types.EmbedderInput | NotGiven = NOT_GIVEN,
        chunking: types.ChunkingInput | NotGiven = NOT_GIVEN,
        retriever: types.RetrieverInput | NotGiven = NOT_GIVEN,
        language: str | NotGiven = NOT_GIVEN,
        ocr: Literal["auto", "off"] | NotGiven = NOT_GIVEN,
    ) -> types.KnowledgeBase:
        """Changes only the arguments that are passed. The embedder, the chunking and the language can change only while
        the base is empty."""
        body = given(
            name=name,
            description=description,
            embedder=embedder,
            chunking=chunking,
            retriever=retriever,
            language=language,
            ocr=ocr,
        )
        call = Call("PUT", path("/v1/knowledgebases/{}", knowledgebase_id), body=body)
        return types.KnowledgeBase((self._transport.json(call))["data"])

    def delete(self, knowledgebase_id: str) -> types.Deleted:
        """Deletes it permanently, with its items, chunks, vectors and files."""
        call = Call("DELETE", path("/v1/knowledgebases/{}", knowledgebase_id), safe=False)
        return types.Deleted(self._transport.json(call))

    def search(
        self,
        knowledgebase_id: str,
        search: str,
        *,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
        alpha: float | None = None,
        mode: Mode | None = None,
        similarity_threshold: float | None = None,
        user: str | None = None,
        groups: Sequence[str] | None = None,
        rerank: bool | None = None,
        explain: bool | None = None,
    ) -> types.SearchResult:
        """The best passages, best first."""
        body = set_fields(
            query=search,
            limit=limit,
            filters=filters,
            alpha=alpha,
            mode=mode,
            similarity_threshold=similarity_threshold,
            user=user,
            groups=None if groups is None else [*groups],
            rerank=rerank,
            explain=explain,
        )
        call = Call("POST", path("/v1/knowledgebases/{}/vector-search", knowledgebase_id), body=body)
        return types.SearchResult(self._transport.json(call))

    # --- items ------------------------------------------------------------------------------------------------------
    def upload(
        self,
        knowledgebase_id: str,
        files: Sequence[Upload],
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> builtins.list[types.Item]:
        """Uploads files; the server processes them in the background, see `wait`. `metadata` has one object per file.
        With `ids`, each file replaces the item of that id.
        """
        form: dict[str, str] = {}
        if metadata is not None:
            form["input"] = json.dumps({"metadata": [*metadata]})
        if ids is not None:
            form["ids"] = json.dumps([*ids])
        call = Call(
            "POST",
            path("/v1/knowledgebases/{}/upload", knowledgebase_id),
            files=[("files", file) for file in files],
            form=form,
            headers=once(idempotency_key),
        )
        return [types.Item(raw) for raw in (self._transport.json(call))["data"]]

    def items(
        self,
        knowledgebase_id: str,
        *,
        status: str | builtins.list[str] | None = None,
        source_id: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        sort: str | None = None,
    ) -> Page[types.Item]:
        """Newest first."""
        filters = query(status=status, source_id=source_id, page=page, page_size=page_size, sort=sort)
        where = path("/v1/knowledgebases/{}/items", knowledgebase_id)
        return fetch_page(self._transport, Call("GET", where, query=filters), types.Item)

    def wait(self, items: Iterable[types.Item], *, seconds_max: float = 600.0) -> builtins.list[types.Item]:
        """Waits until each item is processed or has failed (then its `error` says why), and returns the items."""
        deadline = time.monotonic() + seconds_max
        done: list[types.Item] = []
        for item in items:
            pause, current = 0.05, item
            while current.status not in DONE:
                if time.monotonic() > deadline:
                    raise StoaError(
                        f"{current.name} is still {current.status} after {seconds_max:g} s; it goes on, so wait again."
                    )
                time.sleep(pause)
                pause = min(pause * 1.5, 2.0)
                current = self.get_item(item.id)
            done.append(current)
        return done

    def get_item(self, item_id: str) -> types.Item:
        call = Call("GET", path("/v1/knowledgebase-items/{}", item_id))
        return types.Item((self._transport.json(call))["data"])

    def update_item(self, item_id: str, *, metadata: Mapping[str, Any]) -> types.Item:
        call = Call("PATCH", path("/v1/knowledgebase-items/{}", item_id), body={"metadata": metadata})
        return types.Item((self._transport.json(call))["data"])

    def delete_item(self, item_id: str) -> types.Deleted:
        """Deletes it with its chunks, vectors and file. The next search does not find it."""
        call = Call("DELETE", path("/v1/knowledgebase-items/{}", item_id), safe=False)
        return types.Deleted(self._transport.json(call))

    def reprocess_item(self, item_id: str) -> types.Item:
        call = Call("POST", path("/v1/knowledgebase-items/{}/reprocess", item_id))
        return types.Item((self._transport.json(call))["data"])

    def chunks(self, item_id: str, *, page: int | None = None, page_size: int | None = None) -> Page[types.Chunk]:
        """The chunks of an item, in order. Empty until it was processed."""
        where = path("/v1/knowledgebase-items/{}/chunks", item_id)
        call = Call("GET", where, query=query(page=page, page_size=page_size))
        return fetch_page(self._transport, call, types.Chunk)

    def download_item(self, item_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """`with knowledge_bases.download_item(id) as pieces: for piece in pieces: …`"""
        return self._transport.download(Call("GET", path("/v1/knowledgebase-items/{}/content", item_id)))
