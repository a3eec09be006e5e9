// The official OpenAI SDK for JavaScript.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import {
  check, collect, eventually, failure, url,
  ENDLESS, FRESH, HELLO, PLACE, SILENT, WORDS,
} from './world.mjs';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-client', maxRetries: 0 });
const TOOLS = [{
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } } },
  },
}];

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');

// ---- endpoints ----

for (const provider of ['oai', 'ant', 'sim']) {
  check(`chat of ${provider}, whole and as a stream`, async (here) => {
    const ask = { model: here.model(provider), messages: HELLO };
    const whole = await client.chat.completions.create(ask, { headers: FRESH });
    assert.equal(whole.choices[0].finish_reason, 'stop');
    assert.ok(provider === 'sim' || whole.choices[0].message.content === WORDS);
    assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
    const chunks = await collect(await client.chat.completions.create(
      { ...ask, stream: true }, { headers: FRESH }));
    assert.equal(textOf(chunks), whole.choices[0].message.content);
    assert.ok(chunks.length > 5 && chunks.every((chunk) => chunk.choices.length === 1));
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  });

  check(`usage of a stream of ${provider}`, async (here) => {
    const chunks = await collect(await client.chat.completions.create(
      { model: here.model(provider), messages: HELLO, stream: true,
        stream_options: { include_usage: true } }));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.choices.length === 1 && chunk.usage === null));
  });

  check(`the stream helper with ${provider}`, async (here) => {
    const stream = client.chat.completions.stream({ model: here.model(provider), messages: HELLO });
    let text = '';
    stream.on('content', (delta) => { text += delta; });
    const final = await stream.finalChatCompletion();
    assert.ok(text.length > 0 && final.choices[0].message.content === text);
    assert.equal(final.choices[0].finish_reason, 'stop');
  });

  check(`completions of ${provider}`, async (here) => {
    const ask = { model: here.model(provider), prompt: 'four byte words' };
    const whole = await client.completions.create(ask, { headers: FRESH });
    const chunks = await collect(await client.completions.create(
      { ...ask, stream: true }, { headers: FRESH }));
    assert.ok(whole.choices[0].text);
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), whole.choices[0].text);
  });
}

check('embeddings', async (here) => {
  const answer = await client.embeddings.create({ model: here.model(), input: ['one', 'two'] });
  assert.deepEqual(answer.data.map((one) => one.index), [0, 1]);
  assert.deepEqual(answer.data[1].embedding, [0.125, -0.25, 0.375, -0.5, 0.625, -0.75, 0.875, -1]);
  assert.equal((await here.sent()).encoding_format, 'base64');
  const error = await failure(client.embeddings.create({ model: here.model('ant'), input: 'one' }));
  assert.ok(error instanceof OpenAI.BadRequestError && error.code === 'unsupported_endpoint');
});

