"""An APIRouter whose answers leave unset fields out (contract section 2)."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


class Routes(APIRouter):
    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["response_model_exclude_none"] = True
        super().add_api_route(path, endpoint, **options)
