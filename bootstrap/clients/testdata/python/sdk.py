"""What stands for both SDKs: it sends a body, and has the errors that callers know."""

import json
import types
import urllib.error
import urllib.request


class APIError(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.message = message


class AuthenticationError(APIError):
    pass


def post(url, headers, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response, object_hook=lambda o: types.SimpleNamespace(**o))
    except urllib.error.HTTPError as err:
        kind = AuthenticationError if err.code == 401 else APIError
        raise kind(err.read().decode()) from None
