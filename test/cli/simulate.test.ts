import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simulate } from '../../src/cli/simulate.ts';
import { fakeWorld } from './world.ts';

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-simulate-'));
  writeFileSync(at('now.yaml'), 'groups: { g: { limits: [ { name: slots, concurrency: 1 } ] } }');
  writeFileSync(at('next.yaml'), 'groups: { g: { limits: [ { name: slots, concurrency: 2 } ] } }');
  writeFileSync(at('wrong.yaml'), 'groups: { g: { limit: 1 } }');
  writeFileSync(at('trace'), '{"at":0,"group":"g","hold":2}\n{"at":0,"group":"g","hold":2}\n');
  writeFileSync(at('callers.yaml'), 'duration: 10s\ncallers: [ { group: g, arrivals: 1/1s, pattern: even, hold: 2s } ]');
});
afterAll(() => rmSync(folder, { recursive: true }));

async function run(args: readonly string[], stdin = ''): Promise<{ code: number; out: string; err: string }> {
  const world = { ...fakeWorld(), stdin: Readable.from([stdin]) };
  const code = await simulate.run(args, world);
  return { code, out: world.out(), err: world.err() };
}

test('tells what a configuration makes of a trace', async () => {
  const { code, out } = await run([at('now.yaml'), '--trace', at('trace')]);
  expect(out).toContain(`${at('now.yaml')}: 2 requests in 2 s: 2 admitted, 0 refused`);
  expect(out).toMatch(/^g {6}- {13}2 {8}2 {9}0 {9}2\.0s {2}2\.0s {2}0$/m);
  expect(out).toMatch(/^g {6}slots {2}concurrency {2}100%$/m);
  expect(code).toBe(0);
});

test('tells what a change makes of it', async () => {
  const { out } = await run([at('now.yaml'), '--against', at('next.yaml'), '--trace', at('trace')]);
  expect(out).toContain('2.0s > 0');
});

test('reads a trace from stdin, and answers one object for programs', async () => {
  const { out } = await run([at('now.yaml'), '--trace', '-', '--json'], '{"at":0,"group":"g"}\n');
  expect(JSON.parse(out)).toMatchObject({ arrived: 1, admitted: 1, groups: [{ name: 'g', classes: [{ class: '', waitMs: { p50: 0 } }] }] });
});

test('draws a workload', async () => {
  const { out } = await run([at('now.yaml'), '--workload', at('callers.yaml'), '--json']);
  expect(JSON.parse(out)).toMatchObject({ arrived: 10, admitted: 10 });
});

test.each([
  [['--trace', 'trace', '--workload', 'callers.yaml'], 'Name one of --workload, --trace and --metrics.'],
  [[], 'Name one of --workload, --trace and --metrics.'],
  [['a', 'b', '--trace', 'trace'], 'Name one configuration, and the other by --against.'],
  [['--trace', 'trace', '--seed', '1'], '--seed is an option of --workload and --metrics: a trace is not drawn.'],
  [['--trace', 'trace', '--hold', '1s'], '--hold is an option of --metrics: the others say it for each request.'],
  [['--metrics', 'x', '--hold', 'long'], '--hold is a duration of at most 7d, as in 1m30s.'],
  [['--metrics', 'x', '--seed', 'x'], '--seed is a whole number'],
  [['--verbose'], "Unknown option '--verbose'"],
])('called wrongly it says so: %j', async (args, sentence) => {
  const { code, err } = await run(args);
  expect(err).toContain(sentence);
  expect(err).toContain('Usage: sluice simulate');
  expect(code).toBe(2);
});

test('a file with a mistake, or that cannot be read, is told with its place', async () => {
  const wrong = await run([at('wrong.yaml'), '--trace', at('trace')]);
  expect(wrong.err).toContain(`${at('wrong.yaml')}:1:16: groups.g: there is no option`);
  const absent = await run([at('now.yaml'), '--trace', at('absent')]);
  expect(absent.err).toContain(`${at('absent')}: cannot be read: `);
  const torn = await run([at('now.yaml'), '--trace', '-'], '{"at":0,"group":"g"}\n{');
  expect(torn.err).toContain('stdin:2:1: this line is no JSON object');
  expect([wrong.code, absent.code, torn.code]).toEqual([1, 1, 1]);
});
