"""Every language has every word, with the same blanks, and no word that no page says. Every permission has words."""

import re
import string
from pathlib import Path

import pytest

from stoa import access
from stoa.console import pages, words
from stoa.console.routes.account import PERMISSIONS, PROVIDERS
from stoa.gateway import registry

ROOT = Path(pages.__file__).parent
SAID = re.compile(r"""(?:\b_|translate)\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")


def said() -> set[str]:
    found = {label for _, _, label in pages.NAVIGATION} | set(PERMISSIONS.values())
    for path in [*ROOT.rglob("*.html"), *ROOT.rglob("*.js"), *ROOT.rglob("*.py")]:
        found |= {first or second for first, second in SAID.findall(path.read_text("utf-8"))}
    return found


def blanks(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", [one for one in words.languages() if one != words.SOURCE])
def test_a_catalogue_is_complete(language: str) -> None:
    catalogue = words.catalogue(language)
    assert said() - set(catalogue) == set()
    assert set(catalogue) - said() == set()
    assert [text for text, translated in catalogue.items() if blanks(text) != blanks(translated)] == []


def test_every_provider_can_be_connected_on_its_page() -> None:
    assert {name: kind.default_url for name, kind in registry.PROVIDERS.items() if kind.default_url} == {
        name: address for name, (_, address) in PROVIDERS.items() if "…" not in address
    }
    assert set(PROVIDERS) == set(registry.PROVIDERS)


def test_every_permission_has_words() -> None:
    assert set(PERMISSIONS) == set(access.PERMISSIONS)


def test_the_language_is_the_browsers_until_somebody_chooses() -> None:
    assert words.chosen(None, "de-AT,de;q=0.9,en;q=0.8") == "de"
    assert words.chosen(None, "fr") == "en"
    assert words.chosen("en", "de") == "en"
    assert words.chosen("../../etc", "de") == "de"
