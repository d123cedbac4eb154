import { once } from 'node:events';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, test } from 'vitest';
import { reset } from '../../support/fakes/tcp-proxy.ts';
import { until } from '../../support/fakes/until.ts';
import { seeded } from '../../support/seeded.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Callers who leave at any moment leave nothing behind: no place, no slot, no byte, no socket, no timer, no memory. */

const CONFIG = `backends:
  shop: { urls: [ BACKEND ] }
  firm: { urls: [ BACKEND ], onAbort: finish }
groups:
  slots: { limits: [ { name: slots, concurrency: 8 } ] }
# What is remembered of ended permits is bounded too: its bound is reached before the count begins.
bounds: { settled: 500 }
routes:
  - { match: { path: /held }, group: slots, backend: shop, body: { memory: 1KiB } }
  - { match: { path: /streamed }, group: slots, backend: shop, charge: headers }
  - { match: { path: /firm }, group: slots, backend: firm }
  - { match: { path: /straight }, backend: shop }
`;

/** Rounds at most; fewer once the heap stands still. */
const ROUNDS = 16;
const ABORTS = 1_500;
const WARM = 5_000;
/** Rounds over which the heap must stand still: it may not grow by KEPT bytes a request, a quarter of what one is made of. */
const STILL = 3;
const KEPT = 250;
/** Callers at once. */
const AT_ONCE = 64;
const PATHS = ['/held', '/streamed', '/firm', '/straight'];

let rig: ProxyRig;
afterEach(() => rig.stop());

const random = seeded(1);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends a part of a request, all of it at times, and leaves: by a reset or an end. */
async function leave(): Promise<void> {
  const socket = connect({ port: rig.port, host: '127.0.0.1' });
  socket.on('error', () => {}).resume();
  await once(socket, 'connect');
  const size = Math.floor(random() * 4_000);
  const path = PATHS[Math.floor(random() * PATHS.length)] ?? '';
  const whole = `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`;
  const stage = random();
  const sent = stage < 0.1 ? Math.floor(random() * 40) : stage < 0.35 ? whole.length - Math.ceil(random() * size) : whole.length;
  socket.write(whole.slice(0, sent));
  if (random() < 0.8) await pause(random() * 12);
  const closed = once(socket, 'close');
  if (random() < 0.5) reset(socket);
  else socket.destroy();
  await closed;
}

async function leaveOften(times: number): Promise<void> {
  let left = times;
  const next = async (): Promise<void> => {
    while (left-- > 0) await leave();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  const metrics = async (): Promise<string> => (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  await rig.shows('slots', { waiting: 0, leases: 0 });
  const quiet = ['sluice_forward_held_bodies 0', 'sluice_forward_held_bytes{where="memory"} 0', 'sluice_forward_held_bytes{where="disk"} 0'];
  const began = performance.now();
  for (let seen = await metrics(); !quiet.every((line) => seen.includes(line)); seen = await metrics()) {
    if (performance.now() - began > 60_000)
      throw new Error(
        seen
          .split('\n')
          .filter((line) => line.includes('held'))
          .join('\n'),
      );
    await pause(20);
  }
  rig.backend.seen.length = 0;
}

/** What is left in this process, the backend's side of its connections set aside. */
function left(): { readonly heap: number; readonly sockets: number; readonly timers: number } {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 4; i++) collect();
  const resources = process.getActiveResourcesInfo();
  const count = (kind: string): number => resources.filter((each) => each === kind).length;
  return { heap: process.memoryUsage().heapUsed, sockets: count('TCPSocketWrap') - rig.backend.open, timers: count('Timeout') };
}

test(`The heap stands still over ${STILL} times ${ABORTS} callers who leave at random moments`, async () => {
  rig = await proxyRig(CONFIG, (_request, socket) => {
    const began = random() < 0.5;
    if (began) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc');
    setTimeout(() => socket.writable && socket.write(began ? 'def' : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), random() * 8);
  });
  await leaveOften(WARM);
  await pause(300);
  const before = left();
  /* V8 adds and drops compiled code and tables at moments of its own choice, up to 2 MB in a round: that ends within some
     rounds, and what leaks goes on for ever. So the rounds end when the heap stood still, and fail where it never does. */
  const heaps = [before.heap];
  const grown = (): number => (heaps.at(-1) ?? 0) - (heaps.at(-1 - STILL) ?? 0);
  while (heaps.length <= STILL || grown() >= KEPT * STILL * ABORTS) {
    if (heaps.length > ROUNDS) expect.fail(`The heap grows after ${ROUNDS} rounds: ${heaps.join(', ')}`);
    await leaveOften(ABORTS);
    await pause(300);
    heaps.push(left().heap);
  }
  await until('the sockets and timers of the last callers to be gone', () => {
    const after = left();
    return after.sockets <= before.sockets + 2 && after.timers <= before.timers + 2;
  });
  // They left at every stage: within a body that was streaming, and while an answer was owed.
  expect(rig.backend.cut).toBeGreaterThan((STILL * ABORTS) / 50);
  expect(rig.backend.abandoned).toBeGreaterThan((STILL * ABORTS) / 50);
  expect((await rig.ask({ path: '/held' })).status).toBe(200);
});
