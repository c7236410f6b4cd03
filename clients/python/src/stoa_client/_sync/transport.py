# Written by tools/clients/unasync.py from _async/transport.py; change that.
"""Sends requests, and retries them. All network access is here."""

import random
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx

from stoa_client import wire
from stoa_client.errors import APIError, ConnectionFailed, StoaError
from stoa_client.retry import RetryPolicy
from stoa_client.wire import Call


class Transport:
    """`http` is the caller's client or our own. It is used without following redirects."""

    def __init__(self, http: httpx.Client, base_url: str, headers: Mapping[str, str], policy: RetryPolicy) -> None:
        self._http = http
        self._headers = headers
        self.base_url = base_url
        self.policy = policy

    def json(self, call: Call) -> Any:
        """The JSON of the response, or None without a body. Raises APIError, ConnectionFailed."""
        response = self.answer(call)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            message = (
                f"{self.base_url} answered {call.method} {call.path} with something that is no JSON; is that Stoa?"
            )
            raise StoaError(message) from error

    def answer(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """The response. Its body was read, except with `stream`."""
        for failures in count(1):
            try:
                return self.attempt(call, stream=stream)
            except APIError as refused:
                failure: APIError | ConnectionFailed = refused
                again = self.policy.repeats(refused.status, safe=call.safe, retry_after=refused.retry_after)
            except ConnectionFailed as lost:
                failure = lost
                again = call.safe or not lost.sent
            if not again or failures >= self.policy.attempts:
                raise failure
            self.wait(failures, failure)
        raise AssertionError

    def wait(self, failures: int, failure: Exception | None) -> None:
        """Waits as long as Retry-After says, or by backoff."""
        retry_after = failure.retry_after if isinstance(failure, APIError) else None
        time.sleep(self.policy.delay(failures, retry_after, random.random()))  # noqa: S311

    def attempt(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """One attempt. Raises APIError, ConnectionFailed."""
        options = wire.request_options(call)
        options["headers"] = {**self._headers, **options["headers"]}
        timeout = httpx.Timeout(60.0, connect=10.0, read=self.policy.idle_seconds if stream else 60.0)
        request = self._http.build_request(call.method, self.base_url + call.path, timeout=timeout, **options)
        try:
            response = self._http.send(request, stream=True, follow_redirects=False)
            try:
                if not stream or not response.is_success:
                    response.read()
            except BaseException:
                response.close()
                raise
        except wire.LOST as error:
            raise wire.connection_failed(call, self.base_url, error) from error
        if not response.is_success:
            raise wire.refusal(response)
        return response

    @contextmanager
    def download(self, call: Call) -> Generator[Iterator[bytes], None, None]:
        """A body in pieces, for content that may not fit in memory. It is not resumed: a broken connection raises
        ConnectionFailed."""
        response = self.answer(call, stream=True)
        try:
            yield self._pieces(call, response)
        finally:
            response.close()

    def _pieces(self, call: Call, response: httpx.Response) -> Iterator[bytes]:
        try:
            for piece in response.iter_bytes():
                yield piece
        except wire.LOST as error:
            raise wire.connection_failed(call, self.base_url, error) from error
