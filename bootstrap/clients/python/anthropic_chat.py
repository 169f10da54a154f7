"""Answers each line of its input, for as long as there is one. Keys come and go meanwhile.

    ANTHROPIC_API_KEY_FILE=/run/vault-agent/anthropic-key python3 anthropic_chat.py

This SDK takes no function as api_key, so each request goes by a copy of the client with
the key of the moment. Copies share its connections.
"""

import os
import sys

from anthropic import Anthropic, APIError, AuthenticationError

from keyfile import KeyFile

key = KeyFile(os.environ.get("ANTHROPIC_API_KEY_FILE", "/run/vault-agent/anthropic-key"))
client = Anthropic(api_key=key.read())

for line in sys.stdin:
    try:
        message = key.call(
            lambda: client.with_options(api_key=key.read()).messages.create(
                model="claude-haiku-4-5",
                max_tokens=1024,
                messages=[{"role": "user", "content": line.strip()}],
            ),
            AuthenticationError,
        )
    except AuthenticationError:
        print("the key in the file is refused", file=sys.stderr, flush=True)
    except APIError as err:
        print(err.message, file=sys.stderr, flush=True)
    else:
        print(message.content[0].text, flush=True)
