"""The platform's pipelines: files become documents in a knowledge base, questions are answered from it."""

from typing import Any
from uuid import UUID

import pytest

from stoa.gateway import Capabilities
from stoa.runs.agent.knowledge import Quote
from stoa.runs.agent.steps import RunStopped
from stoa.runs.workflow.graph import read
from stoa.runs.workflow.nodes.splitters import SplitterNode, pieces_of
from stoa.runs.workflow.pipelines import pipeline_problems
from stoa.runs.workflow.ports import FileText
from tests.support.doubles import ScriptedModel, answer
from tests.support.graphs import GraphRun, flow, node

BASE = "01890a5d-ac96-774b-bcce-b302099a8057"
FILE = FileText(UUID(int=7), "rome.pdf", [(1, "Sunny."), (1, "Warm."), (2, "Rain.")])
pytestmark = pytest.mark.timeout(20)


def indexing(**splitter: Any) -> dict[str, Any]:
    documents = "$.{}.output.documents"
    return flow(
        node("convert", "read", "start"),
        node("split", "cut", "read", pick={"documents": documents.format("read")}, **splitter),
        node("embed", "embed", "cut", pick={"documents": documents.format("cut")}),
        node("write", "write", "embed", pick={"documents": documents.format("embed")}, knowledgebase_id=BASE),
    )


async def test_files_become_documents_of_a_knowledge_base() -> None:
    run = await GraphRun(indexing(split_length=1), files=[FILE]).drive()
    stored = run.stored["write"]
    assert [one.content.strip() for one in stored] == ["Sunny.", "Warm.", "Rain."]
    assert [one.name for one in stored] == ["rome.pdf-1.md", "rome.pdf-2.md", "rome.pdf-3.md"]
    assert [one.metadata["page"] for one in stored] == [1, 1, 2]
    assert run.workflow.result["upserted_count"] == 3
    again = await GraphRun(indexing(split_length=1), files=[FILE]).drive()
    assert again.output("cut") == run.output("cut"), "the same documents, so that a repetition stores nothing new"


@pytest.mark.parametrize(
    ("mode", "contents"),
    [
        ("one-doc-per-file", ["Sunny.\n\nWarm.\n\nRain."]),
        ("one-doc-per-page", ["Sunny.\n\nWarm.", "Rain."]),
        ("one-doc-per-element", ["Sunny.", "Warm.", "Rain."]),
    ],
)
async def test_what_a_document_is(mode: str, contents: list[str]) -> None:
    run = await GraphRun(flow(node("convert", "read", "start", document_creation_mode=mode)), files=[FILE]).drive()
    assert [one["content"] for one in run.output("read")["documents"]] == contents
    assert run.output("read")["documents"][0]["metadata"]["file_name"] == "rome.pdf"


TABLE = FileText(
    UUID(int=8),
    "a.csv",
    [
        (None, "| Target | Kind |\n| --- | --- |\n| one \\| two | x |"),
        (None, "| Target | Kind |\n| --- | --- |\n| three |  |\n|  | z |"),
    ],
)


@pytest.mark.parametrize(
    ("fields", "contents", "rows"),
    [
        ({"content_column": "Target", "metadata_columns": ["Kind", "Gone"]}, ["one | two", "three"], [2, 3]),
        ({}, ["Target: one | two\nKind: x", "Target: three", "Kind: z"], [2, 3, 4]),
    ],
)
async def test_rows_of_a_table_are_documents(fields: dict[str, Any], contents: list[str], rows: list[int]) -> None:
    run = await GraphRun(flow(node("csv", "read", "start", **fields)), files=[TABLE]).drive()
    found = run.output("read")["documents"]
    assert [one["content"] for one in found] == contents
    assert [one["metadata"]["row_number"] for one in found] == rows
    assert found[0]["metadata"].get("Kind") == ("x" if fields else None)
    with pytest.raises(RunStopped, match="no column 'Nothing'; its columns: Target, Kind"):
        await GraphRun(flow(node("csv", "read", "start", content_column="Nothing")), files=[TABLE]).drive()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "the run has no files"),
        ([FileText(UUID(int=1), "a.bin", [], "no reader knows it")], "'a.bin' cannot be read: no reader knows it"),
    ],
)
async def test_without_a_text_the_converter_says_so(files: list[FileText], says: str) -> None:
    with pytest.raises(RunStopped, match=says):
        await GraphRun(indexing(), files=files).drive()


