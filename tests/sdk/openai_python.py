"""The cases of OpenAI's Python SDK. usage: openai_python.py BASE_URL KEY FAKE_PORT"""

import asyncio
import sys

import openai
import pydantic

from fake import Fake, run, scrub

MODEL = "gpt-4o-mini"
HELLO = [{"role": "system", "content": "Breve."}, {"role": "user", "content": "¿Qué ves? 👀"}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "Of a place, in °C",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "temperature", "arguments": '{"place":"Cádiz"}'}}
USAGE = {"prompt_tokens": 30, "completion_tokens": 8, "total_tokens": 38}


def completion(message, finish_reason="stop", logprobs=None):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}],
        "usage": USAGE,
    }


def events(*deltas):
    """A stream as the body of a step: the deltas, then its end."""
    import json

    text = ""
    for delta in deltas:
        end = delta is deltas[-1]
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls" if end else None}],
        }
        text += "data: " + json.dumps(chunk, ensure_ascii=False) + "\n\n"
    return {"body": text + "data: [DONE]\n\n", "content_type": "text/event-stream"}


CALL_IN_PIECES = events(
    {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL, "function": {"name": "temperature", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"place":'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Cádiz"}'}}]},
    {},
)


def dump(model):
    return scrub(model.model_dump())


def failure(call):
    """The exception that the user of the SDK gets."""
    try:
        call()
    except openai.APIStatusError as e:
        return {
            "class": type(e).__name__,
            "status": e.status_code,
            "message": e.message,
            "code": e.code,
            "type": e.type,
            "param": e.param,
            "retry_after": e.response.headers.get("retry-after"),
            "has_request_id": bool(e.request_id),
        }
    except openai.APIError as e:
        return {"class": type(e).__name__, "message": e.message}
    return {"class": None}


def ask(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})


def once(client, **more):
    return client.with_options(max_retries=0, **more)


def failing(fake, client, step, **more):
    fake.script({**step, "repeat": 100})
    return failure(lambda: ask(once(client), **more))


def case_chat(fake, client):
    return dump(ask(client))


def case_several_choices(fake, client):
    return dump(ask(client, n=3, max_tokens=4))


def case_every_parameter(fake, client):
    return dump(
        ask(
            client,
            temperature=0.25,
            top_p=1,
            presence_penalty=-0.5,
            frequency_penalty=1e-3,
            seed=123456789012,
            stop=["\n", "</fin>"],
            logit_bias={"50256": -100},
            max_completion_tokens=1000,
            user="sdk",
            metadata={"caso": "ñ"},
            response_format={"type": "text"},
            service_tier="auto",
        )
    )


def case_images(fake, client):
    parts = [{"type": "text", "text": "¿Y esto?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    return dump(ask(client, messages=[{"role": "user", "content": parts}]))


def case_large_image(fake, client):
    url = "data:image/png;base64," + "iVBORw0K" * 400000
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "¿Y esto?"}]
    return dump(ask(client, messages=[{"role": "user", "content": parts}]))


def case_unknown_fields(fake, client):
    """They arrive, and the provider has its say."""
    return failure(lambda: ask(client, extra_body={"inventado": {"a": [1.0, 1e400 > 0, "ñ"]}}))


def case_fields_of_other_providers(fake, client):
    fake.script({"object": {**completion({"role": "assistant", "content": "sí", "reasoning_content": "mmm"}), "extra": {"x": 1}}})
    return dump(ask(client))


def case_logprobs(fake, client):
    top = [{"token": "sí", "logprob": -0.1, "bytes": [115, 195, 173]}, {"token": "no", "logprob": -2.5, "bytes": None}]
    logprobs = {"content": [{"token": "sí", "logprob": -0.1, "bytes": None, "top_logprobs": top}], "refusal": None}
    fake.script({"object": completion({"role": "assistant", "content": "sí"}, logprobs=logprobs)})
    return dump(ask(client, logprobs=True, top_logprobs=2))


def case_tools(fake, client):
    fake.script({"object": completion({"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls")}, {"content": "21 °C"})
    first = ask(client, tools=TOOLS, tool_choice="auto")
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21"}
    second = ask(client, messages=[*HELLO, message, result], tools=TOOLS)
    return [message.tool_calls[0].id, dump(first), dump(second)]


def case_parsed(fake, client):
    class Weather(pydantic.BaseModel):
        place: str
        celsius: float

    fake.script({"content": '{"place":"Cádiz","celsius":21.5}'})
    answer = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Weather)
    return answer.choices[0].message.parsed.model_dump()


def case_raw_response(fake, client):
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    return {
        "status": answer.status_code,
        "type": answer.headers["content-type"],
        "has_request_id": bool(answer.parse()._request_id),
    }


def case_stream(fake, client):
    return [dump(chunk) for chunk in ask(client, stream=True)]


def case_stream_with_usage(fake, client):
    return [dump(chunk) for chunk in ask(client, stream=True, stream_options={"include_usage": True})]


def case_stream_with_other_options(fake, client):
    return [dump(chunk) for chunk in ask(client, stream=True, stream_options={"include_obfuscation": False})]


def case_stream_without_usage_asked(fake, client):
    return [dump(chunk) for chunk in ask(client, stream=True, stream_options={"include_usage": False})]


def case_stream_of_several_choices(fake, client):
    return [dump(chunk) for chunk in ask(client, stream=True, n=2, max_tokens=5)]


def case_slow_stream(fake, client):
    fake.script({"content": "uno dos tres cuatro cinco seis", "tokens_per_second": 20})
    return "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True))


def case_stream_in_crumbs(fake, client):
    fake.script({"content": "día, año, 👀, «ñ»", "trickle_bytes": 7, "trickle_ms": 1})
    return "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True))


