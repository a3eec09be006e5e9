// The Vercel AI SDK with its OpenAI provider.
import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import {
  APICallError, embed, embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamText,
  tool,
} from 'ai';
import { check, collect, failure, url, ENDLESS, FRESH, PLACE, SILENT, WORDS } from './world.mjs';

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-client' });
const prompt = 'four byte words';
const KINDS = {
  chat: (model) => openai.chat(model),
  completion: (model) => openai.completion(model),
  responses: (model) => openai.responses(model),
};
const quiet = { maxRetries: 0, onError: () => {} };

for (const [kind, providers] of [['chat', ['oai', 'ant', 'sim']], ['completion', ['oai', 'ant', 'sim']],
  ['responses', ['oai']]]) {
  for (const provider of providers) {
    check(`${kind} of ${provider}, whole and as a stream`, async (here) => {
      const ask = { model: KINDS[kind](here.model(provider)), prompt, headers: FRESH };
      const whole = await generateText(ask);
      assert.equal(whole.finishReason, 'stop');
      assert.ok(provider === 'sim' ? whole.text.length > 0 : whole.text === WORDS);
      assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);
      const streamed = streamText(ask);
      const pieces = await collect(streamed.textStream);
      assert.ok(pieces.length > 5);
      assert.equal(pieces.join(''), whole.text);
      assert.equal(await streamed.finishReason, 'stop');
      assert.equal((await streamed.usage).outputTokens, whole.usage.outputTokens);
    });
  }
}

for (const [kind, provider] of [['chat', 'oai'], ['chat', 'ant'], ['responses', 'oai']]) {
  for (const stream of [false, true]) {
    const way = stream ? 'as a stream' : 'whole';
    check(`a tool is run by ${kind} for ${provider}, ${way}`, async (here) => {
      const seen = [];
      const ask = {
        model: KINDS[kind](here.model(provider, '+tool+times=1')), prompt, stopWhen: stepCountIs(3),
        tools: { get_weather: tool({
          description: 'of a city',
          inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } } }),
          execute: (place) => { seen.push(place); return '21 degrees'; },
        }) },
      };
      const done = stream ? streamText(ask) : await generateText(ask);
      assert.equal(await done.text, WORDS);
      assert.equal((await done.steps).length, 2);
      assert.deepEqual(seen, [PLACE]);
      assert.match(JSON.stringify(await here.sent()), /21 degrees/);
    });
  }
}

check('an object by a schema', async (here) => {
  const { object } = await generateObject({
    model: openai.chat(here.model('oai', '+file=city.json')), prompt,
    schema: jsonSchema({ type: 'object', properties: {
      name: { type: 'string' }, people: { type: 'number' },
    } }),
  });
  assert.deepEqual(object, { name: 'Oslo', people: 709000 });
  assert.equal((await here.sent()).response_format.type, 'json_schema');
});

check('embeddings', async (here) => {
  const one = await embed({ model: openai.embedding(here.model()), value: 'one' });
  const many = await embedMany({ model: openai.embedding(here.model()), values: ['one', 'two'] });
  assert.equal(one.embedding.length, 8);
  assert.deepEqual(many.embeddings, [one.embedding, one.embedding]);
});

for (const [status, seen, retryable] of [[400, 400, false], [401, 502, true], [404, 404, false],
  [429, 429, true], [500, 502, true]]) {
  check(`status ${status} of the provider`, async (here) => {
    const error = await failure(generateText(
      { model: openai.chat(here.model('oai', `+status=${status}`)), prompt, ...quiet }));
    assert.ok(APICallError.isInstance(error));
    assert.deepEqual([error.statusCode, error.isRetryable], [seen, retryable]);
    assert.ok(error.data.error.message && error.responseHeaders['x-request-id']);
  });
}

for (const kind of ['chat', 'responses']) {
  check(`a stream of ${kind} that breaks`, async (here) => {
    const parts = [];
    const model = KINDS[kind](here.model('oai', '+kill=6'));
    const { fullStream } = streamText({ model, prompt, ...quiet });
    // first it says why, then the connection ends where no stream does
    const cut = await failure((async () => {
      for await (const part of fullStream) parts.push(part);
    })());
    assert.ok(APICallError.isInstance(cut));
    assert.ok(parts.filter((part) => part.type === 'text-delta').length > 1);
    const { error } = parts.at(-1);
    assert.equal(parts.at(-1).type, 'error');
    assert.equal((error.error ?? error).code, 'stream_truncated');
  });
}

check('the SDK tries again', async (here) => {
  const model = here.model('oai', '+status=429+retry_after=1+times=1');
  const { text } = await generateText({ model: openai.chat(model), prompt, maxRetries: 1 });
  assert.equal(text, WORDS);
  assert.equal(await here.requests(model), 2);
});

check('an aborted stream stops the provider', async (here) => {
  const model = here.model('oai', ENDLESS);
  const abort = new AbortController();
  const { textStream } = streamText(
    { model: openai.chat(model), prompt, abortSignal: abort.signal, ...quiet });
  let text = '';
  for await (const piece of textStream) {
    text += piece;
    abort.abort();
  }
  assert.match(text, /^word/);
  await here.aborted(model);
});

check('a timeout stops the provider', async (here) => {
  const model = here.model('oai', SILENT);
  const error = await failure(generateText(
    { model: openai.chat(model), prompt, maxRetries: 0, abortSignal: AbortSignal.timeout(1000) }));
  assert.equal(error.name, 'TimeoutError');
  await here.aborted(model);
});
