// Sends requests with the official clients for JavaScript, and prints the outcome of each as JSON:
// {"<client> / <kind> / <feature>": "yes", or what went wrong}.
// node check.mjs '{"url": ..., "key": ..., "models": {"<kind>": "<model>"}}'

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { url, key, models } = JSON.parse(process.argv[2]);
const options = { apiKey: key, maxRetries: 0, timeout: 60_000 };
const openai = new OpenAI({ ...options, baseURL: `${url}/v1` });
const anthropic = new Anthropic({ ...options, authToken: null, baseURL: url });
const stranger = { ...options, apiKey: "wrong" };
const HELLO = [{ role: "user", content: "Hello, who are you?" }];
const LIMIT = 200;
// `.int()` becomes the range of ±2^53.
const Place = z.object({
  city: z.enum(["Rome", "Oslo"]),
  sunny: z.boolean(),
  floor: z.int().min(0).max(9),
  note: z.enum(["a", "b"]).nullable(),
});
const INPUT = {
  type: "object",
  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};
const FUNCTION = { name: "weather", description: "Tells the weather.", parameters: INPUT };

function checkCity(value) {
  assert.ok(["Rome", "Oslo"].includes((typeof value === "string" ? JSON.parse(value) : value).city));
}

// Aborts at the first event.
async function checkAbort(stream, event, Abort) {
  stream.once(event, () => stream.abort());
  await assert.rejects(stream.done(), Abort);
  assert.ok(stream.aborted);
}

async function checkErrors(ask, strange, library) {
  await assert.rejects(ask("no-such-model"), library.NotFoundError);
  await assert.rejects(strange(), library.AuthenticationError);
  await assert.rejects(ask(undefined), library.BadRequestError);
}

const chat = (model, more) => ({ model, messages: HELLO, max_completion_tokens: LIMIT, ...more });
const response = (model, more) => ({ model, input: "Hello, who are you?", max_output_tokens: LIMIT, ...more });
const message = (model, more) => ({ model, messages: HELLO, max_tokens: LIMIT, ...more });

const CHECKS = {
  "`openai`, chat completions": {
    plain: async (model) => assert.ok((await openai.chat.completions.create(chat(model))).choices[0].message.content),
    stream: async (model) => {
      const stream = openai.chat.completions.stream(chat(model, { stream_options: { include_usage: true } }));
      let text = "";
      stream.on("content", (delta) => (text += delta));
      assert.equal(await stream.finalContent(), text);
      assert.ok(text && (await stream.totalUsage()).completion_tokens);
    },
    tools: async (model) => {
      const tools = [{ type: "function", function: FUNCTION }];
      const tool_choice = { type: "function", function: { name: "weather" } };
      const stream = openai.chat.completions.stream(chat(model, { tools, tool_choice }));
      const [choice] = (await stream.finalChatCompletion()).choices;
      assert.equal(choice.message.tool_calls.length, 1);
      checkCity(choice.message.tool_calls[0].function.arguments);
    },
    zod: async (model) => {
      const answer = await openai.chat.completions.parse(
        chat(model, { response_format: zodResponseFormat(Place, "place") }),
      );
      Place.parse(answer.choices[0].message.parsed);
    },
    abort: async (model) =>
      checkAbort(openai.chat.completions.stream(chat(model)), "chunk", OpenAI.APIUserAbortError),
    errors: async () =>
      checkErrors(
        (model) => openai.chat.completions.create(chat(model)),
        () => new OpenAI({ ...stranger, baseURL: `${url}/v1` }).chat.completions.create(chat("current")),
        OpenAI,
      ),
  },
  "`openai`, responses": {
    plain: async (model) => assert.ok((await openai.responses.create(response(model))).output_text),
    stream: async (model) => {
      const stream = openai.responses.stream(response(model));
      let text = "";
      stream.on("response.output_text.delta", (event) => (text += event.delta));
      const final = await stream.finalResponse();
      assert.equal(final.output_text, text);
      assert.ok(text && final.usage.output_tokens);
    },
    tools: async (model) => {
      const tools = [{ type: "function", strict: true, ...FUNCTION }];
      const tool_choice = { type: "function", name: "weather" };
      const final = await openai.responses.stream(response(model, { tools, tool_choice })).finalResponse();
      const calls = final.output.filter((item) => item.type === "function_call");
      assert.equal(calls.length, 1);
      checkCity(calls[0].arguments);
    },
    zod: async (model) => {
      const answer = await openai.responses.parse(response(model, { text: { format: zodTextFormat(Place, "place") } }));
      Place.parse(answer.output_parsed);
    },
    abort: async (model) => checkAbort(openai.responses.stream(response(model)), "event", OpenAI.APIUserAbortError),
    errors: async () =>
      checkErrors(
        (model) => openai.responses.create(response(model)),
        () => new OpenAI({ ...stranger, baseURL: `${url}/v1` }).responses.create(response("current")),
        OpenAI,
      ),
  },
  "`anthropic`, messages": {
    plain: async (model) => assert.ok((await anthropic.messages.create(message(model))).content[0].text),
    stream: async (model) => {
      const stream = anthropic.messages.stream(message(model));
      let text = "";
      stream.on("text", (delta) => (text += delta));
      const final = await stream.finalMessage();
      assert.equal(await stream.finalText(), text);
      assert.ok(text && final.stop_reason && final.usage.output_tokens);
    },
    tools: async (model) => {
      const tools = [{ name: "weather", input_schema: INPUT }];
      const stream = anthropic.messages.stream(message(model, { tools, tool_choice: { type: "tool", name: "weather" } }));
      const final = await stream.finalMessage();
      const calls = final.content.filter((block) => block.type === "tool_use");
      assert.equal(final.stop_reason, "tool_use");
      assert.equal(calls.length, 1);
      checkCity(calls[0].input);
    },
    zod: async (model) => {
      const answer = await anthropic.messages.parse(
        message(model, { output_config: { format: zodOutputFormat(Place) } }),
      );
      Place.parse(answer.parsed_output);
    },
    abort: async (model) => checkAbort(anthropic.messages.stream(message(model)), "streamEvent", Anthropic.APIUserAbortError),
    errors: async () =>
      checkErrors(
        (model) => anthropic.messages.create(message(model)),
        () => new Anthropic({ ...stranger, authToken: null, baseURL: url }).messages.create(message("current")),
        Anthropic,
      ),
  },
};

const outcomes = {};
for (const [client, checks] of Object.entries(CHECKS))
  for (const [kind, model] of Object.entries(models))
    for (const [feature, check] of Object.entries(checks)) {
      let outcome = "yes";
      try {
        await check(model);
      } catch (error) {
        outcome = String(error.stack ?? error);
      }
      outcomes[`${client} / ${kind} / ${feature}`] = outcome;
    }
console.log(JSON.stringify(outcomes));
