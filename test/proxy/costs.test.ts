import { describe, expect, test } from 'vitest';
import { ONE_REQUEST } from '../../src/core/group.ts';
import { computeCosts, JSON_BYTES_MAX, parseJsonBody, readsBody } from '../../src/proxy/costs.ts';
import { parseJsonPath, valueAt } from '../../src/proxy/json-path.ts';
import type { CostRule } from '../../src/proxy/route.ts';
import { UsageParser } from '../../src/proxy/usage.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const path = (text: string) => parseJsonPath(text) ?? [];
const tokens: CostRule = { unit: 'tokens', ask: { from: 'json', path: ['max_tokens'] }, fallback: 2000, settle: path('usage.total_tokens') };

/** What a settler makes of an answer that came in these pieces. */
function settled(pieces: readonly string[], contentType = 'application/json', rules = [tokens], encoding?: string) {
  const missing: string[] = [];
  const settler = UsageParser.of(rules, contentType, encoding);
  for (const piece of pieces) settler?.take(bytes(piece));
  const costs = settler?.costs((unit) => missing.push(unit));
  return { costs: costs === undefined ? undefined : { ...costs }, missing };
}

describe('a path into JSON', () => {
  test.each([
    ['max_tokens', ['max_tokens']],
    ['usage.total_tokens', ['usage', 'total_tokens']],
    ['$.usage.total_tokens', ['usage', 'total_tokens']],
    ['choices[0].n', ['choices', 0, 'n']],
    ['list[-1]', ['list', -1]],
    ['["a.b"].c', ['a.b', 'c']],
  ])('%s', (text, steps) => expect(parseJsonPath(text)).toEqual(steps));

  test.each(['', '.', 'a.', '.a', 'a..b', 'a b', 'a[', 'a[x]', 'a[0]b', '[*]', 'a[?(@.b)]', 'x'.repeat(600)])('%j is none', (text) =>
    expect(parseJsonPath(text)).toBeUndefined(),
  );

  test('finds own members and items only', () => {
    const root = { a: [{ b: 1 }, { b: 2 }] };
    expect(valueAt(root, path('a[0].b'))).toBe(1);
    expect(valueAt(root, path('a[-1].b'))).toBe(2);
    for (const none of ['a.length', 'a[2].b', 'a.b', '__proto__', 'constructor.name', 'toString']) expect(valueAt(root, path(none))).toBeUndefined();
    expect(valueAt(null, path('a'))).toBeUndefined();
    expect(valueAt(JSON.parse('{"__proto__": 7}'), path('__proto__'))).toBe(7);
  });
});

describe('what a request asks for', () => {
  const read = (body: unknown) => (rule: CostRule) => (rule.ask?.from === 'json' ? valueAt(body, rule.ask.path) : undefined);

  test('no rule: one request, and no object for it', () => expect(computeCosts([], read({}), () => {})).toBe(ONE_REQUEST));

  test.each([
    [{ max_tokens: 400 }, 400],
    [{ max_tokens: '400' }, 400],
    [{ max_tokens: 0 }, 0],
    [{ max_tokens: -1 }, undefined],
    [{ max_tokens: 1.5 }, undefined],
    [{ max_tokens: 2 ** 41 }, undefined],
    [{ max_tokens: '4e2' }, undefined],
    [{ max_tokens: null }, undefined],
    [{}, undefined],
    [undefined, undefined],
  ])('%j costs %s', (body, cost) => {
    const missing: string[] = [];
    expect({ ...computeCosts([tokens], read(body), (unit) => missing.push(unit)) }).toEqual({ tokens: cost ?? 2000 });
    expect(missing).toEqual(cost === undefined ? ['tokens'] : []);
  });

  test('a rule without a place to look is not missing anything', () => {
    const missing: string[] = [];
    expect({ ...computeCosts([{ ...tokens, ask: undefined }], read({}), (unit) => missing.push(unit)) }).toEqual({ tokens: 2000 });
    expect(missing).toEqual([]);
    expect(readsBody([{ ...tokens, ask: undefined }])).toBe(false);
    expect(readsBody([tokens])).toBe(true);
  });

  test('a body is read up to its bound, and not one past it', () => {
    const full = JSON.stringify('x'.repeat(JSON_BYTES_MAX - 2));
    expect(parseJsonBody(bytes(full))).toHaveLength(JSON_BYTES_MAX - 2);
    expect(parseJsonBody(bytes(`${full} `))).toBeUndefined();
    expect(parseJsonBody(bytes('{"a":'))).toBeUndefined();
    expect(parseJsonBody(bytes('['.repeat(100_000)))).toBeUndefined();
  });
});

describe('what an answer says it cost', () => {
  test('JSON, in any pieces', () => {
    expect(settled(['{"usage":{"total_', 'tokens":1312}}']).costs).toEqual({ tokens: 1312 });
    expect(settled(['{"usage":{"total_tokens":7}}'], 'Application/Problem+JSON; charset=utf-8').costs).toEqual({ tokens: 7 });
  });

  test('the last event of an SSE stream that says it', () => {
    const stream = ['data: {"usage":null}\n\n', 'data: {"usage":{"total_tokens":5}}\r\n\r\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'];
    expect(settled(stream, 'text/event-stream').costs).toEqual({ tokens: 5 });
    expect(settled(['data: {"usage":\ndata: {"total_tokens":6}}\n\n'], 'text/event-stream').costs).toEqual({ tokens: 6 });
  });

  test('a long stream keeps its end only', () => {
    const filler = `data: ${JSON.stringify({ delta: 'x'.repeat(1000) })}\n\n`;
    const early = ['data: {"usage":{"total_tokens":1}}\n\n', ...Array.from({ length: 200 }, () => filler)];
    expect(settled(early, 'text/event-stream')).toEqual({ costs: undefined, missing: ['tokens'] });
    expect(settled([...early, 'data: {"usage":{"total_tokens":2}}\n\n'], 'text/event-stream').costs).toEqual({ tokens: 2 });
  });

  test.each([
    ['not found', ['{"usage":{}}'], 'application/json', undefined],
    ['no JSON', ['{"usage":'], 'application/json', undefined],
    ['another type', ['{"usage":{"total_tokens":7}}'], 'text/html', undefined],
    ['compressed', ['{"usage":{"total_tokens":7}}'], 'application/json', 'gzip'],
    ['too long', ['"', 'x'.repeat(JSON_BYTES_MAX), '"'], 'application/json', undefined],
  ])('%s: the ask stands, and is counted', (_why, pieces, type, encoding) => {
    expect(settled(pieces, type, [tokens], encoding)).toEqual({ costs: undefined, missing: ['tokens'] });
  });

  test('one unit of two: the other stays as asked', () => {
    const rules = [tokens, { ...tokens, unit: 'images', settle: path('usage.images') }];
    expect(settled(['{"usage":{"total_tokens":3}}'], 'application/json', rules)).toEqual({ costs: { tokens: 3 }, missing: ['images'] });
  });

  test('no rule settles: nothing is looked at', () =>
    expect(UsageParser.of([{ ...tokens, settle: undefined }], 'application/json', undefined)).toBeUndefined());
});
