import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkPause, toPage } from '../../src/api/group-validation.ts';
import { parseAcquire, parseRelease } from '../../src/api/validation.ts';
import { loadConfig } from '../../src/config/load.ts';
import {
  CLASS_NAME,
  COST_UNITS_MAX,
  DEPTH_MAX,
  GROUP_NAME,
  isKey,
  KEY_BYTES_MAX,
  LEASE_MAX,
  PAGE_DEFAULT,
  PAGE_MAX,
  PUSHBACK_MAX,
  REDRIVE_MAX,
  RESUME_MAX,
  TTL_MAX,
  UNIT_NAME,
  UNITS_MAX,
} from '../../src/core/bounds.ts';
import { PRIORITY_MAX } from '../../src/core/group.ts';
import { DAY, HOUR, SECOND } from '../../src/core/time.ts';

/* Each bound and pattern has one source. What the file, every protocol and the documents say of it is compared here. */

const proto = (file: string): string => readFileSync(`proto/sluice/v1/${file}.proto`, 'utf8').replaceAll(/\s+\/\/ /g, ' ');
const options = readFileSync('docs/configuration.md', 'utf8');
const loads = (text: string): boolean => loadConfig({ text, name: 'sluice.yaml', env: {}, flags: [] }).kind === 'config';
const quoted = (text: string): string => JSON.stringify(text);
const asks = (fields: object): boolean => !('reason' in parseAcquire({ group: 'g', ...fields }, { caller: '', remaining: undefined }));

const inGroup = (own: string): boolean => loads(`groups: { g: { limits: [ { name: l, rate: 1/1s, unit: requests } ], ${own} } }`);

describe('a name is the same in the file and in a call:', () => {
  const LONG = 'a'.repeat(128);
  test.for(['llm', 'A.b_c-9', '9', LONG, `${LONG}a`, '', '.hidden', '-x', '_x', 'a b', 'ä', 'a/b'])('of a group: %j', (name) => {
    const fits = GROUP_NAME.test(name);
    expect(loads(`groups: { ${quoted(name)}: { limits: [ { name: l, rate: 1/1s } ] } }`)).toBe(fits);
    expect(asks({ group: name })).toBe(fits);
    expect(checkPause(name, undefined) === undefined).toBe(fits);
  });

  test.for(['tokens', 'input_tokens-2', 'a'.repeat(64), 'a'.repeat(65), '9', '', 'a b'])('of a unit: %j', (name) => {
    const fits = UNIT_NAME.test(name);
    expect(loads(`groups: { g: { limits: [ { name: l, rate: 1/1s, unit: ${quoted(name)} } ] } }`)).toBe(fits);
    expect(asks({ costs: { [name]: 1 } })).toBe(fits);
  });

  test.for(['gold', 'a'.repeat(64), 'a'.repeat(65), '1', ''])('of a class: %j', (name) => {
    expect(inGroup(`priority: { classes: { ${quoted(name)}: 1 } }`)).toBe(CLASS_NAME.test(name));
  });

  const [MOST, MORE] = ['é'.repeat(KEY_BYTES_MAX / 2), 'é'.repeat(KEY_BYTES_MAX / 2 + 1)];
  test.for([
    ...['acme', 'a b', 'ä', MOST, '€'.repeat(85), '🙂'.repeat(64), 'a'.repeat(KEY_BYTES_MAX)].map((key) => [key, true] as const),
    ...[MORE, '€'.repeat(86), '🙂'.repeat(65), 'a'.repeat(KEY_BYTES_MAX + 1), 'a\u0007', 'a\u0085', '\ud800'].map((key) => [key, false] as const),
  ])('of a key, measured in bytes: %j', ([key, fits]) => {
    expect(inGroup(`fairness: { weights: { ${quoted(key)}: 2 } }`)).toBe(fits);
    const limits = `[ { name: l, rate: 1/1s, scope: key, keys: { ${quoted(key)}: 2/1s } } ]`;
    expect(loads(`groups: { g: { limits: ${limits} } }`)).toBe(fits);
    const credential = `{ name: n, sha256: ${'0'.repeat(64)}, key: ${quoted(key)} }`;
    expect(loads(`auth: { keys: [ ${credential} ] }\ngroups: { g: { limits: [ { name: l, rate: 1/1s } ] } }`)).toBe(fits);
    expect(asks({ key })).toBe(fits);
    expect(checkPause('g', key) === undefined).toBe(fits);
    expect(isKey(key)).toBe(fits);
  });
});

