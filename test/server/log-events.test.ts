import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  BackendLog,
  logAdmissionEvent,
  logConnectionEvent,
  logRelayEvent,
  logReload,
  logReplicaEvent,
  logUnexpectedError,
  PeerLog,
} from '../../src/server/log-events.ts';
import { logOperator } from '../../src/server/operator-log.ts';
import type { Log, LogFields } from '../../src/telemetry/log.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Line {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
  readonly fields: LogFields;
}

/** A log that keeps its lines. */
function kept(): { readonly log: Log; readonly lines: Line[] } {
  const lines: Line[] = [];
  return { lines, log: { write: (level, event, msg, fields = {}) => lines.push({ level, event, msg, fields }), setLevel() {} } };
}

/** Names of two words or more; the lives of a server and of its file are one word each, as they always were. */
const NAME = /^(serving|draining|stopped|reloaded|[a-z]+(_[a-z]+)+)$/;

/** Every event that the sources name in a call of the log. */
const named = globSync('src/**/*.ts', { cwd: root }).flatMap((file) => {
  const text = readFileSync(root + file, 'utf8');
  return [...text.matchAll(/(?:log|#log)\.write\(\s*[^,;]+,\s*'(\w+)'/g)].map(([, event = '']) => event);
});
/** Those whose name is made: of connections to NATS, and of what operators do. */
const made = ['waiting', 'connected', 'disconnected', 'leaving', 'unfit', 'refused', 'closed'].map((kind) => `nats_${kind}`);
const operators = ['group_paused', 'group_resumed', 'group_overridden', 'waiter_evicted', 'lease_revoked'] as const;
const events = [...new Set([...named, ...made, ...operators])].sort();

describe('events of the log', () => {
  test('are named by what happened', () => {
    expect(named.length).toBeGreaterThan(25);
    expect(events.filter((event) => !NAME.test(event))).toEqual([]);
  });

  test('are each logged by one call of the source, so that a search finds it', () => {
    expect(named.filter((event, index) => named.indexOf(event) !== index)).toEqual([]);
  });

  test('stand in docs/operations.md, each of them', () => {
    const page = readFileSync(`${root}docs/operations.md`, 'utf8');
    const tables = page.split('\n').filter((line) => line.startsWith('| `'));
    const told = new Set(tables.flatMap((line) => [...(line.split(' | ')[0] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name)));
    expect(events.filter((event) => !told.has(event))).toEqual([]);
  });

  test('have a sentence each, that ends as one and names what it is about', () => {
    const { log, lines } = kept();
    const cause = new Error('disk full');
    logAdmissionEvent(log, { kind: 'lost', cause });
    logAdmissionEvent(log, { kind: 'unstored', root: 'llm', cause });
    logAdmissionEvent(log, { kind: 'stored', root: 'llm' });
    logAdmissionEvent(log, { kind: 'seal_failed', root: 'llm', cause });
    logAdmissionEvent(log, { kind: 'withdrawn', group: 'llm', waiting: 3, leases: 2 });
    logAdmissionEvent(log, { kind: 'recovered', trees: 4, crashed: 2, leases: 3, bounds: 5, heldFor: 400_500 });
    logAdmissionEvent(log, { kind: 'recovered', trees: 4, crashed: 0, leases: 3, bounds: 5, heldFor: 0 });
    logUnexpectedError(log, cause);
    logReload(log, { kind: 'unthreaded', cause });
    expect(lines.at(-1)).toMatchObject({ level: 'warn', event: 'reload_unthreaded', msg: expect.stringContaining('(disk full); callers wait') });
    logReload(log, { kind: 'reloaded', revision: 2, groups: 3, needRestart: ['store.path'] });
    for (const kind of operators) logOperator(log, { kind, caller: 'ops', group: 'llm' });
    for (const line of ['data', 'ledger'] as const) {
      logConnectionEvent(log, { kind: 'connected', line, server: 'a:1', version: '2', again: true });
      logConnectionEvent(log, { kind: 'disconnected', line, server: 'a:1' });
      logConnectionEvent(log, { kind: 'leaving', line, server: 'a:1' });
      logConnectionEvent(log, { kind: 'closed', line });
    }
    logReplicaEvent(log, { kind: 'lost', shard: 3, term: 5n });
    logReplicaEvent(log, { kind: 'seal', shard: 3, term: 5n });
    logReplicaEvent(log, { kind: 'reachable', reachable: true });
    logReplicaEvent(log, { kind: 'reachable', reachable: false });
    logReplicaEvent(log, { kind: 'trouble', what: 'The registers cannot be asked' });
    logRelayEvent(log, { kind: 'alone', isIsolated: true, replicas: 3 });
    logRelayEvent(log, { kind: 'alone', isIsolated: false, replicas: 3 });
    logRelayEvent(log, { kind: 'instance_replaced', instance: 'x' });
    logRelayEvent(log, { kind: 'trouble', what: 'a call', cause });
    expect(lines).toHaveLength(32);
    for (const { msg } of lines) expect(msg).toMatch(/^[A-Z].{20,}[^ ]$/);
    expect(lines.find(({ event }) => event === 'crash_recovered')).toMatchObject({
      level: 'warn',
      msg: expect.stringMatching(/2 trees of groups .* 3 leases live on, nothing is admitted for 401 ms/) as string,
    });
    expect(lines.find(({ event }) => event === 'lease_revoked')).toMatchObject({
      msg: 'Operator ops revoked a lease of group llm.',
      fields: { caller: 'ops' },
    });
  });
});

test('what an operator did, or tried, has a true sentence', () => {
  const sentence = (event: Omit<Parameters<typeof logOperator>[1], 'caller'>): string => {
    const { log, lines } = kept();
    logOperator(log, { caller: '', ...event });
    return String(lines[0]?.msg);
  };
  const overridden = { kind: 'group_overridden', group: 'llm' } as const;
  expect(
    [
      { kind: 'group_paused', group: 'nope', refused: 'unknown_group' } as const,
      { kind: 'group_paused', group: 'llm' } as const,
      { kind: 'group_paused', group: 'llm', key: 'acme' } as const,
      { ...overridden, limits: ['rpm'], forMs: 1_000 },
      { ...overridden, limits: [], forMs: 0 },
      { ...overridden, limits: [], forMs: 0, forgiveDebt: true },
      { ...overridden, limits: [], forgiveDebt: true },
      { ...overridden, limits: [], enforce: false, forMs: 1_000 },
      { ...overridden, limits: ['rpm'], enforce: true, forMs: 1_000, forgiveDebt: true },
      { ...overridden, limits: [], forMs: 0, refused: 'unknown_group' },
      { ...overridden, limits: [], enforce: false, forMs: 1_000, refused: 'unknown_group' },
      { kind: 'requests_redriven', group: '', request: '1-a', requests: 1 } as const,
      { kind: 'requests_redriven', group: '', request: '1-a', requests: 0, refused: 'conflict' } as const,
      { kind: 'requests_redriven', group: 'llm', requests: 0 } as const,
      { kind: 'requests_redriven', group: '', requests: 2 } as const,
    ].map(sentence),
  ).toEqual([
    'An operator tried to pause group nope; it was refused: unknown_group.',
    'An operator paused group llm.',
    'An operator paused a key of group llm.',
    'An operator overrode limits of group llm.',
    'An operator ended the override of group llm.',
    'An operator ended the override of group llm and forgave its debt.',
    'An operator forgave the debt of group llm.',
    'An operator stopped enforcing the limits of group llm.',
    'An operator overrode limits of group llm, enforced its limits and forgave its debt.',
    'An operator tried to end the override of group llm; it was refused: unknown_group.',
    'An operator tried to stop enforcing the limits of group llm; it was refused: unknown_group.',
    'An operator redrove request 1-a.',
    'An operator tried to redrive request 1-a; it was refused: conflict.',
    'An operator redrove 0 dead letters of group llm.',
    'An operator redrove 2 dead letters of any group.',
  ]);
});

test('a backend that dies is logged once, and once when it answers again', () => {
  const { log, lines } = kept();
  let now = 0;
  const backends = new BackendLog(log, () => now);
  const attempt = (outcome: string, url = 'http://a') => backends.take({ kind: 'attempt', route: '/', backend: 'shop', url, outcome, took: 1 });
  attempt('answered');
  attempt('aborted');
  attempt('sender');
  expect(lines).toEqual([]);
  for (let time = 0; time < 100; time++) attempt('connect');
  now = 2_500;
  attempt('answered');
  expect(lines.map(({ event, msg }) => [event, msg])).toEqual([
    ['backend_failed', 'http://a of backend shop does not answer: connect.'],
    ['backend_recovered', 'http://a of backend shop answers again, after 100 failed attempts in 2.5 s.'],
  ]);
  for (; now < 9_000; now += 100) for (const outcome of ['reset', 'answered']) attempt(outcome);
  expect(lines).toHaveLength(2);
  now = 10_000;
  attempt('reset');
  attempt('reset', 'http://b');
  expect(lines.map(({ fields }) => fields['url'])).toEqual(['http://a', 'http://a', 'http://a', 'http://b']);
});

test('a peer that dies with shards is told from one that left in order', () => {
  const { log, lines } = kept();
  const peers = new PeerLog(log);
  const there = (...names: readonly string[]) => names.map((name) => ({ replica: name, instance: `i-${name}` }));
  const gone = (name: string, shards: number, leaving: boolean) => [{ replica: name, instance: `i-${name}`, shards, leaving }];
  peers.changed(there('b', 'c', 'd'), []);
  peers.changed(there('b', 'c', 'd'), []);
  peers.changed(there('b', 'd'), gone('c', 21, false));
  peers.changed(there('d'), gone('b', 0, true));
  // Killed before it had anything.
  peers.changed([], gone('d', 0, false));
  expect(lines.map(({ level, event, fields }) => [level, event, fields['replica']])).toEqual([
    ['info', 'peer_joined', 'b'],
    ['info', 'peer_joined', 'c'],
    ['info', 'peer_joined', 'd'],
    ['warn', 'peer_lost', 'c'],
    ['info', 'peer_left', 'b'],
    ['warn', 'peer_lost', 'd'],
  ]);
  expect(lines[3]?.msg).toBe('Replica c is silent: dead or cut off, with 21 shards to be taken over.');
});
