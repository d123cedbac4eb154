import { expect, test } from 'vitest';
import type { Timers } from '../../../src/coordination/replica.ts';
import { MILLISECOND, plus, SECOND } from '../../../src/core/time.ts';
import { TakeoverBarriers } from '../../../src/relay/takeover-barrier.ts';
import type { RelayMessage } from '../../../src/relay/transport/codec.ts';
import { PeerTransport, type PeerTransportDeps } from '../../../src/relay/transport/peer-transport.ts';
import { askOf } from '../../admission/rig.ts';
import { Dice } from '../../sim/dice.ts';
import { FakeClock, settled } from '../../support/fakes/clock.ts';
import { Bus } from '../fleet.ts';

/** Two ends on one bus. */
function pair(waitingMax = 10) {
  const clock = new FakeClock();
  const bus = new Bus(clock, new Dice(1));
  const timers: Timers = { after: (delay, act) => clock.at(plus(clock.now(), delay), act) };
  const live = new Set(['a', 'b']);
  const open = (instance: string) => {
    const heard: RelayMessage[] = [];
    const gone: string[] = [];
    const silent: boolean[] = [];
    let lives = 0;
    const deps: PeerTransportDeps = {
      ...{ instance, messages: bus.of(instance), timers, maxWaiting: waitingMax },
      now: () => clock.now(),
      defer: (run) => void clock.at(plus(clock.now(), 50), run),
      peers: () => [...live].map((name) => ({ replica: name.charAt(0), instance: name })),
      newName: () => `${instance}${++lives}`,
      onMessage: (_peer, op) => heard.push(op),
      onSilence: (_peer, is) => silent.push(is),
      onPeerLost: (peer) => gone.push(peer),
      onInstanceReplaced: (name) => live.add(name),
      onTrouble: () => {},
    };
    return { links: new PeerTransport(deps), heard, gone, silent };
  };
  return { clock, bus, live, a: open('a'), b: open('b') };
}

const large = (wid: number): RelayMessage => ({ op: 'ask', wid: wid, shard: 0, term: 1n, limits: false, ask: askOf({ holder: 'x'.repeat(100_000) }) });

test('Asks beyond what the channel takes wait, a bounded number of them; cancels and calls are taken whatever comes, in order', async () => {
  const { clock, bus, a, b } = pair(10);
  bus.cut = () => true;
  const fates = Array.from({ length: 100 }, (_, index) => a.links.send('b', large(index)));
  const taken = fates.filter((fate) => fate === 'sent').length;
  expect(fates.slice(taken)).toEqual(Array(100 - taken).fill('full'));
  expect(taken).toBeGreaterThan(40);
  for (let wid = 0; wid < 100; wid++) expect(a.links.send('b', { op: 'cancel', wid: wid })).toBe('sent');
  bus.cut = () => false;
  await clock.advanceAsync(SECOND);
  const names = b.heard.map((op) => `${op.op} ${'wid' in op ? op.wid : ''}`);
  expect(names).toEqual([...Array.from({ length: taken }, (_, wid) => `ask ${wid}`), ...Array.from({ length: 100 }, (_, wid) => `cancel ${wid}`)]);
  expect(a.links.send('b', large(1000))).toBe('sent');
});

test('Nothing is repeated and no timer but the look at the peers runs while nobody says anything', async () => {
  const { clock, bus, a, b } = pair();
  a.links.send('b', { op: 'cancel', wid: 1 });
  await clock.advanceAsync(SECOND);
  expect(b.heard).toHaveLength(1);
  const { sent } = bus;
  await clock.advanceAsync(10 * SECOND);
  expect(bus.sent).toBe(sent);
  expect(clock.pending).toBe(2);
});

test('What was sent while the connection was away goes again at once when it is back', async () => {
  const { clock, bus, a, b } = pair();
  bus.cut = () => true;
  a.links.send('b', { op: 'cancel', wid: 1 });
  await clock.advanceAsync(10 * MILLISECOND);
  bus.cut = () => false;
  a.links.reconnected();
  await clock.advanceAsync(MILLISECOND);
  expect(b.heard).toHaveLength(1);
});

