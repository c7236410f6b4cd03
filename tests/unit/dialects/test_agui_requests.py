"""What an AG-UI client may send that is none of its protocol."""

from typing import Any

import pytest

from stoa.dialects.agui.reading import turn_of
from stoa.kernel.errors import BadRequest


def sent(**message: Any) -> dict[str, Any]:
    return {"threadId": "t", "runId": "r", "messages": [message]}


@pytest.mark.parametrize("role", [["user"], {"is": "user"}, 5, None, "activity"])
def test_a_role_of_the_wrong_type_is_ignored(role: Any) -> None:
    turn, run_id = turn_of("agent", sent(role=role, content="Hi"))
    assert (run_id, [*turn.history, *turn.tail]) == ("r", [])


@pytest.mark.parametrize("calls", [5, "f", {"id": "x"}, [5]])
def test_calls_that_are_no_list_of_objects_are_refused(calls: Any) -> None:
    with pytest.raises(BadRequest, match="toolCalls"):
        turn_of("agent", sent(role="assistant", toolCalls=calls))
