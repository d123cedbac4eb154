import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { configText } from '../../src/importers/config-text.ts';
import type { Imported, SourceFile } from '../../src/importers/importer.ts';
import { importLunar } from '../../src/importers/lunar/lunar.ts';
import { importReque } from '../../src/importers/reque.ts';

/* Whatever is imported: mistakes with their places, or a configuration that passes the check and a verdict on every key. Never a throw. */

const fixture = (name: string) => readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');

/** A file with every key that the importer knows, so that changes of it reach all of its parts. */
const QUOTAS = `
quotas:
  - { id: MyQuota, filter: { url: api.website.com/* }, strategy: { fixed_window: { max: 10, interval: 1, interval_unit: second, group_by_header: x-tag, spillover: { max: 3 } } } }
  - { id: Month, strategy: { fixed_window: { static: { max: 9, interval: 1, interval_unit: month }, monthly_renewal: { day: 3, hour: 4, minute: 5, timezone: Local }, dynamic: { remaining_header: x-left } } } }
  - { id: Tokens, strategy: { fixed_window_custom_counter: { max: 9, interval: 1, interval_unit: hour, counter_value_path: $.response.body.usage.total } } }
  - { id: Slots, strategy: { concurrent: { max_request_count: 2, request_expiration_sec: 5 } } }
  - { id: Told, strategy: { header_based: { quota_header: x-left, reset_header: x-reset, retry_after_header: retry-after } } }
internal_limits:
  - { id: Half, parent_id: Month, filter: { headers: [ { key: x-tag, value: a } ] }, strategy: { allocation_percentage: 50 } }
`;

const VALUES = [
  0,
  1,
  -1,
  2.5,
  1e15,
  998,
  1000,
  '',
  ' ',
  'x',
  'X-Group',
  '*',
  'api.website.com',
  'a.b/{id}/*',
  'second',
  'month',
  'Local',
  'Half',
  'Month',
  'Tokens',
  'Slots',
  'Told',
  'MyQuota',
];
const MORE = [
  true,
  false,
  null,
  [],
  {},
  ['x'],
  { key: 'x', value: 'y' },
  '__proto__',
  'constructor',
  'header x',
  '$.request.body.n',
  '$..*',
  '\u0000',
  'é',
  '100%',
  'Queue',
  'Limiter',
  'Filter',
];
const value = fc.constantFrom<unknown>(...VALUES, ...MORE);

type Change = readonly [at: number, how: 'set' | 'drop' | 'twin', value: unknown];
const changes = fc.array(fc.tuple(fc.nat(10_000), fc.constantFrom('set' as const, 'drop' as const, 'twin' as const), value), { maxLength: 4 });

/** The same value with some of its parts replaced, removed or doubled. */
function changed(root: unknown, all: readonly Change[]): unknown {
  const copy: unknown = structuredClone(root);
  for (const [at, how, put] of all) {
    const places: (readonly [Record<string, unknown> | unknown[], string])[] = [];
    const walk = (node: unknown): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const key of Object.keys(node)) {
        places.push([node as Record<string, unknown>, key]);
        walk((node as Record<string, unknown>)[key]);
      }
    };
    walk(copy);
    const [holder, key] = places[at % Math.max(1, places.length)] ?? [];
    if (holder === undefined || key === undefined) continue;
    if (Array.isArray(holder)) {
      if (how === 'drop') holder.splice(Number(key), 1);
      else if (how === 'twin') holder.push(structuredClone(holder[Number(key)]));
      else holder[Number(key)] = put;
    } else if (how === 'drop') delete holder[key];
    else holder[how === 'twin' ? `${key}2` : key] = how === 'twin' ? structuredClone(holder[key]) : put;
  }
  return copy;
}

/** Parts that a report says something of. */
function keysOf(node: unknown): number {
  const below = typeof node === 'object' && node !== null ? Object.values(node) : [];
  return below.length === 0 ? 1 : below.reduce((sum: number, each) => sum + keysOf(each), 0);
}

/** How often a test came to either end: both must be among them. */
const kinds = { imported: 0, mistakes: 0 };