def case_stream_of_tools(fake, client):
    fake.script(CALL_IN_PIECES)
    return [dump(chunk) for chunk in ask(client, stream=True, tools=TOOLS)]


def case_stream_helper(fake, client):
    fake.script(CALL_IN_PIECES)
    with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        return [kinds, dump(stream.get_final_completion())]


def case_stream_left(fake, client):
    fake.script({"content": "uno dos tres " * 1000, "tokens_per_second": 20})
    stream = ask(client, stream=True)
    first = dump(next(iter(stream)))
    stream.close()
    return [first, fake.wait_until_left()]


def case_stream_that_is_cut(fake, client):
    fake.script({"content": "uno dos tres cuatro", "cut": "body"})
    text, raised = "", None
    try:
        for chunk in ask(client, stream=True):
            text += chunk.choices[0].delta.content or ""
    except Exception as e:
        raised = type(e).__module__ + "." + type(e).__name__
    return {"text": text, "raised": raised}


def case_stream_error_before_it(fake, client):
    return failing(fake, client, {"error": "context"}, stream=True)


def case_async_stream(fake, client):
    async def all_of_it():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as c:
            stream = await c.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
            return [dump(chunk) async for chunk in stream]

    return asyncio.run(all_of_it())


def case_async_many(fake, client):
    async def many():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as c:
            calls = [c.chat.completions.create(model=MODEL, messages=HELLO, user=f"python-{i}") for i in range(50)]
            return [dump(answer) for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(many())
    return [len(answers), answers[0], all(a == answers[0] for a in answers)]


def case_refused_parameter(fake, client):
    return failure(lambda: ask(client, temperature=7))


def case_unknown_model(fake, client):
    return failure(lambda: ask(client, model="no-such-model"))


def case_context_too_long(fake, client):
    return failing(fake, client, {"error": "context"})


def case_rate_limit(fake, client):
    return failing(fake, client, {"error": "rate_limit", "retry_after": 1})


def case_rate_limit_in_milliseconds(fake, client):
    return failing(fake, client, {"error": "tokens", "retry_after_ms": 300})["class"]


def case_quota(fake, client):
    return failing(fake, client, {"error": "quota"})


def case_server_error(fake, client):
    return failing(fake, client, {"status": 500})


def case_overloaded(fake, client):
    return failing(fake, client, {"error": "overloaded"})


def case_bad_gateway_in_html(fake, client):
    return failing(fake, client, {"status": 502})


def case_provider_refuses_the_key(fake, client):
    return failing(fake, client, {"error": "invalid_api_key"})


def case_provider_refuses_the_country(fake, client):
    return failing(fake, client, {"error": "forbidden"})


def case_wrong_key(fake, client):
    return failure(lambda: ask(client.with_options(api_key="sk-wrong-0000-1111-2222")))


def case_our_limit(fake, client):
    """One of our own limits; of the provider the same by its script."""
    fake.script({"content": "a"}, {"error": "rate_limit", "retry_after": 30})
    ask(client, user="limited-python")
    return failure(lambda: ask(once(client), user="limited-python"))


def case_retried(fake, client):
    """Whoever does it: the user sees the answer."""
    fake.script({"error": "rate_limit", "retry_after_ms": 20}, {"status": 500, "retry_after_ms": 20}, {"content": "al fin"})
    return dump(ask(client))


def case_not_retried_for_ever(fake, client):
    """Three calls to the provider, not three times three."""
    fake.script({"status": 500, "retry_after_ms": 20, "repeat": 100})
    error = failure(lambda: ask(client))
    return [error["class"], error["status"], fake.stats()["requests"]]


def case_timeout(fake, client):
    fake.script({"stall": True, "repeat": 100})
    error = failure(lambda: ask(once(client, timeout=0.5)))
    return [error, fake.wait_until_left()]


def case_timeout_in_a_stream(fake, client):
    fake.script({"content": "uno dos tres cuatro", "stall": "body"})
    text, raised = "", None
    try:
        for chunk in ask(once(client, timeout=0.5), stream=True):
            text += chunk.choices[0].delta.content or ""
    except Exception as e:
        raised = type(e).__module__ + "." + type(e).__name__
    return {"text": text, "raised": raised, "left": fake.wait_until_left()}


def post(client, body):
    return failure(lambda: client.post("/chat/completions", body=body, cast_to=object))


def case_without_model(fake, client):
    return post(client, {"messages": HELLO})


def case_model_of_a_wrong_type(fake, client):
    return post(client, {"model": 7, "messages": HELLO})


def case_without_messages(fake, client):
    return post(client, {"model": MODEL})


def case_messages_of_a_wrong_type(fake, client):
    return post(client, {"model": MODEL, "messages": "hola"})


def case_empty_messages(fake, client):
    return post(client, {"model": MODEL, "messages": []})


def case_stream_of_a_wrong_type(fake, client):
    return post(client, {"model": MODEL, "messages": HELLO, "stream": "yes"})


def case_no_object(fake, client):
    return post(client, ["hola"])


def case_models(fake, client):
    return [dump(m) | {"id": m.id} for m in client.models.list() if m.id == MODEL]


def case_one_model(fake, client):
    m = client.models.retrieve(MODEL)
    return dump(m) | {"id": m.id}


def case_no_such_model(fake, client):
    return failure(lambda: client.models.retrieve("none/such"))


def case_other_endpoints(fake, client):
    return failure(lambda: client.embeddings.create(model="text-embedding-3-small", input="hola"))


def case_wrong_method(fake, client):
    return failure(lambda: client.get("/chat/completions", cast_to=object))


if __name__ == "__main__":
    base_url, key, port = sys.argv[1:]
    run(dict(globals()), Fake(port), openai.OpenAI(base_url=base_url, api_key=key, timeout=30))
