import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Loaded, loadConfig } from '../../src/config/load.ts';
import type { Flag, Variables } from '../../src/config/overlay.ts';
import { SECOND } from '../../src/core/time.ts';

const FILE = `drain: { grace: 1s }
listen: { api: 81 }
store: memory
groups:
  llm-eu:
    limits: [ { name: rpm, rate: 500/60s }, { name: slots, concurrency: 8, scope: key, keys: { acme: 32 } } ]
  a.b: {}
  a_b: {}
`;

function load(env: Variables, flags: readonly Flag[] = [], text = FILE): Loaded {
  return loadConfig({ text, name: 'f.yaml', env, flags });
}

function good(env: Variables, flags: readonly Flag[] = [], text = FILE) {
  const loaded = load(env, flags, text);
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

function bad(env: Variables, flags: readonly Flag[] = []): readonly string[] {
  const loaded = load(env, flags);
  return loaded.kind === 'mistakes' ? loaded.mistakes.map(formatError) : [];
}

test('a flag counts before a variable, a variable before the file, the file before the default', () => {
  const env = { SLUICE_DRAIN_GRACE: '2s' };
  const flags = [{ name: 'drain.grace', value: '3s' }];
  expect(good({}, [], 'groups: { a: {} }').drain.grace).toBe(20 * SECOND);
  expect(good({}).drain.grace).toBe(SECOND);
  expect(good(env).drain.grace).toBe(2 * SECOND);
  expect(good(env, flags).drain.grace).toBe(3 * SECOND);
  expect(good(env, [...flags, { name: 'drain.grace', value: '4s' }]).drain.grace).toBe(4 * SECOND);
});

test('an empty variable counts as absent', () => {
  expect(good({ SLUICE_DRAIN_GRACE: '' }).drain.grace).toBe(SECOND);
});

describe('variables find their option', () => {
  test('whatever its words are', () => {
    expect(good({ SLUICE_LISTEN_GATEWAY_QUEUE: 'none', SLUICE_HTTP_ENGINE: 'node', SLUICE_BOUNDS_REQUEST_IDS: '7' })).toMatchObject({
      http: { engine: 'node' },
      bounds: { requestIds: 7 },
    });
  });

  test('in a group whose name is written otherwise, and in its limits by name', () => {
    const { groups } = good({
      SLUICE_GROUPS_LLM_EU_TTL_MAX: '5m',
      SLUICE_GROUPS_LLM_EU_LIMITS_SLOTS_KEYS_ACME: '64',
      SLUICE_GROUPS_LLM_EU_LIMITS_0_RATE: '7/1s',
    });
    expect(groups[0]?.wait.max).toBe(300 * SECOND);
    expect(groups[0]?.spec.limits[1]?.keys.get('acme')).toEqual({ kind: 'concurrency', max: 64 });
    expect(groups[0]?.spec.limits[0]?.quota).toMatchObject({ permits: 7 });
  });

  test('where the file has its short form', () => {
    const { listen, store } = good({ SLUICE_LISTEN_API_TLS_CERT: 'c', SLUICE_LISTEN_API_TLS_KEY: 'k', SLUICE_STORE_PATH: '/d' });
    expect(listen.api).toEqual({ address: { host: '0.0.0.0', port: 81 }, tls: { cert: 'c', key: 'k', clientCa: undefined } });
    expect(store).toMatchObject({ kind: 'memory', path: '/d' });
  });

  test('and may say a whole part as YAML', () => {
    expect(good({ SLUICE_GROUPS: '{ demo: { limits: [ { name: pace, spacing: 5s } ] } }' }).groups.map(({ spec }) => spec.name)).toEqual(['demo']);
  });
});

test('flags say names as the file does, and may add a group', () => {
  const { groups } = good({}, [
    { name: 'groups.a.b.ttl.default', value: '1s' },
    { name: 'groups.new.limits', value: '[ { name: x, concurrency: 1 } ]' },
    { name: 'store', value: 'disk' },
  ]);
  expect(groups.find(({ spec }) => spec.name === 'a.b')?.wait.default).toBe(SECOND);
  expect(groups.find(({ spec }) => spec.name === 'a_b')?.wait.default).toBe(30 * SECOND);
  expect(groups.at(-1)?.spec).toMatchObject({ name: 'new', limits: [{ quota: { kind: 'concurrency', max: 1 } }] });
});

test('what names no option is refused, with the nearest', () => {
  expect(bad({ SLUICE_DRAIM_GRACE: '3s' })[0]).toMatch(/^environment SLUICE_DRAIM_GRACE: this names no option\. Look under drain/);
  expect(bad({}, [{ name: 'drian.grace', value: '3s' }])[0]).toMatch(/^flag --drian\.grace: this names no option\. Look under drain/);
  expect(bad({ SLUICE_GROUPS_NEW_TTL_MAX: '3s' })[0]).toContain('groups and keys must stand in the file');
  expect(bad({ SLUICE_GROUPS_A_B_TTL_MAX: '3s' })[0]).toContain('this names no option');
});

test('a bad value says which variable or flag holds it', () => {
  expect(bad({ SLUICE_DRAIN_GRACE: '3' }, [{ name: 'log.level', value: 'loud' }])).toEqual([
    'environment SLUICE_DRAIN_GRACE: drain.grace: 3 is not a duration. Give it a unit: 3s or 3ms.',
    'flag --log.level: log.level: "loud" is none of the words this option takes. Take one of trace, debug, info, warn, error, silent.',
  ]);
  expect(bad({ SLUICE_GROUPS: '{ a: ' })[0]).toMatch(/^environment SLUICE_GROUPS: /);
});

test('variables that others make are passed over: of Kubernetes for a Service, and of the commands', () => {
  const env = {
    SLUICE_SERVICE_HOST: '10.0.0.1',
    SLUICE_PORT: 'tcp://10.0.0.1:80',
    SLUICE_PORT_80_TCP_ADDR: 'x',
    SLUICE_SERVICE_PORT_API: '80',
    SLUICE_CONFIG: 'f',
    SLUICE_HEALTH_URL: 'x',
    HOME: '/',
  };
  expect(good(env).drain.grace).toBe(SECOND);
});
