"""A small cross-encoder in the form in which operators export one: its score is the number of query words in the
text."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("a", "and", "bread", "butter", "is", "it", "joke", "no", "open", "over", "sea", "storm", "the", "to", "wide")
EventType = Literal["one logit", "two logits", "three logits", "length", "pixels"]


def export(directory: Path, kind: EventType = "one logit", *, model: str = "model.onnx", **configuration: Any) -> Path:
    """`length`: a model without segments, whose score is the number of its tokens. `pixels`: not a cross-encoder at
    all."""
    (directory / model).parent.mkdir(parents=True, exist_ok=True)
    graph = {"pixels": _pixels, "length": _length}.get(
        kind, lambda: _overlap({"one logit": 1, "two logits": 2}.get(kind, 3))
    )()
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    onnx.save(made, directory / model)
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "config.json").write_text(
        json.dumps({"model_type": "bert", "pad_token_id": 0, "max_position_embeddings": 64, **configuration})
    )
    return directory


def _whole(*names: str) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]


def _constants(**values: Any) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _overlap(logits: int) -> onnx.GraphProto:
    """4 * (share of the query's words that the text has) - 2."""
    node = helper.make_node
    nodes = [
        node("GreaterOrEqual", ["input_ids", "first_word"], ["is_word"]),
        node("Equal", ["token_type_ids", "one"], ["is_second"]),
        node("Not", ["is_second"], ["is_first"]),
        node("Cast", ["attention_mask"], ["attended"], to=TensorProto.BOOL),
        node("And", ["is_word", "attended"], ["counts"]),
        node("And", ["counts", "is_first"], ["in_query"]),
        node("Cast", ["in_query"], ["query"], to=TensorProto.FLOAT),
        node("And", ["counts", "is_second"], ["in_text"]),
        node("Unsqueeze", ["in_text", "one_axis"], ["text"]),
        node("Unsqueeze", ["input_ids", "two_axis"], ["rows"]),
        node("Unsqueeze", ["input_ids", "one_axis"], ["columns"]),
        node("Equal", ["rows", "columns"], ["equal"]),
        node("And", ["equal", "text"], ["hits"]),
        node("Cast", ["hits"], ["hit"], to=TensorProto.FLOAT),
        node("ReduceMax", ["hit"], ["found"], axes=[2], keepdims=0),
        node("Mul", ["found", "query"], ["found_of_query"]),
        node("ReduceSum", ["found_of_query", "one_axis"], ["number"], keepdims=1),
        node("ReduceSum", ["query", "one_axis"], ["asked"], keepdims=1),
        node("Max", ["asked", "one_float"], ["asked_or_one"]),
        node("Div", ["number", "asked_or_one"], ["share"]),
        node("Mul", ["share", "four"], ["scaled"]),
        node("Sub", ["scaled", "two"], ["logit"]),
    ]
    if logits > 1:
        nodes.append(node("Sub", ["nothing", "logit"], ["against"]))
    nodes.append(node("Concat", [*["against"] * (logits - 1), "logit"], ["logits"], axis=1))
    constants = _constants(
        first_word=np.int64(len(SPECIAL)),
        one=np.int64(1),
        one_axis=np.array([1]),
        two_axis=np.array([2]),
        one_float=np.float32(1),
        four=np.float32(4),
        two=np.float32(2),
        nothing=np.float32(0),
    )
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", logits])]
    return helper.make_graph(
        nodes, "overlap", _whole("input_ids", "attention_mask", "token_type_ids"), outputs, constants
    )


def _length() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["attended"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["attended", "one_axis"], ["number"], keepdims=0),
        helper.make_node("Div", ["number", "hundred"], ["score"]),
        # The ids are looked at, so that padding with what is no id would show.
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ids", "one_axis"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["score", "zero"], ["relevance"]),
    ]
    outputs = [helper.make_tensor_value_info("relevance", TensorProto.FLOAT, ["batch"])]
    constants = _constants(one_axis=np.array([1]), hundred=np.float32(100), nothing=np.float32(0))
    return helper.make_graph(nodes, "length", _whole("input_ids", "attention_mask"), outputs, constants)


def _pixels() -> onnx.GraphProto:
    nodes = [helper.make_node("Identity", ["pixel_values"], ["embedding"])]
    (seen, out) = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("pixel_values", "embedding")
    )
    return helper.make_graph(nodes, "pixels", [seen], [out])
