"""Of openai for Python, what the example uses: a client whose api_key is a function
that is called for each request."""

import os
import types

from sdk import APIError, AuthenticationError, post

__all__ = ["APIError", "AuthenticationError", "OpenAI"]


class OpenAI:
    def __init__(self, *, api_key):
        def create(*, model, messages):
            return post(
                os.environ["OPENAI_BASE_URL"] + "/chat/completions",
                {"Authorization": "Bearer " + api_key()},
                {"model": model, "messages": messages},
            )

        self.chat = types.SimpleNamespace(completions=types.SimpleNamespace(create=create))
