// The official Anthropic SDK for JavaScript.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import {
  check, collect, failure, url, ENDLESS,
  FRESH, HELLO, PLACE, SILENT, WORDS,
} from './world.mjs';

const client = new Anthropic({ baseURL: url, apiKey: 'sk-client', maxRetries: 0 });
const TOOL = { name: 'get_weather', description: 'of a city', input_schema: {
  type: 'object', properties: { city: { type: 'string' } },
} };

const ask = (model, members = {}) => ({ model, max_tokens: 500, messages: HELLO, ...members });

for (const provider of ['ant', 'oai', 'sim']) {
  check(`messages of ${provider}, whole and as a stream`, async (here) => {
    const whole = await client.messages.create(ask(here.model(provider)), { headers: FRESH });
    assert.equal(whole.stop_reason, 'end_turn');
    assert.ok(provider === 'sim' || whole.content[0].text === WORDS);
    assert.ok(whole.usage.input_tokens > 0 && whole.usage.output_tokens > 0 && whole._request_id);
    const stream = client.messages.stream(ask(here.model(provider)), { headers: FRESH });
    let text = '';
    stream.on('text', (delta) => { text += delta; });
    const final = await stream.finalMessage();
    assert.equal(text, whole.content[0].text);
    assert.equal(final.content[0].text, text);
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
    const events = await collect(await client.messages.create(
      ask(here.model(provider), { stream: true }), { headers: FRESH }));
    assert.equal(events[0].type, 'message_start');
    assert.equal(events.at(-1).type, 'message_stop');
  });
}

check('models', async () => {
  const names = (await collect(client.models.list())).map((one) => one.id);
  for (const name of ['auto', 'ant', 'oai/m', 'sim']) assert.ok(names.includes(name), name);
  for (const name of names) assert.equal((await client.models.retrieve(name)).id, name);
  const error = await failure(client.models.retrieve('no/such'));
  assert.ok(error instanceof Anthropic.NotFoundError && error.requestID);
});

for (const stream of [false, true]) {
  check(`a tool is run, ${stream ? 'as a stream' : 'whole'}`, async (here) => {
    const seen = [];
    const runner = client.beta.messages.toolRunner({
      ...ask(here.model('ant', '+tool+times=1')), stream,
      tools: [{ ...TOOL, type: 'custom', parse: (input) => input,
        run: (place) => { seen.push(place); return '21 degrees'; } }],
    });
    assert.equal((await runner.runUntilDone()).content[0].text, WORDS);
    assert.deepEqual(seen, [PLACE]);
    assert.match(JSON.stringify((await here.sent()).messages.at(-1)), /21 degrees/);
  });

  check(`a tool is called through the other API, ${stream ? 'as a stream' : 'whole'}`, async (here) => {
    const begin = ask(here.model('oai', '+tool'), { tools: [TOOL] });
    const said = stream ? await client.messages.stream(begin).finalMessage()
      : await client.messages.create(begin);
    assert.equal(said.stop_reason, 'tool_use');
    assert.deepEqual(said.content[0].input, PLACE);
    const { id, name, input } = said.content[0];
    const done = await client.messages.create(ask(here.model('oai'), { tools: [TOOL], messages: [
      ...HELLO, { role: 'assistant', content: [{ type: 'tool_use', id, name, input }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: id, content: '21 degrees' }] }] }));
    assert.equal(done.content[0].text, WORDS);
    assert.deepEqual((await here.sent()).messages.at(-1),
      { role: 'tool', tool_call_id: id, content: '21 degrees' });
  });
}

const REFUSED = [
  [400, Anthropic.BadRequestError, 400, 'invalid_request_error'],
  [401, Anthropic.InternalServerError, 502, 'api_error'],
  [404, Anthropic.NotFoundError, 404, 'not_found_error'],
  [409, Anthropic.ConflictError, 409, 'invalid_request_error'],
  [422, Anthropic.UnprocessableEntityError, 422, 'invalid_request_error'],
  [429, Anthropic.RateLimitError, 429, 'rate_limit_error'],
  [529, Anthropic.InternalServerError, 502, 'api_error'],
];
for (const [status, kind, seen, type] of REFUSED) {
  check(`status ${status} of the provider`, async (here) => {
    for (const provider of ['ant', 'oai']) {
      const error = await failure(client.messages.create(ask(here.model(provider, `+status=${status}`))));
      assert.ok(error instanceof kind);
      assert.deepEqual([error.status, error.type], [seen, type]);
      assert.ok(error.requestID);
    }
  });
}

check('a bad request', async () => {
  const error = await failure(client.messages.create({ model: 'ant', messages: HELLO }));
  assert.ok(error instanceof Anthropic.BadRequestError);
  assert.equal(error.error.error.param, 'max_tokens');
});

for (const [provider, orders] of [['ant', '+kill=5'], ['ant', '+errorevent=6'], ['oai', '+kill=5']]) {
  check(`a stream of ${provider} that breaks: ${orders}`, async (here) => {
    let events = 0;
    const stream = await client.messages.create(ask(here.model(provider, orders), { stream: true }));
    const error = await failure((async () => { for await (const _ of stream) events++; })());
    assert.ok(error instanceof Anthropic.APIError && error.error.error.type === 'api_error');
    assert.ok(events > 0);
  });
}

check('the SDK tries again', async (here) => {
  const model = here.model('ant', '+status=529+times=2');
  const answer = await client.messages.create(ask(model), { maxRetries: 2 });
  assert.equal(answer.content[0].text, WORDS);
  assert.equal(await here.requests(model), 3);
});

check('the SDK does not try again what is in vain', async (here) => {
  const model = here.model('ant', '+status=401');
  await failure(client.messages.create(ask(model), { maxRetries: 3 }));
  assert.equal(await here.requests(model), 1);
});

check('a stream that is left stops the provider', async (here) => {
  const model = here.model('ant', ENDLESS);
  const stream = await client.messages.create(ask(model, { stream: true }));
  for await (const event of stream) if (event.type === 'content_block_delta') break;
  await here.aborted(model);
});

check('an aborted request stops the provider', async (here) => {
  const model = here.model('oai', SILENT);
  const abort = new AbortController();
  const asked = failure(client.messages.create(ask(model), { signal: abort.signal }));
  await here.started(model);
  abort.abort();
  assert.equal((await asked).constructor, Anthropic.APIUserAbortError);
  await here.aborted(model);
});

check('a timeout stops the provider', async (here) => {
  const model = here.model('ant', SILENT);
  const error = await failure(client.messages.create(ask(model), { timeout: 1000 }));
  assert.equal(error.constructor, Anthropic.APIConnectionTimeoutError);
  await here.aborted(model);
});

check('a stored answer is replayed in both ways', async (here) => {
  const model = here.model('ant');
  const first = await client.messages.stream(ask(model)).finalMessage();
  const { data, response } = await client.messages.create(ask(model)).withResponse();
  const again = await client.messages.stream(ask(model)).finalMessage();
  assert.equal(response.headers.get('x-optiroute-cache'), 'hit');
  assert.deepEqual([data.content[0].text, again.content[0].text], [WORDS, WORDS]);
  assert.deepEqual([data.id, again.id], [first.id, first.id]);
  assert.equal(await here.requests(model), 1);
});
