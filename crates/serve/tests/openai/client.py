"""OpenAI's package against a server at the address given, about the picture given."""

import base64
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
picture = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
url = f"data:image/png;base64,{picture}"
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model

# Chat.
answer = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "is there a red circle?"}], max_tokens=8, temperature=0
)
assert answer.object == "chat.completion" and answer.choices[0].message.role == "assistant", answer
assert answer.choices[0].finish_reason in ("stop", "length"), answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer

# Image, with our own fields beside OpenAI's.
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
            {"type": "text", "text": "what color is the cross?"},
        ],
    }
]
pruned = {"visual_tokens": "1/9", "pruner": "visionzip"}
whole = client.chat.completions.create(model=model, messages=messages, extra_body=pruned)
assert whole.choices[0].message.content == "purple", whole
assert whole.usage.visual_tokens_total == 144 and whole.usage.visual_tokens_kept == 16, whole.usage
assert whole.warnings == [], whole

# Stream.
stream = client.chat.completions.create(
    model=model, messages=messages, stream=True, stream_options={"include_usage": True}, extra_body=pruned
)
text, usage, reason = "", None, None
for chunk in stream:
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    usage = chunk.usage or usage
assert (text, reason) == ("purple", "stop"), (text, reason)
assert usage.completion_tokens == whole.usage.completion_tokens, usage

# Errors.
def refused(kind, **fields):
    try:
        client.chat.completions.create(**{"model": model, "messages": messages, **fields})
    except kind as error:
        return error
    raise AssertionError(f"{fields} was not refused")

error = refused(openai.BadRequestError, n=2)
assert error.param == "n" and error.code == "unsupported_parameter", error
error = refused(openai.NotFoundError, model="other")
assert error.code == "model_not_found", error
error = refused(openai.BadRequestError, extra_body={"pruner": "nothing-like-it"})
assert error.param == "pruner" and "nothing-like-it" in error.message, error

print("chat, stream, image, error: as expected")
