"""Groups of the platform's API that this server does not have: each answers 501, names the group, and says what to use
instead (contract section 6).

The paths are those that the platform's command line and clients call, and everything below them. No credential is
needed: there is nothing to protect, and a client with the wrong address should learn that first.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stoa.http.routing import Routes
from stoa.kernel.errors import NotSupported

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class UnsupportedGroup:
    """A group: its name, its path prefixes, and what to use instead."""

    name: str
    paths: Sequence[str]
    instead: str

    @property
    def sentence(self) -> str:
        return f"This server has no {self.name}: {self.instead}"


UNSUPPORTED: Final[Sequence[UnsupportedGroup]] = (
    UnsupportedGroup(
        "services",
        ("/v1/services",),
        "it runs no containers of yours. Run them where you like, and make them known to agents as HTTP or MCP tools"
        " (POST /v1/tools).",
    ),
    UnsupportedGroup(
        "resource profiles",
        ("/v1/resource-profiles",),
        "it hands out no machines. Workflows and agents run in its own process.",
    ),
    UnsupportedGroup(
        "inference deployments",
        ("/v1/inferences", "/v1/inference-runtimes", "/v1/admin/inferences"),
        "it hosts no models. Serve them with vLLM, Ollama or another server of OpenAI's API, and add that as a"
        " connection (POST /v1/connections).",
    ),
    UnsupportedGroup(
        "fine-tuning",
        ("/v1/fine-tuning",),
        "train elsewhere, and add what serves the model as a connection (POST /v1/connections).",
    ),
    UnsupportedGroup(
        "databases",
        ("/v1/databases",),
        "it hands out none. Passages belong in a knowledge base (POST /v1/knowledgebases); reach a database of yours"
        " through an HTTP or MCP tool (POST /v1/tools).",
    ),
    UnsupportedGroup(
        "voice agents",
        ("/v1/agents/voice",),
        "turn speech into text before it, and send the text to an app (POST /v1/apps/{app_id}/invoke).",
    ),
    UnsupportedGroup(
        "Pipedream",
        ("/v1/pipedream",),
        "no account of that service can be connected. End users bring connections of their own, OAuth2 among them (POST"
        " /v1/workflows/{workflow_id}/requirements); what a project shares is a tool (POST /v1/tools).",
    ),
    UnsupportedGroup(
        "connectors of a user",
        ("/v1/user/connectors",),
        "give agents the service as an MCP or HTTP tool (POST /v1/tools).",
    ),
    UnsupportedGroup(
        "datasets",
        ("/v1/datasets", "/v1/dataset-versions", "/v1/dataset-items"),
        "keep them beside your code. POST /v1/knowledgebases/{knowledgebase_id}/evaluate takes questions and what"
        " should be found.",
    ),
    UnsupportedGroup(
        "evaluations of answers",
        ("/v1/evaluations", "/v1/metrics", "/v1/app-evaluations", "/v1/apps/{app_id}/evaluations"),
        "POST /v1/knowledgebases/{knowledgebase_id}/evaluate measures a search; answers are judged by a program of"
        " yours that reads traces (GET /v1/traces).",
    ),
)


def routes() -> Routes:
    """One route for each path, and one for all below it. They come last, so that existing routes have precedence."""
    router = Routes()
    for group in UNSUPPORTED:
        for path in group.paths:
            for each in (path, f"{path}/{{below:path}}"):
                router.add_api_route(each, _refusing(group), methods=list(METHODS), include_in_schema=False)
    return router


def _refusing(group: UnsupportedGroup) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(_: Request) -> Response:
        raise NotSupported(group.sentence)

    return refuse