async def test_a_question_is_answered_from_what_is_found() -> None:
    prompt = (
        "{% for document in documents %}{{ document.metadata['source'] }}: {{ document.content }}{% endfor %} {{query}}"
    )
    graph = flow(
        node("embed_text", "embed", "start"),
        node(
            "retrieve",
            "find",
            "embed",
            pick={"embedding": "$.embed.output.embedding"},
            output_transformer={"selector": {"documents": "$.documents"}},
            knowledgebase_id=BASE,
            top_k=3,
        ),
        node(
            "llm",
            "say",
            "find",
            pick={"query": "$.query", "documents": "$.find.output.documents"},
            prompt={"messages": [{"role": "user", "content": prompt}]},
        ),
    )
    one = UUID(BASE)
    found = [Quote("Rome is sunny.", "rome.pdf", 1, None, one, one, one)]
    model = ScriptedModel([answer("Sunny.")], Capabilities(images=False, tools=True))
    run = await GraphRun(graph, {"query": "Weather?"}, model, found=found).drive()
    assert run.asked == [([one], "Weather?", 3)]
    assert model.requests[0].messages[-1].parts[0].text == "rome.pdf: Rome is sunny. Weather?"  # type: ignore[union-attr]
    assert not pipeline_problems(read(graph))


async def test_a_vector_of_the_caller_s_is_no_question() -> None:
    graph = flow(node("retrieve", "find", "start", pick={"embedding": "$.vector"}, knowledgebase_id=BASE))
    with pytest.raises(RunStopped, match="is asked by query"):
        await GraphRun(graph, {"vector": [0.1, 0.2]}).drive()


def test_nothing_may_want_a_vector() -> None:
    wanting = flow(node("embed", "e", "start"))
    assert "'e', which gives no vectors here" in pipeline_problems(read(wanting))["flow.nodes.end"]
    far = flow(
        node("embed_text", "e", "start"),
        node("retrieve", "find", "e", pick={"embedding": "$.e.output.embedding"}, knowledgebase_id=BASE),
        node("output", "end", "find", pick={"vector": "$.e.output.embedding"}),
    )
    assert list(pipeline_problems(read(far))) == ["flow.nodes.end"]
    text = flow(node("embed_text", "e", "start"), node("output", "end", "e", pick={"asked": "$.e.output.query"}))
    assert not pipeline_problems(read(text)), "the text itself is there to be read"
    assert not pipeline_problems(read(indexing()))


@pytest.mark.parametrize(
    ("fields", "pieces"),
    [
        ({"split_by": "word", "split_length": 2}, ["a b ", "c. d\n\ne"]),
        ({"split_by": "word", "split_length": 2, "split_overlap": 1}, ["a b ", "b c. ", "c. d\n\ne"]),
        ({"split_by": "sentence", "split_length": 1}, ["a b c.", " d\n\ne"]),
        ({"split_by": "passage", "split_length": 1}, ["a b c. d\n\n", "e"]),
        ({"split_by": "character", "split_length": 5}, ["a b c", ". d\n\n", "e"]),
    ],
)
def test_pieces(fields: dict[str, Any], pieces: list[str]) -> None:
    splitter = SplitterNode.model_validate({"id": "s", "type": "x", **fields})
    assert list(pieces_of("a b c. d\n\ne", splitter)) == pieces
    assert list(pieces_of("", splitter)) == []
