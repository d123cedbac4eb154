import { afterAll, beforeAll, expect, test } from 'vitest';
import { Asking } from '../cluster/asking.ts';
import { Fleet } from '../faults/fleet.ts';
import { type BackendWire, ScriptedBackend } from '../support/fakes/backend.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { until } from '../support/fakes/until.ts';

/*
 * kill -9 of replicas that forward and decide: docs/forward.md promises that what the owner that died had given is held for 10 s after the next one
 * began, at most. That the next one is killed too does not make it longer.
 */

showLogsOfFailures();

const SLOTS = 4;
/** Of a forwarded request, where its group says no less. */
const LEASE_MS = 10_000;
/** Leases are renewed after a third of their life: those of these requests have been after this, and are on record for two lives. */
const RENEWED_MS = 5_000;
/** Times at most that requests are sent anew because their group was handed over meanwhile, as shards are shared out. */
const TRIES = 4;
/** Between the kill of one owner and that of the next, which has begun by then. */
const BETWEEN_MS = 7_000;

/** What the backend has not answered. */
const held: BackendWire[] = [];
let backend: ScriptedBackend;
let fleet: Fleet;
let asking: Asking;

beforeAll(async () => {
  backend = await ScriptedBackend.open((_seen, wire) => void held.push(wire));
  const more = [
    `backends: { slow: { urls: [ "http://127.0.0.1:${backend.port}" ], timeout: { firstByte: 5m } } }`,
    "routes: [ { match: { path: '/*' }, group: slots, backend: slow } ]",
  ];
  const groups = `  slots: { limits: [ { name: slots, concurrency: ${SLOTS} } ], ttl: { default: 60s, max: 60s }, lease: { default: 60s, max: 60s } }`;
  fleet = await Fleet.start({ binary: { path: natsBinary() }, nats: 1, replicas: 3, groups, proxy: true, more: more.join('\n') });
  asking = new Asking(fleet);
  await fleet.decided(['slots']);
});

afterAll(async () => {
  await fleet?.clean();
  await backend?.close();
});

/** Sends so many requests at once through a replica; they end with it, or with the test. */
function send(replica: number, count: number): void {
  for (let each = 0; each < count; each++) void fetch(`http://127.0.0.1:${fleet.replicas[replica]?.proxyPort}/`).catch(() => undefined);
}

/** Resolves with the owner of the group, which forwards so many requests of it and has renewed their leases. */
async function forwarding(count: number): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const owner = await asking.owner('slots');
    const before = backend.begun;
    send(owner, count);
    await backend.until(() => backend.begun === before + count);
    const sentAt = performance.now();
    await until('the leases to be renewed', () => performance.now() - sentAt > RENEWED_MS);
    if ((await asking.owner('slots')) === owner) return owner;
    for (const wire of held.splice(0)) wire.answer(200);
    await until('the slots to be free', async () => (await asking.leases('slots')) === 0);
  }
  throw new Error('the group was handed over again and again');
}

/** Ends a replica as the end of its machine would. */
async function kill(replica: number): Promise<void> {
  const { process } = fleet.replicas[replica] as (typeof fleet.replicas)[number];
  process.kill();
  await process.exit;
}

test('Slots of a replica that was killed are given on 10 s after the next owner began, also where that one is killed within the 10 s', async () => {
  const first = await forwarding(SLOTS);
  const before = backend.begun;
  await kill(first);
  const killedAt = performance.now();
  const live = [0, 1, 2].filter((index) => index !== first);
  await until('the next owner', async () => {
    const owner = await asking.owner('slots').catch(() => first);
    return live.includes(owner);
  });
  const takeover = performance.now() - killedAt;
  expect(takeover).toBeGreaterThan(100);
  const second = await asking.owner('slots');
  const third = live.find((index) => index !== second) as number;
  send(third, SLOTS);
  await until('the second kill to be due', () => performance.now() - killedAt > BETWEEN_MS);
  expect(backend.begun).toBe(before);
  await kill(second);
  const secondAfter = performance.now() - killedAt;
  await backend.until(() => backend.begun === before + SLOTS);
  const heldFor = performance.now() - killedAt;
  // No request that may still have been renewed at the kill is done out of its slot.
  expect(heldFor).toBeGreaterThan((LEASE_MS * 2) / 3 - 500);
  // Else it would be a whole lease after the third began, which is after the second kill.
  expect(heldFor).toBeLessThan(secondAfter + LEASE_MS);
});
