"""Draws docs/pictures/*.svg: `python tools/docs/pictures.py`. Boxes and arrows in the page's own colour, so that they
fit both themes; no style element, which the documentation's Content-Security-Policy would drop."""

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from stoa.runs.rules import MOVES

TARGET: Final = Path(__file__).parents[2] / "docs" / "pictures"
FONT: Final = 'font-family="system-ui, sans-serif"'
HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" fill="none" stroke="currentColor" '
    'stroke-width="1.5">\n<title>{title}</title>\n<defs><marker id="{name}-end" viewBox="0 0 8 8" refX="7" refY="4" '
    'markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor" '
    'stroke="none"/></marker></defs>\n'
)


@dataclass
class Drawing:
    name: str
    title: str
    width: int
    height: int
    body: str = ""

    def text(
        self, x: float, y: float, words: str, *, size: int = 13, anchor: str = "middle", faint: bool = False
    ) -> None:
        shade = ' opacity="0.7"' if faint else ""
        self.body += (
            f'<text x="{x:g}" y="{y:g}" {FONT} font-size="{size}" text-anchor="{anchor}" fill="currentColor" '
            f'stroke="none"{shade}>{escape(words)}</text>\n'
        )

    def box(self, x: float, y: float, width: float, height: float, *lines: str, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.body += f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"{dash}/>\n'
        for number, line in enumerate(lines):
            top = y + height / 2 + 5 + (number - (len(lines) - 1) / 2) * 17
            self.text(x + width / 2, top, line, size=14 if not number else 12, faint=number > 0)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.body += f'<polyline points="{path}" marker-end="url(#{self.name}-end)"{dash}/>\n'

    def drawn(self) -> str:
        head = HEAD.format(width=self.width, height=self.height, title=escape(self.title), name=self.name)
        return f"{head}{self.body}</svg>\n"


def journal() -> Drawing:
    it = Drawing("journal", "One writer, one journal, any number of readers", 760, 300)
    it.box(10, 20, 130, 56, "Message", "POST …/messages")
    it.box(200, 20, 130, 56, "Run", "state, lease, epoch")
    it.box(390, 20, 150, 56, "Worker", "model, tools, people")
    it.arrow((140, 48), (198, 48))
    it.arrow((330, 48), (388, 48))
    it.arrow((465, 76), (465, 128))
    it.text(475, 106, "one commit a tick", size=12, anchor="start", faint=True)
    for number in range(9):
        x = 40 + number * 70
        it.box(x, 130, 62, 40, str(number + 1) if number < 8 else "end")
    words = "the journal of a run, in PostgreSQL: numbered, sealed by one terminal event with the hash of all before"
    it.text(40, 190, words, size=12, anchor="start", faint=True)
    for x, words, after in ((60, "Browser", "from 1"), (270, "Program", "after 4"), (480, "Another node", "after 7")):
        it.box(x, 236, 140, 50, words, after)
        it.arrow((x + 70, 196), (x + 70, 234))
    it.box(610, 20, 140, 56, "kill -9", "another goes on", dashed=True)
    it.arrow((610, 48), (542, 48), dashed=True)
    return it


def states() -> Drawing:
    it = Drawing("run-states", "The states of a run", 760, 250)
    places = {
        "created": (20, 100), "started": (220, 100), "paused": (220, 190),
        "completed": (600, 20), "failed": (600, 100), "canceled": (600, 190),
    }  # fmt: skip
    assert {status.value for status in MOVES} == set(places), "draw the new state"
    words = {
        "created": "stored, waits for a node", "started": "a node carries it", "paused": "waits for a person",
        "completed": "", "failed": "", "canceled": "",
    }  # fmt: skip
    for name, (x, y) in places.items():
        it.box(x, y, 140, 46, *(one for one in (name, words[name]) if one))
    it.arrow((160, 123), (218, 123))
    it.arrow((270, 146), (270, 188))
    it.arrow((310, 190), (310, 148))
    it.arrow((360, 112), (480, 112), (480, 43), (598, 43))
    it.arrow((360, 123), (598, 123))
    it.arrow((360, 134), (520, 134), (520, 205), (598, 205))
    it.arrow((360, 213), (598, 213))
    it.arrow((360, 205), (440, 205), (440, 138), (598, 138), dashed=True)
    it.arrow((90, 146), (90, 244), (670, 244), (670, 238))
    it.arrow((250, 100), (250, 60), (330, 60), (330, 98), dashed=True)
    it.text(290, 52, "its node died: another goes on from the last step", size=12, faint=True)
    return it


def ingestion() -> Drawing:
    it = Drawing("ingestion", "How a file becomes searchable", 760, 210)
    steps = (
        ("Upload", "hashed as it comes"),
        ("Read", "in a killable process"),
        ("Cut", "along its structure"),
        ("Embed", "only what is new"),
        ("Swap", "one transaction"),
    )
    for number, (name, about) in enumerate(steps):
        x = 10 + number * 150
        it.box(x, 30, 134, 56, name, about)
        if number:
            it.arrow((x - 16, 58), (x - 2, 58))
    it.box(610, 130, 134, 56, "Searchable", "words and meaning")
    it.arrow((677, 86), (677, 128))
    it.box(160, 130, 134, 56, "failed", "a code and a remedy", dashed=True)
    it.arrow((227, 86), (227, 128), dashed=True)
    it.text(330, 162, "the old version answers until the swap", size=12, anchor="start", faint=True)
    it.text(10, 20, "pending", size=12, anchor="start", faint=True)
    words = "processing: under a lease, with a deadline; a dead node's item is taken over"
    it.text(160, 20, words, size=12, anchor="start", faint=True)
    return it


def files() -> dict[Path, str]:
    return {TARGET / f"{one.name}.svg": one.drawn() for one in (journal(), states(), ingestion())}


def main() -> int:
    TARGET.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
