"""From the model's tensors to what its graph takes as initializers, in full precision or with weights of 7 bits.

Weights: one scale per output channel, symmetric, ±63. Not ±127: on x86 without VNNI the product of unsigned activations
and signed weights is summed pairwise in 16 bits and saturates above 32,767; 2 · 255 · 63 stays below. So every machine
computes the same vectors, and a cluster of unlike machines shares one cache. It costs cosine in the third decimal
(docs/decisions/0003).

Activations are quantised inside the graph, one scale per token, so a text's vector does not depend on the texts beside
it. What follows the GELU is never below -0.17: it is shifted up by SHIFT and uses all 8 bits unsigned; the shift's
share of the product is a constant per channel and is taken off the bias here.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Precision: TypeAlias = Literal["int8", "fp32"]
Floats: TypeAlias = NDArray[np.float32]

WORDS: Final = "embeddings.word_embeddings.weight"
DIMENSIONS: Final = 384
WEIGHT_MAX: Final = 63
SHIFT: Final = 0.17
"""GELU's minimum is -0.16997."""


def initializers(tensors: Mapping[str, Floats], precision: Precision, layers: int) -> Mapping[str, NDArray[np.generic]]:
    """Name → array for every initializer that the graph of this precision declares. Raises KeyError for a missing
    tensor.

    The words' table is not among them: onnxruntime would copy it; the loader looks words up in the mapped file
    instead.
    """
    made: dict[str, NDArray[np.generic]] = {}
    # All texts are of token type 0: its row is folded into the positions.
    made["embeddings.positions"] = (
        tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    _norm(made, "embeddings.norm", tensors, "embeddings.LayerNorm")
    for layer in range(layers):
        source, target = f"encoder.layer.{layer}.", f"layer.{layer}."
        parts = [source + f"attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([tensors[part + ".weight"] for part in parts])
        bias = np.concatenate([tensors[part + ".bias"] for part in parts])
        _linear(made, target + "attend", weight, bias, precision)
        for name, origin, shift in (
            ("mix", "attention.output.dense", 0.0),
            ("widen", "intermediate.dense", 0.0),
            ("narrow", "output.dense", SHIFT),
        ):
            _linear(
                made,
                target + name,
                tensors[source + origin + ".weight"],
                tensors[source + origin + ".bias"],
                precision,
                shift,
            )
        _norm(made, target + "mix.norm", tensors, source + "attention.output.LayerNorm")
        _norm(made, target + "narrow.norm", tensors, source + "output.LayerNorm")
    return made


def _norm(made: dict[str, NDArray[np.generic]], name: str, tensors: Mapping[str, Floats], origin: str) -> None:
    made[name + ".gain"] = tensors[origin + ".weight"]
    made[name + ".bias"] = tensors[origin + ".bias"]


def _linear(
    made: dict[str, NDArray[np.generic]],
    name: str,
    weight: Floats,
    bias: Floats,
    precision: Precision,
    shift: float = 0.0,
) -> None:
    """`weight` is (out, in), as torch keeps it; the graph multiplies from the left and takes (in, out)."""
    if precision == "fp32":
        made[name + ".weight"] = np.ascontiguousarray(weight.T)
        made[name + ".bias"] = bias
        return
    scale = (np.maximum(weight.max(axis=1), -weight.min(axis=1)) / np.float32(WEIGHT_MAX)).astype(np.float32)
    levels = np.ascontiguousarray(np.rint(weight / scale[:, None]).astype(np.int8).T)
    made[name + ".levels"] = levels
    made[name + ".scale"] = scale
    made[name + ".bias"] = (
        (bias - np.float32(shift) * scale * levels.sum(axis=0, dtype=np.int32)).astype(np.float32) if shift else bias
    )
