import { describe, expect, test } from 'vitest';
import type { AcquireHandle, Outcome } from '../../src/admission/admission.ts';
import type { StoredRequestAsk, StoredSink } from '../../src/admission/stored-line.ts';
import { StoredLines } from '../../src/admission/stored-lines.ts';
import { ONE_REQUEST, PRIORITY_DEFERRED } from '../../src/core/group.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import { NEVER, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rolling, START, spacing } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Rig, rigged, settingsOf } from './rig.ts';

/** Keeps what it hears. */
class Sink implements StoredSink {
  readonly admissions: { sequence: number; outcome: Extract<Outcome, { kind: 'admitted' }>; held: AcquireHandle }[] = [];
  readonly refusals: [number, Refusal][] = [];
  readonly heard: string[] = [];

  admitted(sequence: number, outcome: Extract<Outcome, { kind: 'admitted' }>, held: AcquireHandle): void {
    this.admissions.push({ sequence, outcome, held });
  }

  refused(sequence: number, refusal: Refusal): void {
    this.refusals.push([sequence, refusal]);
  }

  opened(groups: readonly string[]): void {
    this.heard.push(`opened ${groups.join(' ')}`);
  }

  closed(groups: readonly string[]): void {
    this.heard.push(`closed ${groups.join(' ')}`);
  }

  unqueued(group: string): void {
    this.heard.push(`unqueued ${group}`);
  }

  get sequences(): readonly number[] {
    return this.admissions.map(({ sequence }) => sequence);
  }
}

function stored(sequence: number, more: Partial<StoredRequestAsk> = {}): StoredRequestAsk {
  return { key: '', priority: PRIORITY_DEFERRED, costs: ONE_REQUEST, sequence, arrivedAt: START, deadline: NEVER, lease: 10 * SECOND, ...more };
}

async function storing(...settings: Parameters<typeof rigged>[0]): Promise<{ rig: Rig; sink: Sink }> {
  const rig = await rigged(settings);
  const sink = new Sink();
  rig.admission.attach(sink);
  return { rig, sink };
}

describe('a stored request in line', () => {
  test('shares limits and order with live callers, after their classes', async () => {
    const { rig, sink } = await storing(settingsOf(group('g', [spacing(5 * SECOND)])));
    for (const sequence of [1, 2]) rig.admission.enqueue('g', stored(sequence));
    await settled();
    const live = rig.ask();
    await rig.pass(5);
    expect(sink.sequences).toEqual([1]);
    expect(live.seconds).toBe(5);
    await rig.pass(5);
    expect(sink.sequences).toEqual([1, 2]);
    expect(sink.admissions[1]?.outcome.permit.waited).toBe(10 * SECOND);
  });

  test('holds a lease that is released as any other, and lets the next one go', async () => {
    const { rig, sink } = await storing(settingsOf(group('g', [concurrency(1)])));
    for (const sequence of [1, 2]) rig.admission.enqueue('g', stored(sequence));
    await settled();
    expect(sink.sequences).toEqual([1]);
    sink.admissions[0]?.held.delivered();
    expect(await rig.admission.release({ caller: '', permit: sink.admissions[0]?.outcome.id as string, disposition: 'used' })).toEqual({
      kind: 'released',
      ended: true,
    });
    await settled();
    expect(sink.sequences).toEqual([1, 2]);
  });

  test('leaves when cancelled, and a grant that is not used goes back', async () => {
    const { rig, sink } = await storing(settingsOf(group('g', [rolling(1, 60 * SECOND)])));
    const entries = [1, 2, 3].map((sequence) => (rig.admission.enqueue('g', stored(sequence)) as { entry: number }).entry);
    await settled();
    expect(rig.admission.cancel('g', entries[1] as number, 2)).toBe(true);
    sink.admissions[0]?.held.cancel();
    await settled();
    expect(sink.sequences).toEqual([1, 3]);
    expect(rig.waiting()).toBe(0);
  });

  test('that could never pass is refused at once, and an unknown group takes none', async () => {
    const { rig } = await storing(settingsOf(group('g', [rolling(1, SECOND)])));
    expect(rig.admission.enqueue('g', stored(1, { costs: { requests: 2 } }))).toMatchObject({ refusal: { reason: 'oversized' } });
    expect(rig.admission.enqueue('h', stored(1))).toBeUndefined();
  });

  test('is forgotten once, without refusals, when its group leaves the configuration, and may enter again when it is back', async () => {
    const settings = settingsOf(group('g', [spacing(5 * SECOND)]));
    const other = settingsOf(group('other', []));
    const { rig, sink } = await storing(settings, other);
    for (let sequence = 1; sequence <= 100; sequence++) rig.admission.enqueue('g', stored(sequence));
    await settled();
    expect(await rig.admission.reconfigure([other])).toEqual([]);
    await settled();
    expect(await rig.admission.reconfigure([settings, other])).toEqual([]);
    expect(sink.heard.filter((line) => line.endsWith(' g'))).toEqual(expect.arrayContaining(['closed g', 'opened g']));
    expect(sink.heard.at(-1)).toBe('opened g');
    expect(sink.refusals).toEqual([]);
    expect(rig.waiting()).toBe(0);
    rig.admission.enqueue('g', stored(2));
    await settled();
    await rig.pass(5);
    expect(sink.sequences).toEqual([1, 2]);
  });

  test('takes the place of a live caller, who is held no more', async () => {
    const { rig, sink } = await storing(settingsOf(group('g', [spacing(5 * SECOND)])));
    const callers = [rig.ask(), rig.ask(), rig.ask()];
    await settled();
    expect(rig.admission.convert(callers[1]?.held as AcquireHandle, 7, NEVER)).toMatchObject({ group: 'g' });
    expect(rig.admission.convert(callers[0]?.held as AcquireHandle, 8, NEVER)).toBeUndefined();
    await rig.pass(10);
    expect(sink.sequences).toEqual([7]);
    expect(callers[2]?.seconds).toBe(10);
    expect(callers[1]?.told).toBe(0);
  });

  test('does not hold up a drain', async () => {
    const { rig } = await storing(settingsOf(group('g', [spacing(60 * SECOND)])));
    for (const sequence of [1, 2, 3]) rig.admission.enqueue('g', stored(sequence));
    await settled();
    const live = rig.ask();
    const drained = rig.admission.drain(SECOND);
    await rig.pass(2);
    await drained;
    expect(live.refusal?.reason).toBe('draining');
  });
});

