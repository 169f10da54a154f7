// The key of a provider, from a file that somebody else keeps up to date, as Vault
// Agent does. For the SDKs that take a function as apiKey, and a fetch:
//
//   const key = keyFile("/run/vault-agent/openai-key");
//   const client = new OpenAI({ apiKey: key.read, fetch: key.fetch });
//
// The file is read for each request: it is small, and in memory where Agent writes it,
// so there is nothing to watch and nothing to invalidate. Agent replaces it by a
// rename, so it is never half written.

import { readFile } from "node:fs/promises";

export function keyFile(path) {
  async function read() {
    const key = (await readFile(path, "utf8")).trim();
    if (key === "") {
      throw new Error(`${path} is empty`);
    }
    return key;
  }

  // send is fetch, which after a 401 reads the file once again, and tries once more if
  // there is another key by then. SDKs do not retry a 401. A body that can be sent only
  // once is not sent again: the caller gets the 401.
  async function send(url, init = {}) {
    const response = await fetch(url, init);
    if (response.status !== 401 || init.body instanceof ReadableStream) {
      return response;
    }
    const headers = new Headers(init.headers);
    const name = headers.has("x-api-key") ? "x-api-key" : "authorization";
    const value = (name === "authorization" ? "Bearer " : "") + (await read());
    if (headers.get(name) === value) {
      return response;
    }
    await response.body?.cancel();
    headers.set(name, value);
    return fetch(url, { ...init, headers });
  }

  return { read, fetch: send };
}
