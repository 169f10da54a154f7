"""The key of a provider, from a file that somebody else keeps up to date, as Vault
Agent does. It needs the standard library alone: copy it.

    key = KeyFile("/run/vault-agent/openai-key")
    client = OpenAI(api_key=key.read)
    answer = key.call(lambda: client.responses.create(...), AuthenticationError)

The file is read for each request: it is small, and in memory where Agent writes it, so
there is nothing to watch and nothing to invalidate. Agent replaces it by a rename, so
it is never half written.
"""

from pathlib import Path


class KeyFile:
    def __init__(self, path):
        self.path = Path(path)

    def read(self):
        """The key that is there now."""
        key = self.path.read_text(encoding="utf-8").strip()
        if not key:
            raise ValueError(f"{self.path} is empty")
        return key

    def call(self, request, unauthorized):
        """What request() returns. If it raises unauthorized, the file is read once
        again, and if there is another key by then, the request is made once more: SDKs
        do not retry a 401.
        """
        before = self.read()
        try:
            return request()
        except unauthorized:
            if not self._replaced(before):
                raise
        return request()

    def _replaced(self, before):
        try:
            return self.read() != before
        except (OSError, ValueError):
            return False  # there is no other key
