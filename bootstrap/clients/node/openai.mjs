// Answers each line of its input, for as long as there is one. Keys come and go meanwhile.
//
//   OPENAI_API_KEY_FILE=/run/vault-agent/openai-key node openai.mjs

import { createInterface } from "node:readline";
import OpenAI from "openai";
import { keyFile } from "./keyfile.mjs";

const key = keyFile(process.env.OPENAI_API_KEY_FILE ?? "/run/vault-agent/openai-key");
const client = new OpenAI({ apiKey: key.read, fetch: key.fetch });

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const completion = await client.chat.completions.create({
      model: "gpt-4.1-mini",
      messages: [{ role: "user", content: line }],
    });
    console.log(completion.choices[0].message.content);
  } catch (err) {
    console.error(err.status === 401 ? "the key in the file is refused" : err.message);
  }
}
