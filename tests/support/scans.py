"""Files without text, and a model that reads them."""

import base64
import io
import re
from collections import Counter
from typing import Any

from PIL import Image
from pydantic import SecretStr

from stoa.settings import Price, Provider
from tests.support.scripted_model import ScriptedServer

CANARY = "Zyxkanarienvogel"


def scans(pages: int) -> bytes:
    """A PDF: a page of text, an empty one, then pages that only show a drawing, each as many points wide as its number
    times 100 (up to 11: wider ones
    are scaled)."""
    contents = [b"BT /F1 12 Tf 50 700 Td (The contract begins in March and names both parties.) Tj ET", b""]
    contents += [b"10 10 50 50 re f"] * (pages - 2)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for number, content in enumerate(contents, 1):
        objects.append(b"<</Length %d>>stream\n%s\nendstream\n" % (len(content), content))
        box = b"/MediaBox[0 0 %d 800]" % (number * 100)
        objects.append(
            b"<</Type/Page/Parent 2 0 R%s/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>" % (box, len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(kids), pages)
    body = b"".join(b"%d 0 obj%sendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (len(objects) + 1)


class VisionModel:
    """Plays the model: knows each page by the width of its picture, and answers as the page's script says."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.asked: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.scripts: dict[int, dict[str, Any]] = {}
        server.script = self.look

    def look(self, body: dict[str, Any]) -> dict[str, Any]:
        [(kind, encoded)] = re.findall(r"data:image/(\w+);base64,([^\"']+)", str(body))
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert picture.format == kind.upper()
        page = round(picture.width * 72 / 150 / 100)
        self.asked[page] += 1
        self.kinds[kind] += 1
        return {
            "id": f"page {page}",
            "pieces": [f"# Annex {page}\n\n", f"Clause {page} speaks of {CANARY}{page}."],
            **self.scripts.get(page, {}),
        }

    @property
    def settings(self) -> dict[str, Any]:
        provider = Provider(name="eyes", type="openai", base_url=self.server.url, api_key=SecretStr("k"))
        price = Price(model="eyes/*", prompt=50_000, completion=250_000)  # A page takes 10 tokens and 2: a dollar.
        return {"providers": (provider,), "ocr_model": "eyes/scripted-vision", "prices": (price,)}
