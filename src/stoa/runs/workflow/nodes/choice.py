"""A branch: each option is a condition on the node's input; other nodes depend on one of its options."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from stoa.runs.workflow import conditions
from stoa.runs.workflow.conditions import ConditionError
from stoa.runs.workflow.nodes.node import Condition, Inputs, Node, NodeFailed, NodePart, NodeType


class Option(NodePart):
    """An option without a condition is taken when no other was."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: str | None = None
    condition: Condition | None = None


class ChoiceNode(Node):
    options: Annotated[Sequence[Option], Field(max_length=255)] = ()
    hit_policy: Literal["first", "all"] = "first"

    @property
    def costly(self) -> bool:
        return any(one.condition is not None and conditions.costly(one.condition) for one in self.options)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        seen: set[str] = set()
        for index, option in enumerate(self.options):
            if option.id in seen:
                yield f"options[{index}].id", f"is {option.id!r}, as that of another option"
            seen.add(option.id)
            if option.condition is not None and (why := conditions.problem(option.condition)):
                yield f"options[{index}].condition", why
        if self.output_transformer is not None and (self.output_transformer.path or self.output_transformer.selector):
            yield "output_transformer", "cannot be set: nodes depend on the options, which it would replace"


def _decide(node: ChoiceNode, inputs: Inputs) -> Any:
    """The result in the platform's format: each option's id with `status` and `output`."""
    try:
        held = [
            option.condition is not None and conditions.holds(option.condition, inputs.values)
            for option in node.options
            if node.hit_policy == "all"
        ]
        taken = _first(node, inputs.values) if node.hit_policy == "first" else _all(node, held)
    except ConditionError as error:
        raise NodeFailed("condition_failed", str(error)) from error
    return {option.id: {"status": status, "output": status == "success"} for option, status in taken}


def _first(node: ChoiceNode, values: Mapping[str, Any]) -> Sequence[tuple[Option, str]]:
    """Options after the first match are not evaluated, but skipped."""
    judged: list[tuple[Option, str]] = []
    hit = False
    for option in node.options:
        if hit:
            judged.append((option, "skip"))
            continue
        hit = option.condition is None or conditions.holds(option.condition, values)
        judged.append((option, "success" if hit else "failure"))
    return judged


def _all(node: ChoiceNode, held: Sequence[bool]) -> Sequence[tuple[Option, str]]:
    """The default option is decided last, wherever it is in the list."""
    others = "skip" if any(held) else "success"
    return [
        (option, others if option.condition is None else "success" if hit else "failure")
        for option, hit in zip(node.options, held, strict=True)
    ]


TYPES: Final = (
    NodeType(
        name="dynamiq.nodes.operators.Choice",
        group="operators",
        description="Takes the first option whose condition holds, or all of them (`hit_policy`).",
        schema=ChoiceNode,
        decide=_decide,
    ),
)
