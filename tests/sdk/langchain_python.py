"""The cases of LangChain's ChatOpenAI. usage: langchain_python.py BASE_URL KEY FAKE_PORT"""

import sys

import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from fake import Fake, run
from openai_python import CALL, CALL_IN_PIECES, MODEL, PIXEL, completion, failure


@tool
def temperature(place: str) -> float:
    """Of a place, in °C"""
    return 21.5


def seen(message):
    return {
        "content": message.content,
        "tools": getattr(message, "tool_calls", None),
        "usage": getattr(message, "usage_metadata", None),
        "finish": message.response_metadata.get("finish_reason"),
        "model": message.response_metadata.get("model_name"),
    }


def case_invoke(fake, llm):
    return seen(llm.invoke("¿Qué ves?"))


def case_stream(fake, llm):
    whole = None
    pieces = 0
    for piece in llm.stream("¿Qué ves?"):
        whole = piece if whole is None else whole + piece
        pieces += 1
    return [pieces, seen(whole)]


def case_stream_with_usage(fake, llm):
    whole = None
    for piece in llm.stream("¿Qué ves?", stream_usage=True):
        whole = piece if whole is None else whole + piece
    return seen(whole)


def case_batch(fake, llm):
    return [seen(m) for m in llm.batch(["uno", "dos", "tres"])]


def case_tools(fake, llm):
    fake.script(
        {"object": completion({"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls")}, {"content": "21,5 °C"}
    )
    bound = llm.bind_tools([temperature])
    asked = bound.invoke("¿Qué tiempo hace?")
    call = asked.tool_calls[0]
    result = ToolMessage(str(temperature.invoke(call["args"])), tool_call_id=call["id"])
    return [seen(asked), seen(bound.invoke([HumanMessage("¿Qué tiempo hace?"), asked, result]))]


def case_stream_of_tools(fake, llm):
    fake.script(CALL_IN_PIECES)
    whole = None
    for piece in llm.bind_tools([temperature]).stream("¿Qué tiempo hace?"):
        whole = piece if whole is None else whole + piece
    return seen(whole)


def case_structured(fake, llm):
    class Weather(pydantic.BaseModel):
        """What it is like"""

        place: str
        celsius: float

    fake.script({"content": '{"place":"Cádiz","celsius":21.5}'})
    return llm.with_structured_output(Weather, method="json_schema").invoke("¿Qué tiempo hace?").model_dump()


def case_image(fake, llm):
    parts = [{"type": "text", "text": "¿Y esto?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    return seen(llm.invoke([HumanMessage(parts)]))


def case_retried(fake, llm):
    fake.script({"error": "rate_limit", "retry_after_ms": 20}, {"content": "al fin"})
    return seen(llm.invoke("¿Qué ves?"))


def case_unknown_model(fake, llm):
    return failure(lambda: llm.invoke("¿Qué ves?", model="no-such-model"))


def case_rate_limit(fake, llm):
    fake.script({"error": "rate_limit", "retry_after": 1, "repeat": 100})
    return failure(lambda: llm.invoke("¿Qué ves?"))


def case_context_too_long(fake, llm):
    fake.script({"error": "context"})
    return failure(lambda: llm.invoke("¿Qué ves?"))


if __name__ == "__main__":
    base_url, key, port = sys.argv[1:]
    run(dict(globals()), Fake(port), ChatOpenAI(base_url=base_url, api_key=key, model=MODEL, timeout=30))
