import { expect, test } from 'vitest';
import { type Instant, MINUTE, SECOND } from '../../../src/core/time.ts';
import type { ForwardEvent } from '../../../src/proxy/forwarding.ts';
import type { BackendSpec } from '../../../src/proxy/route.ts';
import { BackendRegistry } from '../../../src/proxy/upstream/backend.ts';
import { PlayedForwarder } from '../../support/fakes/forwarder.ts';

const spec = (name: string, url = 'http://a'): BackendSpec => ({
  name,
  urls: [url, 'http://b'],
  timeout: { connect: SECOND, firstByte: MINUTE, idle: MINUTE },
  concurrency: undefined,
  onAbort: 'cancel',
  eject: { failures: 1, for: MINUTE },
  queue: { requestsMax: 10_000, wait: 30 * SECOND },
  resolveEvery: MINUTE,
  tls: undefined,
});

function linesOf(specs: readonly BackendSpec[]) {
  const events: ForwardEvent[] = [];
  const made: (PlayedForwarder & { of: string })[] = [];
  const forwarder = ({ name }: BackendSpec) => {
    const each = Object.assign(new PlayedForwarder(), { of: name });
    made.push(each);
    return each;
  };
  return { lines: new BackendRegistry(specs, { forwarder, events: (event) => events.push(event), onError: () => {} }), events, made };
}

test('nothing is in force before it is said, and one that is as it was stays', () => {
  const { lines, made } = linesOf([spec('a'), spec('b')]);
  const [a, b] = [lines.of('a'), lines.of('b')];
  const inForce = lines.prepare([spec('a'), spec('b', 'http://c'), spec('d')]);
  expect([lines.of('a') === a, lines.of('b') === b]).toEqual([true, true]);
  expect(() => lines.of('d')).toThrow('No backend is called d.');
  inForce();
  expect([lines.of('a') === a, lines.of('b') === b, lines.of('d').spec.name]).toEqual([true, false, 'd']);
  expect(made.map(({ of, closed }) => [of, closed])).toEqual([
    ['a', false],
    ['b', true],
    ['b', false],
    ['d', false],
  ]);
});

test('one in use is closed when the last has left, also where that one moves on', () => {
  const { lines, made } = linesOf([spec('a')]);
  const old = lines.of('a');
  old.enter();
  old.enter();
  lines.prepare([spec('a', 'http://c')])();
  expect(made[0]?.closed).toBe(false);
  expect(old.moved()).toBe(lines.of('a'));
  expect(made[0]?.closed).toBe(false);
  old.leave();
  expect(made.map(({ closed }) => closed)).toEqual([true, false]);
  lines.prepare([])();
  expect(made[1]?.closed).toBe(false);
});

const TAKER = { onUrl() {}, onNoUrl() {} };

test('a URL that was out and is configured no more is out no more', () => {
  const { lines, events } = linesOf([spec('a')]);
  const line = lines.of('a');
  line.enter();
  line.choice.take(0 as Instant, new Set(), TAKER)?.end(0 as Instant, 'failed');
  const late = line.choice.take(0 as Instant, new Set(), TAKER);
  lines.prepare([])();
  late?.end(0 as Instant, 'failed');
  expect(events.map(({ kind }) => kind)).toEqual(['ejected', 'restored']);
});