check('models', async () => {
  const names = (await collect(client.models.list())).map((one) => one.id);
  for (const name of ['auto', 'oai', 'oai/m', 'ant', 'sim']) assert.ok(names.includes(name), name);
  for (const name of names) assert.equal((await client.models.retrieve(name)).id, name);
  const error = await failure(client.models.retrieve('no/such'));
  assert.ok(error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
});

check('responses, whole and as a stream', async (here) => {
  const ask = { model: here.model(), input: 'four byte words' };
  assert.equal((await client.responses.create(ask)).output_text, WORDS);
  const events = await collect(await client.responses.create({ ...ask, stream: true }));
  assert.equal(events.at(-1).type, 'response.completed');
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
  const final = await client.responses.stream(ask).finalResponse();
  assert.equal(final.output_text, WORDS);
});

check('members nobody has heard of', async (here) => {
  const answer = await client.chat.completions.create(
    { model: here.model('oai', '+file=unknown.json'), messages: HELLO, x_plan: { steps: [1, null] } });
  assert.equal(answer.x_vendor.region, 'north');
  assert.deepEqual(answer.choices[0].message.x_mood, { joy: [1, 2.5] });
  assert.deepEqual((await here.sent()).x_plan, { steps: [1, null] });
});

// ---- tools ----

for (const provider of ['oai', 'ant']) {
  for (const stream of [false, true]) {
    check(`a tool is run for ${provider}, ${stream ? 'as a stream' : 'whole'}`, async (here) => {
      const seen = [];
      const runner = client.chat.completions.runTools({
        model: here.model(provider, '+tool+times=1'), messages: HELLO, stream,
        tools: [{ type: 'function', function: {
          ...TOOLS[0].function, parse: JSON.parse,
          function: (place) => { seen.push(place); return '21 degrees'; },
        } }],
      });
      assert.equal(await runner.finalContent(), WORDS);
      assert.deepEqual(seen, [PLACE]);
      const { messages } = await here.sent();
      assert.match(JSON.stringify(messages.at(-1)), /21 degrees/);
      assert.equal(messages.at(-1).role, provider === 'oai' ? 'tool' : 'user');
    });
  }
}

// ---- errors ----

const REFUSED = [
  [400, OpenAI.BadRequestError, 400], [401, OpenAI.InternalServerError, 502],
  [403, OpenAI.InternalServerError, 502], [404, OpenAI.NotFoundError, 404],
  [409, OpenAI.ConflictError, 409], [422, OpenAI.UnprocessableEntityError, 422],
  [429, OpenAI.RateLimitError, 429], [500, OpenAI.InternalServerError, 502],
  [504, OpenAI.InternalServerError, 504],
];
for (const [status, kind, seen] of REFUSED) {
  check(`status ${status} of the provider`, async (here) => {
    for (const stream of [false, true]) {
      const error = await failure(client.chat.completions.create(
        { model: here.model('oai', `+status=${status}+code=some_code`), messages: HELLO, stream }));
      assert.equal(error.constructor, kind);
      assert.equal(error.status, seen);
      assert.ok(error.requestID && error.requestID === error.headers.get('x-request-id'));
      assert.deepEqual(Object.keys(error.error).sort(), ['code', 'message', 'param', 'type']);
      assert.equal(error.param, null);
      if (status === seen && status !== 429 && status < 500) assert.equal(error.code, 'some_code');
    }
  });
}

check('a bad request', async () => {
  const error = await failure(client.chat.completions.create(
    { model: 'oai', messages: HELLO, max_tokens: 0 }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.deepEqual([error.param, error.code], ['max_tokens', 'invalid_value']);
});

check('a body that is too large', async () => {
  for (const megabytes of [2, 8, 24]) { // it is refused while most of it is still to come
    const error = await failure(client.chat.completions.create(
      { model: 'oai', messages: [{ role: 'user', content: 'x'.repeat(megabytes << 20) }] }));
    assert.equal(error.status, 413);
    assert.equal(error.type, 'invalid_request_error');
  }
});

check('nobody listens', async () => {
  const nobody = new OpenAI({ baseURL: process.env.NOBODY_URL, apiKey: 'x', maxRetries: 0 });
  const error = await failure(nobody.models.list());
  assert.equal(error.constructor, OpenAI.APIConnectionError);
});

for (const [orders, code] of [['+kill=5', 'stream_truncated'], ['+errorevent=7', 'stream_error'],
  ['+badevent=7', 'bad_json']]) {
  check(`a stream that breaks: ${orders}`, async (here) => {
    const model = here.model('oai', orders);
    for (const begin of [
      () => client.chat.completions.create({ model, messages: HELLO, stream: true }),
      () => client.completions.create({ model, prompt: 'words', stream: true }),
      () => client.responses.create({ model, input: 'words', stream: true }),
    ]) {
      let events = 0;
      const stream = await begin();
      const error = await failure((async () => { for await (const _ of stream) events++; })());
      assert.equal(error.constructor, OpenAI.APIError);
      assert.equal(error.code, code);
      assert.ok(events > 0);
    }
  });
}

// ---- retries, cancellation, timeouts ----

check('the SDK tries again', async (here) => {
  const model = here.model('oai', '+status=500+times=2');
  const answer = await client.chat.completions.create({ model, messages: HELLO }, { maxRetries: 2 });
  assert.equal(answer.choices[0].message.content, WORDS);
  assert.equal(await here.requests(model), 3);
});

check('the SDK does not try again what is in vain', async (here) => {
  const model = here.model('oai', '+status=401');
  const error = await failure(client.chat.completions.create(
    { model, messages: HELLO }, { maxRetries: 3 }));
  assert.equal(error.headers.get('x-should-retry'), 'false');
  assert.equal(await here.requests(model), 1);
});

check('the SDK waits as long as it is told', async (here) => {
  const model = here.model('oai', '+status=429+retry_after=1+times=1');
  const begun = performance.now();
  await client.chat.completions.create({ model, messages: HELLO }, { maxRetries: 1 });
  assert.ok(performance.now() - begun >= 990);
  assert.equal(await here.requests(model), 2);
});

for (const provider of ['oai', 'ant']) {
  check(`a stream of ${provider} that is left stops the provider`, async (here) => {
    const model = here.model(provider, ENDLESS);
    const before = await here.total('llm_client_aborts_total');
    const stream = await client.chat.completions.create({ model, messages: HELLO, stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    await here.aborted(model);
    await eventually('an abort is counted',
      async () => (await here.total('llm_client_aborts_total')) > before);
  });
}

check('an aborted request stops the provider', async (here) => {
  const model = here.model('oai', SILENT);
  const abort = new AbortController();
  const asked = failure(client.chat.completions.create(
    { model, messages: HELLO }, { signal: abort.signal }));
  await here.started(model);
  abort.abort();
  assert.equal((await asked).constructor, OpenAI.APIUserAbortError);
  await here.aborted(model);
});

check('a timeout stops the provider', async (here) => {
  const model = here.model('oai', SILENT);
  const error = await failure(client.chat.completions.create(
    { model, messages: HELLO }, { timeout: 1000 }));
  assert.equal(error.constructor, OpenAI.APIConnectionTimeoutError);
  await here.aborted(model);
});

// ---- the cache ----

check('a stored answer is replayed in both ways', async (here) => {
  const ask = { model: here.model(), messages: HELLO };
  const ways = [];
  for (const stream of [true, false, true]) {
    const { data, response } = await client.chat.completions.create({ ...ask, stream }).withResponse();
    const text = stream ? textOf(await collect(data)) : data.choices[0].message.content;
    ways.push([response.headers.get('x-optiroute-cache'), text]);
  }
  assert.deepEqual(ways, [['miss', WORDS], ['hit', WORDS], ['hit', WORDS]]);
  assert.equal(await here.requests(ask.model), 1);
});

check('many at once', async (here) => {
  const wanted = Array.from({ length: 24 }, (_, i) => Array(i + 1).fill('word').join(' '));
  const got = await Promise.all(wanted.map(async (_, i) => textOf(await collect(
    await client.chat.completions.create({
      model: here.model(i % 2 ? 'ant' : 'oai', `+tokens=${i + 1}+pace=1`), messages: HELLO, stream: true,
    })))));
  assert.deepEqual(got, wanted);
});
