"""Answers each line of its input, for as long as there is one. Keys come and go meanwhile.

    OPENAI_API_KEY_FILE=/run/vault-agent/openai-key python3 openai_chat.py

Needs openai 1.106 or later, which takes a function as api_key.
"""

import os
import sys

from openai import APIError, AuthenticationError, OpenAI

from keyfile import KeyFile

key = KeyFile(os.environ.get("OPENAI_API_KEY_FILE", "/run/vault-agent/openai-key"))
client = OpenAI(api_key=key.read)

for line in sys.stdin:
    try:
        completion = key.call(
            lambda: client.chat.completions.create(
                model="gpt-4.1-mini",
                messages=[{"role": "user", "content": line.strip()}],
            ),
            AuthenticationError,
        )
    except AuthenticationError:
        print("the key in the file is refused", file=sys.stderr, flush=True)
    except APIError as err:
        print(err.message, file=sys.stderr, flush=True)
    else:
        print(completion.choices[0].message.content, flush=True)
