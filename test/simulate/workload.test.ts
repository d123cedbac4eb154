import { expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { SECOND } from '../../src/core/time.ts';
import type { SimulatedRequest } from '../../src/simulate/simulated-request.ts';
import { drawRequests, readWorkload } from '../../src/simulate/workload.ts';

function draw(text: string): readonly SimulatedRequest[] {
  const read = readWorkload(text, 'callers.yaml');
  if ('mistakes' in read) throw new Error(read.mistakes.map(formatError).join('\n'));
  return drawRequests(read.workload);
}

test('callers come in order of time, as many as was said, between from and until', () => {
  const requests = draw(`duration: 100s
callers:
  - { group: a, arrivals: 10/1s, from: 20s, until: 80s }
  - { group: b, arrivals: 1/1s, pattern: even }
  - { group: c, arrivals: 5/1s, pattern: bursts, burst: 50 }`);
  const of = (group: string) => requests.filter((each) => each.group === group).map(({ at }) => at);
  expect(requests.map(({ at }) => at)).toEqual(requests.map(({ at }) => at).sort((x, y) => x - y));
  expect(Math.min(...of('a'))).toBeGreaterThanOrEqual(20 * SECOND);
  expect(Math.max(...of('a'))).toBeLessThan(80 * SECOND);
  // 600 are expected; the seed draws these.
  expect(of('a').length).toBeGreaterThan(500);
  expect(of('a').length).toBeLessThan(700);
  expect(of('b')).toEqual(Array.from({ length: 100 }, (_, i) => i * SECOND));
  expect(of('c').slice(45, 55)).toEqual([0, 0, 0, 0, 0, 10, 10, 10, 10, 10].map((at) => at * SECOND));
});

test('holds and costs have the median and the 99th percentile that were said', () => {
  const requests = draw(`duration: 1000s
callers: [ { group: a, arrivals: 50/1s, hold: { median: 1s, p99: 10s }, costs: { tokens: { median: 100, p99: 400 } } } ]`);
  const at = (part: number, values: readonly number[]) => [...values].sort((x, y) => x - y)[Math.floor(values.length * part)] ?? 0;
  const holds = requests.map(({ hold }) => hold / SECOND);
  const tokens = requests.map(({ costs }) => costs['tokens'] ?? 0);
  expect(at(0.5, holds)).toBeCloseTo(1, 1);
  expect(at(0.99, holds) / 10).toBeCloseTo(1, 0);
  expect(at(0.5, tokens) / 100).toBeCloseTo(1, 1);
  expect(at(0.99, tokens) / 400).toBeCloseTo(1, 0);
});

test('keys are drawn by the law of Zipf', () => {
  const requests = draw('duration: 1000s\ncallers: [ { group: a, arrivals: 50/1s, keys: 10, skew: 1 } ]');
  const of = (key: string) => requests.filter((each) => each.key === key).length;
  expect(of('k1') / of('k2')).toBeCloseTo(2, 0);
  expect(of('k1') / of('k10')).toBeGreaterThan(8);
});

test('the same seed draws the same, another draws others', () => {
  const text = (seed: number) => `seed: ${seed}\nduration: 10s\ncallers: [ { group: a, arrivals: 10/1s } ]`;
  expect(draw(text(1))).toEqual(draw(text(1)));
  expect(draw(text(1))).not.toEqual(draw(text(2)));
});

test.each([
  ['duration: 1s', 'callers'],
  ['duration: 1s\ncallers: [ { group: a } ]', 'arrivals'],
  ['duration: 1s\ncallers: [ { group: a, arrivals: 1/month } ]', 'callers[0].arrivals'],
  ['duration: 1s\ncallers: [ { group: a, arrivals: 1/1s, key: a, keys: 2 } ]', 'callers[0].keys'],
  ['duration: 30d\ncallers: [ { group: a, arrivals: 1000/1s } ]', 'callers'],
  ['duration: 1s\ncallers: [ { group: a, arrivals: 1/1s, wait: 1s } ]', 'there is no option "wait" here'],
])('a mistake is told with its place: %j', (text, path) => {
  const read = readWorkload(text, 'callers.yaml');
  expect('mistakes' in read && read.mistakes.map(formatError).join('\n')).toContain(path);
});