function check(imported: Imported, files: readonly SourceFile[], keys: number | undefined): void {
  kinds[imported.kind]++;
  if (imported.kind === 'mistakes') {
    expect(imported.mistakes.length).toBeGreaterThan(0);
    for (const { source, line = 0, column = 0, problem, remedy } of imported.mistakes) {
      expect([problem, remedy]).not.toContain('');
      const text = files.find(({ name }) => name === source)?.text ?? '';
      expect(line).toBeGreaterThanOrEqual(1);
      expect(line).toBeLessThanOrEqual(text.split('\n').length + 1);
      expect(column).toBeGreaterThanOrEqual(1);
    }
    return;
  }
  const loaded = loadConfig({ text: configText(imported.config, ['x']), name: 'made.yaml', env: {}, flags: [] });
  expect(loaded.kind === 'mistakes' ? loaded.mistakes.map(formatError) : []).toEqual([]);
  if (keys !== undefined) expect(imported.findings.length).toBe(keys);
  for (const { how, line } of imported.findings) {
    expect(how).not.toBe('');
    expect(line).toBeGreaterThanOrEqual(1);
  }
}

const options = { windows: 'rolling', compat: true, backends: new Map(), fallback: 'http://127.0.0.1:1', timezone: 'Europe/Berlin' } as const;

function lunar(texts: readonly string[], windows: 'rolling' | 'fixed', keys?: number): void {
  const files = texts.map((text, index) => ({ name: `${index}.yaml`, text }));
  check(importLunar(files, { ...options, windows }), files, keys);
}

const flow = fixture('lunar/flows/flow.yaml');
const quota = fc.constantFrom('MyQuota', 'Month', 'Tokens', 'Slots', 'Told', 'Half');

describe('importing never throws, and what it writes passes the check:', () => {
  const before = { imported: 0, mistakes: 0 };
  beforeEach(() => Object.assign(kinds, before));

  test('policies, changed by chance', () => {
    const policies: unknown = parse(
      fixture('lunar/policies.yaml').replace('global:', 'endpoints: [ { url: "api.com/x/{id}", method: GET, remedies: [] } ]\nglobal:'),
    );
    fc.assert(
      fc.property(changes, fc.constantFrom('rolling' as const, 'fixed' as const), (all, windows) => {
        const made = changed(policies, all);
        lunar([stringify(made)], windows, keysOf(made));
      }),
      { numRuns: 300 },
    );
    expect(Math.min(kinds.imported, kinds.mistakes)).toBeGreaterThan(50);
  });

  test('flows and quotas, changed by chance', () => {
    const parsed: unknown = parse(QUOTAS);
    fc.assert(
      fc.property(quota, changes, changes, fc.constantFrom('rolling' as const, 'fixed' as const), (id, inFlow, inQuotas, windows) => {
        const made = [changed(parse(flow.replace('value: MyQuota', `value: ${id}`)), inFlow), changed(parsed, inQuotas)] as const;
        lunar(
          made.map((each) => stringify(each)),
          windows,
          keysOf(made[0]) + keysOf(made[1]),
        );
      }),
      { numRuns: 300 },
    );
    expect(Math.min(kinds.imported, kinds.mistakes)).toBeGreaterThan(50);
  });

  test('two flows of chance on quotas of chance', () => {
    const named = (name: string, id: string): string => flow.replace('PriorityQueueFlow', name).replace('value: MyQuota', `value: ${id}`);
    fc.assert(
      fc.property(quota, quota, changes, (one, two, all) =>
        lunar([named('One', one), stringify(changed(parse(named('Two', two).replace('website.com/*', 'website.com/two')), all)), QUOTAS], 'fixed'),
      ),
      { numRuns: 300 },
    );
    expect(Math.min(kinds.imported, kinds.mistakes)).toBeGreaterThan(50);
  });

  test("any text as Lunar's", () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => lunar([text], 'rolling')),
      { numRuns: 300 },
    );
  });

  test('settings of reQue, their lines changed by chance', () => {
    const lines = fixture('reque/Settings.toml').split('\n');
    const line = fc.tuple(
      fc.nat(lines.length - 1),
      fc.constantFrom(
        '',
        'x = 1',
        '[t]',
        'a = "',
        'reque_interval = 0.0001',
        'reque_interval = 99999',
        'http_dest = "[::1]:80"',
        'http_dest = "a.b:99999"',
        'http_proto = "https"',
        'require_success = true',
        'x = """\n"""',
      ),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 4 }), (all) => {
        const made = [...lines];
        for (const [at, put] of all) made[at] = put;
        const file = { name: 'Settings.toml', text: made.join('\n') };
        check(importReque(file), [file], undefined);
      }),
      { numRuns: 300 },
    );
    expect(Math.min(kinds.imported, kinds.mistakes)).toBeGreaterThan(50);
  });

  test("any text as reQue's", () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const file = { name: 'Settings.toml', text };
        check(importReque(file), [file], undefined);
      }),
      { numRuns: 300 },
    );
  });
});
