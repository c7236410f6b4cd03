"""Builds the handbook's PDF from its Markdown: `pip install reportlab`, then `python tools/handbook/build.py`.

Reads the Markdown the handbook uses (headings, paragraphs, lists, tables, code) and nothing more; the output depends on
the
source alone (no dates), so building twice gives the same bytes.
"""

import re
from pathlib import Path
from typing import Any

from reportlab.lib import colors
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    CondPageBreak,
    HRFlowable,
    ListFlowable,
    ListItem,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    Table,
)

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "handbook" / "handbook.md"
FRAME_PADDING = 12  # points, both sides together; reportlab's frames bring it along
TARGET = ROOT / "src" / "stoa" / "cli" / "assets" / "stoa-handbook.pdf"

INK, QUIET, ACCENT, PALE, LINE = (colors.HexColor(c) for c in ("#1d2433", "#667085", "#2f5d8a", "#f3f6f9", "#d5dce4"))
BODY = ParagraphStyle(
    "body", fontName="Helvetica", fontSize=10, leading=14.6, textColor=INK, spaceAfter=7, alignment=TA_LEFT
)
STYLES = {
    "body": BODY,
    "cell": ParagraphStyle("cell", BODY, fontSize=9, leading=12.4, spaceAfter=0),
    "item": ParagraphStyle("item", BODY, spaceAfter=3),
    "head": ParagraphStyle(
        "head", BODY, fontSize=9, leading=12.4, spaceAfter=0, fontName="Helvetica-Bold", textColor=colors.white
    ),
    "title": ParagraphStyle(
        "title", BODY, fontName="Helvetica-Bold", fontSize=28, leading=34, spaceBefore=6, spaceAfter=4
    ),
    "subtitle": ParagraphStyle("subtitle", BODY, fontSize=13.5, leading=18, textColor=QUIET, spaceAfter=10),
    "h2": ParagraphStyle(
        "h2", BODY, fontName="Helvetica-Bold", fontSize=15, leading=19, textColor=ACCENT, spaceBefore=15, spaceAfter=7
    ),
    "code": ParagraphStyle(
        "code",
        fontName="Courier",
        fontSize=8.6,
        leading=12,
        textColor=INK,
        backColor=PALE,
        borderPadding=8,
        spaceBefore=8,
        spaceAfter=14,
    ),
}


def inline(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"`([^`]+)`", r'<font face="Courier" size="9">\1</font>', text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


def table(lines: list[str], width: float) -> Table:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if not re.match(r"^\|[-|]+\|$", line)
    ]
    weights = [
        max(17, min(46, max(len(row[column]) * (1.25 if "`" in row[column] else 1) for row in rows)))
        for column in range(len(rows[0]))
    ]
    cells = [
        [Paragraph(inline(cell), STYLES["head" if number == 0 else "cell"]) for cell in row]
        for number, row in enumerate(rows)
    ]
    style: list[Any] = [
        ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, PALE]),
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
        ("LINEAFTER", (0, 0), (-2, -1), 0.5, LINE),
        ("BOX", (0, 0), (-1, -1), 0.5, LINE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 4),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4.5),
    ]
    widths = [width * weight / sum(weights) for weight in weights]
    return Table(cells, colWidths=widths, style=style, repeatRows=1, spaceBefore=4, spaceAfter=11)


def blocks(source: str) -> list[str]:
    return [block.strip("\n") for block in re.split(r"\n{2,}(?!     )", source.strip())]


def flowables(source: str, width: float) -> list[Any]:
    story: list[Any] = []
    for block in blocks(source):
        lines = block.splitlines()
        if block.startswith("# "):
            story.append(Paragraph(inline(block[2:]), STYLES["title"]))
        elif len(story) == 1:
            story += [
                Paragraph(inline(block), STYLES["subtitle"]),
                HRFlowable(width="100%", thickness=1.4, color=ACCENT, spaceAfter=6),
            ]
        elif block.startswith("## "):
            story += [CondPageBreak(38 * mm), Paragraph(inline(block[3:]), STYLES["h2"])]
        elif block.startswith("```"):
            story.append(Preformatted("\n".join(lines[1:-1]), STYLES["code"]))
        elif block.startswith("|"):
            story.append(table(lines, width))
        elif re.match(r"(\d+\.|-) ", block):
            story += [listing(lines), Spacer(1, 5)]
        else:
            story.append(Paragraph(inline(block), STYLES["body"]))
    return story


def listing(lines: list[str]) -> ListFlowable:
    items = [
        ListItem(Paragraph(inline(re.sub(r"^(\d+\.|-) ", "", line)), STYLES["item"]), leftIndent=16) for line in lines
    ]
    numbered = lines[0][0].isdigit()
    kind = {"bulletType": "1", "bulletFormat": "%s."} if numbered else {"bulletType": "bullet", "start": "•"}
    return ListFlowable(items, leftIndent=16, bulletFontName="Helvetica", bulletFontSize=10, bulletColor=ACCENT, **kind)


class Handbook(SimpleDocTemplate):
    def afterPage(self) -> None:  # noqa: N802  # reportlab's name; the foot comes last in the page's text, as it should
        canvas: Any = self.canv
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(QUIET)
        canvas.drawString(self.leftMargin + FRAME_PADDING / 2, 12 * mm, "The Stoa handbook")
        canvas.drawRightString(A4[0] - self.rightMargin - FRAME_PADDING / 2, 12 * mm, f"Page {self.page}")


def main() -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    document = Handbook(
        str(TARGET),
        pagesize=A4,
        leftMargin=23 * mm,
        rightMargin=23 * mm,
        topMargin=21 * mm,
        bottomMargin=23 * mm,
        title="The Stoa handbook: durable streams in operation",
        author="Stoa",
        invariant=1,
    )
    document.build(flowables(SOURCE.read_text(encoding="utf-8"), document.width - FRAME_PADDING))
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
