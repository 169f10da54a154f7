// Answers each line of its input, for as long as there is one. Keys come and go meanwhile.
//
//   ANTHROPIC_API_KEY_FILE=/run/vault-agent/anthropic-key node anthropic.mjs
//
// For tokens, which are leases of the provider "anthropic", ANTHROPIC_AUTH_TOKEN_FILE.

import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import { keyFile } from "./keyfile.mjs";

const token = process.env.ANTHROPIC_AUTH_TOKEN_FILE;
const key = keyFile(token ?? process.env.ANTHROPIC_API_KEY_FILE ?? "/run/vault-agent/anthropic-key");
const client = new Anthropic({
  apiKey: key.read,
  fetch: key.fetch,
  defaultHeaders: token ? { "anthropic-beta": "oauth-2025-04-20" } : {},
});

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const message = await client.messages.create({
      model: "claude-haiku-4-5",
      max_tokens: 1024,
      messages: [{ role: "user", content: line }],
    });
    console.log(message.content[0].text);
  } catch (err) {
    console.error(err.status === 401 ? "the key in the file is refused" : err.message);
  }
}