describe('a number is the same in the file and in a call:', () => {
  const seconds = (micros: number): string => `${micros / SECOND}s`;

  test.for([0, 1])('wait timeouts, leases and pushbacks; %d s past the bound', (past) => {
    const fits = past === 0;
    expect(inGroup(`ttl: { max: ${seconds(TTL_MAX + past * SECOND)} }`)).toBe(fits);
    expect(asks({ ttl: TTL_MAX + past * SECOND })).toBe(fits);
    expect(inGroup(`lease: { max: ${seconds(LEASE_MAX + past * SECOND)} }`)).toBe(fits);
    expect(asks({ lease: LEASE_MAX + past * SECOND })).toBe(fits);
    expect(inGroup(`pushback: { max: ${seconds(PUSHBACK_MAX + past * SECOND)} }`)).toBe(fits);
    expect('of' in parseRelease({ permit: 'p', outcome: 'dropped', retryAfter: PUSHBACK_MAX + past * SECOND })).toBe(fits);
  });

  test.for([0, 1])('priorities and units of a cost; %d past the bound', (past) => {
    const fits = past === 0;
    expect(inGroup(`priority: { classes: { gold: ${PRIORITY_MAX + past} } }`)).toBe(fits);
    expect(asks({ priority: PRIORITY_MAX + past })).toBe(fits);
    const named = Array.from({ length: COST_UNITS_MAX + past }, (_, index) => `u${index}`);
    expect(asks({ costs: Object.fromEntries(named.map((unit) => [unit, 1])) })).toBe(fits);
    const limits = named.map((unit) => `{ name: ${unit}, rate: 1/1s, unit: ${unit} }`);
    const costs = named.map((unit) => `${unit}: { default: 1 }`);
    expect(loads(`groups: { g: { limits: [ ${limits} ], costs: { ${costs} } } }`)).toBe(fits);
  });

  test.for([0, 1])('groups above each other; %d past the bound', (past) => {
    const group = (depth: number) => `g${depth}: { limits: [ { name: l, rate: 1/1s } ]${depth === 0 ? '' : `, parent: { group: g${depth - 1} }`} }`;
    expect(loads(`groups: { ${Array.from({ length: DEPTH_MAX + past }, (_, depth) => group(depth))} }`)).toBe(past === 0);
  });

  test('pages', () => {
    expect(toPage('groups', { pageSize: 0 })).toMatchObject({ size: PAGE_DEFAULT });
    expect(toPage('groups', { pageSize: PAGE_MAX })).toMatchObject({ size: PAGE_MAX });
    expect(toPage('groups', { pageSize: PAGE_MAX + 1 })).toMatchObject({ reason: 'malformed' });
  });
});

test.for<[string, string, string]>([
  ['admission', 'group', '1 to 128 of'],
  ['admission', 'key', `at most ${KEY_BYTES_MAX} bytes of printable text; empty: none`],
  ['admission', 'ttl', `0 to ${TTL_MAX / HOUR} h`],
  ['admission', 'lease', `at most ${LEASE_MAX / DAY} days`],
  ['admission', 'priority', `0 (most urgent) to ${PRIORITY_MAX} (least)`],
  ['admission', 'costs', `from 0 to 10^${Math.log10(UNITS_MAX)}; at most ${COST_UNITS_MAX} units`],
  ['admission', 'retry_after', `0 to ${PUSHBACK_MAX / HOUR} h`],
  ['admission', 'resume', `to ${RESUME_MAX / SECOND} s`],
  ['group', 'page_size', `1 to ${PAGE_MAX}; 0: ${PAGE_DEFAULT}`],
  ['deferred', 'page_size', `1 to ${PAGE_MAX}; 0: ${PAGE_DEFAULT}`],
  ['deferred', 'max', `1 to ${REDRIVE_MAX}`],
])('the protocol says of %s.%s: %s', ([file, , words]) => {
  expect(proto(file)).toContain(words);
});

test.for<[string, string]>([
  ['ttl.max', '0 to 1d'],
  ['lease.max', `to ${LEASE_MAX / DAY}d`],
  ['pushback.max', '0 to 1d'],
  ['priority.default', `0 to ${PRIORITY_MAX}`],
])('docs/configuration.md says of %s: %s', ([option, words]) => {
  expect(options.split('\n').filter((line) => line.includes(`${option}\``))).toContainEqual(expect.stringContaining(words));
});