test('An address that was given up is never spoken to again, and is told so', async () => {
  const { clock, bus, live, a, b } = pair();
  a.links.send('b', { op: 'cancel', wid: 1 });
  b.links.send('a', { op: 'cancel', wid: 1 });
  await clock.advanceAsync(SECOND);
  live.clear();
  bus.cut = () => true;
  await clock.advanceAsync(16 * SECOND);
  expect([a.gone, b.gone]).toEqual([['b'], ['a']]);
  expect(a.links.send('b', { op: 'cancel', wid: 2 })).toBe('ended');
  bus.cut = () => false;
  live.add('a').add('b');
  await clock.advanceAsync(SECOND);
  // Each told the other; both go on under new names.
  expect([...live]).toEqual(['a', 'b', 'a1', 'b1']);
  live.delete('a');
  live.delete('b');
  expect(a.links.send('b1', { op: 'cancel', wid: 3 })).toBe('sent');
  await clock.advanceAsync(SECOND);
  expect(b.heard.at(-1)).toEqual({ op: 'cancel', wid: 3 });
});

test('A replica that stops is not taken for dead before its last callers are answered, though its heartbeats have ended', async () => {
  const { clock, live, a, b } = pair();
  a.links.send('b', { op: 'cancel', wid: 1 });
  await clock.advanceAsync(SECOND);
  live.delete('a');
  a.links.beginShutdown();
  await clock.advanceAsync(20 * SECOND);
  expect([b.silent, b.gone]).toEqual([[], []]);
  a.links.close();
  await clock.advanceAsync(16 * SECOND);
  expect([b.silent, b.gone]).toEqual([[true], ['a']]);
});

test('The address of a replica that began anew is over once nothing more comes of it', async () => {
  const { clock, live, a, b } = pair();
  a.links.send('b', { op: 'cancel', wid: 1 });
  b.links.send('a', { op: 'cancel', wid: 1 });
  await clock.advanceAsync(SECOND);
  b.links.close();
  live.delete('b');
  live.add('b1');
  await clock.advanceAsync(1.2 * SECOND);
  expect(a.gone).toEqual(['b']);
});

test('A barrier lifts when everybody is back, whoever is gone is not waited for, and 150 ms is all it takes', async () => {
  const clock = new FakeClock();
  const timers: Timers = { after: (delay, act) => clock.at(plus(clock.now(), delay), act) };
  const barriers = new TakeoverBarriers({ timers, peers: () => ['b', 'c'] });
  const lifted: string[] = [];
  const raise = (name: string, shard: number, term: bigint) => void barriers.arm(shard, term, '').then(() => lifted.push(name));
  raise('all back', 1, 5n);
  for (const peer of ['', 'b']) barriers.onPeerRejoined(peer, 1, 5n);
  barriers.onPeerRejoined('c', 1, 4n);
  await settled();
  expect(lifted).toEqual([]);
  barriers.onPeerRejoined('c', 1, 5n);
  await settled();
  expect(lifted).toEqual(['all back']);
  // They may be faster than the word that the shard is here.
  for (const peer of ['', 'b', 'c']) barriers.onPeerRejoined(peer, 2, 6n);
  raise('early', 2, 6n);
  raise('gone', 3, 7n);
  barriers.onPeerRejoined('', 3, 7n);
  barriers.onPeerRejoined('b', 3, 7n);
  barriers.onPeersChanged(new Set(['', 'b']));
  raise('late', 4, 8n);
  await clock.advanceAsync(149 * MILLISECOND);
  expect(lifted).toEqual(['all back', 'early', 'gone']);
  await clock.advanceAsync(MILLISECOND);
  expect(lifted).toEqual(['all back', 'early', 'gone', 'late']);
});
