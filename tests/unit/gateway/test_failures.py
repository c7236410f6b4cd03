"""What providers say when they fail, by their own words: the code that it becomes, and whether a retry can help."""

# ruff: noqa: E501 - one provider's words a line read best as a table

from typing import Any

import pytest

from stoa.gateway.providers.failures import classified, found

TOO_LONG = {
    "OpenAI": (400, {"error": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}}),
    "Anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Vertex": (400, [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}]),
    "xAI": (400, {"error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    "Groq": (413, {"error": {"message": "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000", "code": "rate_limit_exceeded"}}),
    "OpenAI's plan": (429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 48000.", "code": "rate_limit_exceeded"}}),
    "Together": (400, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000"}}),
    "TGI": (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", "error_type": "validation"}),
    "Kimi": (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 131072", "type": "invalid_request_error"}}),
    "GLM": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    "Copilot": (400, {"error": {"message": "prompt token count of 140000 exceeds the limit of 128000"}}),
    "vLLM": (400, {"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", "code": 400}),
    "SGLang": (400, {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}),
    "LM Studio": (400, {"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}),
    "llama.cpp": (500, {"error": {"code": 500, "message": "the request exceeds the available context size. try increasing the context size", "type": "server_error"}}),
    "SiliconFlow": (400, {"code": 20015, "message": "length of prompt_tokens (140000) must be less than max_seq_len (131072)."}),
    "DashScope": (400, {"error": {"message": "Range of input length should be [1, 30720]", "code": "invalid_parameter_error"}}),
    "Doubao": (400, {"error": {"message": "Total tokens of image and text exceed max message tokens"}}),
    "SambaNova": (400, {"error": {"message": "The provided prompt is 10000 tokens long, but the maximum supported sequence length is just 8192!"}}),
    "GitHub": (413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}),
    "Ollama": (400, {"error": {"message": "prompt too long; exceeded max context length by 4 tokens"}}),
    "OpenRouter": (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "This endpoint's maximum context length is 32768 tokens."}}}),
}  # fmt: skip # a table
OTHERS = {
    "OpenAI, no money": (429, {"error": {"message": "You exceeded your current quota, please check your plan and billing details.", "code": "insufficient_quota"}}, "model_quota_exhausted", False),
    "Anthropic, no money": (400, {"error": {"message": "Your credit balance is too low to access the Anthropic API."}}, "model_quota_exhausted", False),
    "DashScope, no money": (400, {"error": {"message": "Access denied, please make sure your account is in good standing.", "code": "Arrearage"}}, "model_quota_exhausted", False),
    "GLM, no money": (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, "model_quota_exhausted", False),
    "Gemini, a moment": (429, [{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details. Please retry in 7.9s.", "status": "RESOURCE_EXHAUSTED"}}], "model_rate_limited", True),
    "OpenRouter, moderation": (403, {"error": {"message": "Your chosen model requires moderation and your input was flagged", "code": 403}}, "content_filtered", False),
    "Azure, filtered": (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "code": "content_filter"}}, "content_filtered", False),
    "Gemini, key": (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}], "model_unauthorized", False),
    "Ollama, no model": (404, {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}, "model_not_found", False),
    "OpenRouter, no tools": (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}, "model_refused_request", False),
    "Groq, a call that it cannot read": (400, {"error": {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<x>"}}, "model_error", True),
    "Hugging Face, loading": (503, {"error": "Model x is currently loading", "estimated_time": 20.0}, "model_overloaded", True),
    "Cloudflare": (400, {"success": False, "errors": [{"message": "AiError: bad input", "code": 7003}], "result": None}, "model_refused_request", False),
    "llama.cpp, its template": (500, {"error": {"code": 500, "message": "Jinja Exception: Conversation roles must alternate user/assistant", "type": "server_error"}}, "model_refused_request", False),
    "llama.cpp, no images": (500, {"error": {"code": 500, "message": "image input is not supported - hint: you may need to provide the mmproj", "type": "server_error"}}, "model_refused_request", False),
    "Ollama, no images": (500, {"error": {"message": "this model is missing data required for image input"}}, "model_refused_request", False),
    "OpenRouter, no images": (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "model_refused_request", False),
    "Groq, a day's tokens": (429, {"error": {"message": "Rate limit reached: tokens per day (TPD). Please try again in 1h12m3.4s. Need more? Upgrade at /settings/billing", "code": "rate_limit_exceeded"}}, "model_rate_limited", True),
    "Azure, a moment": (429, {"error": {"code": "429", "message": "Requests have exceeded call rate limit of your pricing tier. Please retry after 20 seconds."}}, "model_rate_limited", True),
    "Amazon": (429, {"Message": "Too many requests, please wait before trying again.", "__type": "ThrottlingException"}, "model_rate_limited", True),
}  # fmt: skip # a table


def error_of(status: int, body: Any) -> Any:
    failure = found(body, refused=True)
    assert failure is not None
    return failure, classified(failure, "It failed.", status=status)


@pytest.mark.parametrize("name", TOO_LONG)
def test_contexts_that_are_too_long(name: str) -> None:
    _, error = error_of(*TOO_LONG[name])
    assert (error.code, error.retryable) == ("context_length_exceeded", False)


@pytest.mark.parametrize("name", OTHERS)
def test_other_refusals(name: str) -> None:
    status, body, code, retryable = OTHERS[name]
    failure, error = error_of(status, body)
    assert (error.code, error.retryable) == (code, retryable)
    assert failure.message, "its words are found"


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 6m0s", 360),
        ("Please try again in 1h12m3.5s", 4_323.5),
        ("Please retry after 20 seconds.", 20),
        ("Please wait 3 s and retry", 3),
        ("Please try again later", None),
    ],
)
def test_how_long_to_wait_in_words(words: str, seconds: float | None) -> None:
    assert error_of(429, {"error": {"message": words}})[1].retry_after_seconds == seconds


@pytest.mark.parametrize(
    "words",
    [
        "The model `x` does not exist",
        "Invalid value for 'temperature': must be at most 2",
        "messages: text content blocks must be non-empty",
        "Rate limit reached for requests: 3 per minute",
        "max_tokens must be at least 1",
        "The image is too large",
    ],
)
def test_what_is_not_about_the_context(words: str) -> None:
    _, error = error_of(400, {"error": {"message": words}})
    assert error.code != "context_length_exceeded"
