"""Of anthropic for Python, what the example uses: a client with a fixed api_key, and
with_options, which copies it with another."""

import os
import types

from sdk import APIError, AuthenticationError, post

__all__ = ["APIError", "Anthropic", "AuthenticationError"]


class Anthropic:
    def __init__(self, *, api_key):
        def create(*, model, max_tokens, messages):
            return post(
                os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
                {"X-Api-Key": api_key, "anthropic-version": "2023-06-01"},
                {"model": model, "max_tokens": max_tokens, "messages": messages},
            )

        self.messages = types.SimpleNamespace(create=create)

    def with_options(self, *, api_key):
        return Anthropic(api_key=api_key)
