"""Translations: the source is English, and each other language is a catalogue, `catalogues/<language>.json`."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import orjson

SOURCE: Final = "en"
COOKIE: Final = "stoa-language"
Translate = Callable[..., str]


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English text → translation. Empty for English."""
    if language == SOURCE:
        return {}
    return dict(orjson.loads((files("stoa.console") / "catalogues" / f"{language}.json").read_bytes()))


@cache
def languages() -> tuple[str, ...]:
    found = (entry.name for entry in (files("stoa.console") / "catalogues").iterdir())
    return (SOURCE, *sorted(name.removesuffix(".json") for name in found if name.endswith(".json")))


def chosen(cookie: str | None, accepted: str) -> str:
    """The language in the cookie, else the first of the browser's languages that has a catalogue."""
    if cookie in languages():
        return str(cookie)
    for part in accepted.split(","):
        name = part.partition(";")[0].strip().lower().partition("-")[0]
        if name in languages():
            return name
    return SOURCE


def translator(language: str) -> Translate:
    words = catalogue(language)

    def translate(text: str, **values: object) -> str:
        found = words.get(text, text)
        return found.format(**values) if values else found

    return translate