describe('a line that shards share', () => {
  async function shared(shardOf: Readonly<Record<string, number>>): Promise<{ rig: Rig; lines: StoredLines }> {
    const rig = await rigged(Object.keys(shardOf).map((name) => settingsOf(group(name, [spacing(5 * SECOND)]))));
    return { rig, lines: new StoredLines({ line: rig.admission, shardOf: (name) => shardOf[name] }) };
  }

  test('tells the requests of two shards apart, whatever their sequences', async () => {
    const { rig, lines } = await shared({ a: 3, b: 63 });
    const [three, last] = [new Sink(), new Sink()];
    lines.of(3).attach(three);
    lines.of(63).attach(last);
    expect([three.heard, last.heard]).toEqual([['opened a'], ['opened b']]);
    const large = 2 ** 46 + 1;
    lines.of(3).enqueue('a', stored(7));
    lines.of(63).enqueue('b', stored(large));
    const queued = lines.of(63).enqueue('b', stored(7));
    await settled();
    expect([three.sequences, last.sequences]).toEqual([[7], [large]]);
    expect(queued !== undefined && 'entry' in queued && lines.of(63).cancel('b', queued.entry, 7)).toBe(true);
    await rig.pass(20);
    expect([three.sequences, last.sequences]).toEqual([[7], [large]]);
  });

  test('takes no request into a group of another shard, and drops none of the other on withdrawal', async () => {
    const { rig, lines } = await shared({ a: 3, b: 4 });
    const [three, four] = [new Sink(), new Sink()];
    lines.of(3).attach(three);
    lines.of(4).attach(four);
    expect(lines.of(3).enqueue('b', stored(1))).toBe(undefined);
    for (const sequence of [1, 2]) lines.of(4).enqueue('b', stored(sequence));
    lines.of(3).withdraw('b');
    await rig.pass(10);
    expect(four.sequences).toEqual([1, 2]);
    expect(three.heard).toEqual(['opened a']);
  });

  test('gives back the permit of a shard that has gone', async () => {
    const { rig, lines } = await shared({ a: 3 });
    const sink = new Sink();
    lines.of(3).attach(sink);
    lines.of(3).enqueue('a', stored(1));
    lines.detach(3, sink);
    await settled();
    expect(sink.sequences).toEqual([]);
    const live = rig.ask({ group: 'a' });
    await settled();
    expect(live.seconds).toBe(0);
  });
});
