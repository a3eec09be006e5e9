// What the tests in JavaScript share; the daemon and the upstream run already (run_node.py).
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

export const url = process.env.OPTIROUTE_URL;
const mock = process.env.MOCK_URL;
const metrics = process.env.METRICS_URL;

export const WORDS = Array(10).fill('word').join(' ');
export const HELLO = [{ role: 'user', content: 'four byte words' }];
export const FRESH = { 'Cache-Control': 'no-store' };
export const ENDLESS = '+tokens=100000+pace=20';
export const SILENT = '+delay=600000';
export const PLACE = { city: 'Paris', days: 3 }; // of the call that `+tool` orders
const PATIENCE_MS = 20_000;

export async function eventually(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What a test has of its own: models that nobody else asks, and what the upstream saw of them. */
class Here {
  constructor(name) {
    const file = path.basename(process.argv[1]);
    this.name = `${file} ${name}`.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  }

  model(provider = 'oai', orders = '') {
    return provider === 'sim' ? 'sim' : `${provider}/${this.name}${orders}`;
  }

  async counters(model) {
    const name = model.slice(model.indexOf('/') + 1);
    return (await fetch(`${mock}/counters?model=${encodeURIComponent(name)}`)).json();
  }

  async requests(model) {
    return (await this.counters(model)).requests;
  }

  async aborted(model) {
    await eventually(`${model} is aborted`, async () => (await this.counters(model)).aborted === 1);
    assert.equal((await this.counters(model)).in_flight, 0);
  }

  async started(model) {
    await eventually(`${model} is asked`, async () => (await this.requests(model)) > 0);
  }

  async last() {
    return (await fetch(`${mock}/last`)).json();
  }

  /** The body of the last request to the upstream. */
  async sent() {
    return JSON.parse((await this.last()).body);
  }

  async total(metric) {
    const text = await (await fetch(metrics)).text();
    const lines = text.split('\n').filter((line) => new RegExp(`^${metric}[ {]`).test(line));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').pop()), 0);
  }
}

/** A test: name and body, which gets what is its own. */
export function check(name, body) {
  test(name, { timeout: 60_000 }, () => body(new Here(name)));
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** The error of a promise that must fail. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('it did not fail');
}
