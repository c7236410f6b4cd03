"""Builds the weight-free graphs of the local models. For developers only.

    python tools/embedder/build_graphs.py minilm MODEL_DIR
    python tools/embedder/build_graphs.py e5 MODEL_DIR

MODEL_DIR holds the weights as their package ships them (model.safetensors, e5-small-q4.bin); only the shapes of what
the loader makes of them go into the graphs. Needs `onnx`.
"""

import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from stoa.embedding import e5, minilm, quantizing, weights
from stoa.embedding.e5_file import E5File
from stoa.embedding.safetensors import MappedTensors

TARGET = Path(__file__).parents[2] / "src/stoa/embedding"
HEADS = 12
EPSILON = 1e-12
MS = "com.microsoft"


class Graph:
    """Grows node by node; `op` returns the name of the node's output."""

    def __init__(self, name, layers, precision, declared):
        self.name, self.layers, self.precision = name, layers, precision
        self.declared, self.nodes, self.constants = declared, [], {}

    def op(self, kind, *inputs, domain="", **attributes):
        return self.ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def ops(self, kind, count, *inputs, domain="", **attributes):
        name = f"{kind}_{len(self.nodes)}"
        outputs = [f"{name}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs

    def constant(self, name, value, dtype):
        self.constants[name] = np.array(value, dtype)
        return name

    def linear(self, x, name, shifted=False):
        """x · weight without its bias: the node that follows adds it in the same pass."""
        if self.precision == "fp32":
            return self.op("MatMul", x, name + ".weight")
        if shifted:
            x = self.op("Add", x, self.constant("shift", quantizing.SHIFT, np.float32))
            peak, zero = x, self.constant("zero_unsigned", 0, np.uint8)
            unit = self.constant("unit_unsigned", 1 / 255, np.float32)
        else:
            peak, zero = self.op("Abs", x), self.constant("zero_signed", 128, np.uint8)
            unit = self.constant("unit_signed", 1 / 127, np.float32)
        scale = self.op("Mul", self.op("ReduceMax", peak, self.constant("last_axis", [-1], np.int64), keepdims=1), unit)
        # One scale per token: divide by it first, then quantise all with scale 1.
        one = self.constant("one", 1, np.float32)
        levels = self.op("QuantizeLinear", self.op("Div", x, scale), one, zero)
        y = self.op("MatMulIntegerToFloat", levels, name + ".levels", one, name + ".scale", zero, domain=MS)
        return self.op("Mul", y, scale)

    def norm_after(self, y, bias, residual, name):
        return self.op(
            "SkipLayerNormalization", y, residual, name + ".gain", name + ".bias", bias, domain=MS, epsilon=EPSILON
        )

    def encoder(self):
        zero, axis = self.constant("zero", [0], np.int64), self.constant("axis", [1], np.int64)
        length = self.op("Shape", "words", start=1, end=2)
        x = self.op("Add", "words", self.op("Slice", "embeddings.positions", zero, length, zero))
        x = self.op("LayerNormalization", x, "embeddings.norm.gain", "embeddings.norm.bias", axis=-1, epsilon=EPSILON)
        thirds = self.constant("thirds", [quantizing.DIMENSIONS] * 3, np.int64)
        for layer in range(self.layers):
            name = f"layer.{layer}."
            parts = self.ops("Split", 3, self.linear(x, name + "attend"), thirds, axis=-1)
            attended = self.op("MultiHeadAttention", *parts, name + "attend.bias", "mask", domain=MS, num_heads=HEADS)
            x = self.norm_after(self.linear(attended, name + "mix"), name + "mix.bias", x, name + "mix.norm")
            wide = self.op("BiasGelu", self.linear(x, name + "widen"), name + "widen.bias", domain=MS)
            x = self.norm_after(
                self.linear(wide, name + "narrow", shifted=True), name + "narrow.bias", x, name + "narrow.norm"
            )
        # Mean pooling over the tokens that count, then length 1: the mean's divisor cancels, so a sum will do.
        weights = self.op("Unsqueeze", self.op("Cast", "mask", to=TensorProto.FLOAT), axis)
        total = self.op("Squeeze", self.op("MatMul", weights, x), axis)
        self.nodes.append(helper.make_node("LpNormalization", [total], ["embedding"], axis=-1, p=2))

    def model(self) -> ModelProto:
        self.encoder()
        inputs = [
            helper.make_tensor_value_info("words", TensorProto.FLOAT, ["texts", "tokens", quantizing.DIMENSIONS]),
            helper.make_tensor_value_info("mask", TensorProto.INT32, ["texts", "tokens"]),
        ]
        outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", quantizing.DIMENSIONS])]
        kept = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        kept += [external(name, array) for name, array in self.declared.items()]
        graph = helper.make_graph(self.nodes, f"{self.name}-{self.precision}", inputs, outputs, kept)
        operators = [helper.make_opsetid("", 18), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=operators, ir_version=8, producer_name="stoa")


def external(name, array):
    """Declares an initializer by type and shape; the loader hands in its values."""
    tensor = TensorProto(
        name=name,
        dims=array.shape,
        data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        data_location=TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="weights")
    return tensor


def main(which: str, model_dir: Path) -> None:
    if which == "minilm":
        name, layers = "all-MiniLM-L6-v2", minilm.LAYERS
        tensors = MappedTensors(model_dir / weights.WEIGHTS.name).floats
    else:
        name, layers, tensors = "multilingual-e5-small", e5.LAYERS, E5File(model_dir / weights.E5.name)
    for precision in ("fp32", "int8"):
        model = Graph(name, layers, precision, quantizing.initializers(tensors, precision, layers)).model()
        path = TARGET / f"{which}_{precision}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(model.graph.node)} nodes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
