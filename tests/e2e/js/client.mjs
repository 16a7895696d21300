// SPDX-License-Identifier: Apache-2.0
// client.mjs - the official JavaScript client of OpenAI against the daemon at argv[2]; TAP out
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";

const [, , base, modules] = process.argv;
const entry = createRequire(modules + "/").resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(entry).href);
const client = new OpenAI({ baseURL: base + "/v1", apiKey: "any", maxRetries: 0, timeout: 60000 });
const user = (content) => [{ role: "user", content }];
const pixel = "data:image/png;base64,iVBORw0KGgo=";

const cases = {
  async chat() {
    const r = await client.chat.completions.create({ model: "auto", messages: user("Hello") });
    assert.ok(r.choices[0].message.content.length > 0);
    assert.ok(r.usage.total_tokens > 0);
  },
  async stream() {
    const s = await client.chat.completions.create({
      model: "small", messages: user("Hello"), stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null;
    for await (const c of s) {
      text += c.choices[0]?.delta?.content ?? "";
      usage = c.usage ?? usage;
    }
    assert.ok(text.length > 0);
    assert.ok(usage.completion_tokens > 0);
  },
  async stream_abort() {
    const s = await client.chat.completions.create({ model: "endless", messages: user("Go"), stream: true });
    for await (const c of s) if (c.choices.length) break;
    s.controller.abort();
  },
  async tools() {
    const r = await client.chat.completions.create({
      model: "tools", messages: user("Oslo?"),
      tools: [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }],
    });
    assert.equal(r.choices[0].message.tool_calls[0].function.name, "weather");
  },
  async vision() {
    const r = await client.chat.completions.create({
      model: "small",
      messages: [{ role: "user", content: [{ type: "text", text: "?" }, { type: "image_url", image_url: { url: pixel } }] }],
    });
    assert.ok(r.choices[0].message.content);
  },
  async embeddings() {
    const r = await client.embeddings.create({ model: "small", input: ["a", "b"] });
    assert.equal(r.data.length, 2);
    assert.ok(r.data[0].embedding.length > 1);
    assert.equal(typeof r.data[0].embedding[0], "number");
  },
  async models() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.ok(ids.includes("small") && ids.includes("auto"));
  },
  async not_found() {
    await assert.rejects(client.chat.completions.create({ model: "nobody", messages: user("x") }), OpenAI.NotFoundError);
  },
  async bad_request() {
    await assert.rejects(client.chat.completions.create({ model: "small", messages: [] }), OpenAI.BadRequestError);
  },
  async rate_limit() {
    await assert.rejects(client.chat.completions.create({ model: "busy", messages: user("x") }), OpenAI.RateLimitError);
  },
  async timeout() {
    const hasty = client.withOptions({ timeout: 500 });
    await assert.rejects(hasty.chat.completions.create({ model: "hangs", messages: user("x") }), OpenAI.APIConnectionTimeoutError);
  },
  async connection() {
    const nobody = client.withOptions({ baseURL: "http://127.0.0.1:9/v1" });
    await assert.rejects(nobody.chat.completions.create({ model: "x", messages: user("x") }), OpenAI.APIConnectionError);
  },
};

const only = process.argv[4];
try {
  await cases[only]();
  console.log(`ok 1 - ${only}`);
  process.exit(0);
} catch (e) {
  console.log(`not ok 1 - ${only}\n${e.stack ?? e}`);
  process.exit(1);
}
