"""The OpenAI Agents SDK and LangChain, asked by `bench/compat_dialects.py --python PYTHON`, where PYTHON has
`openai-agents` and `langchain-openai`."""

import asyncio
import json
import sys
from typing import Any

import openai
from agents import (  # type: ignore[import-not-found]
    Agent,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from langchain_core.messages import HumanMessage, ToolMessage  # type: ignore[import-not-found]
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]

ASKS = {"pieces": ["So. "], "tool": {"name": "weather", "arguments": '{"city": "Rome"}'}}
SUN = [ASKS, {"pieces": ["Su", "n."], "reasoning": ["Hm."]}]


def script(**fields: Any) -> str:
    return f"Hi [[script {json.dumps(fields)}]]"


def question(name: str, said: str, expected: str) -> int:
    print(f"ok     {name}" if said == expected else f"FAILED {name}: {said}", flush=True)
    return said != expected


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


async def agents(url: str, key: str, model: str) -> int:
    set_tracing_disabled(True)
    async with openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key=key) as client:
        held = Agent(name="a", tools=[function_tool(weather)], model=OpenAIResponsesModel(model, client))
        failed = question("agents: a run with a tool", (await Runner.run(held, script(turns=SUN))).final_output, "Sun.")
        streamed = Runner.run_streamed(held, script(turns=SUN))
        async for _ in streamed.stream_events():
            pass
        failed += question("agents: streamed", streamed.final_output, "Sun.")
        more = await Runner.run(held, script(pieces=["More."]), previous_response_id=streamed.last_response_id)
        failed += question("agents: previous_response_id", more.final_output, "More.")
        session = OpenAIConversationsSession(openai_client=client)
        await Runner.run(held, script(pieces=["One."]), session=session)
        await Runner.run(held, script(pieces=["Two."]), session=session)
        return failed + question("agents: a conversation", str(len(await session.get_items())), "4")


def langchain(url: str, key: str, model: str) -> int:
    chat = ChatOpenAI(model=model, base_url=f"{url}/openai/v1", api_key=key, max_retries=0, use_responses_api=True)
    failed = question("langchain: an answer", chat.invoke(script(pieces=["Hel", "lo."])).text, "Hello.")
    failed += question("langchain: a stream", "".join(one.text for one in chat.stream(script(pieces=["Hi"]))), "Hi")
    bound, asked = chat.bind_tools([weather]), [HumanMessage(script(turns=SUN))]
    reply = bound.invoke(asked)
    result = ToolMessage("sun", tool_call_id=reply.tool_calls[0]["id"])
    return failed + question("langchain: tools", bound.invoke([*asked, reply, result]).text, "Sun.")


if __name__ == "__main__":
    sys.exit(asyncio.run(agents(*sys.argv[1:])) + langchain(*sys.argv[1:]))
