import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MILLISECOND, MINUTE } from '../../../src/core/time.ts';
import { Channels, FRAME_BYTES, FRAMES_MAX, type Frame, ReliableChannel, WINDOW_BYTES_MAX } from '../../../src/relay/transport/channel.ts';

type Text = ReliableChannel<string>;

const channel = (own: string, peer: string, bytesOf: (op: string) => number = (op) => op.length): Text => new ReliableChannel({ own, peer, bytesOf });
const data = (frames: readonly Frame<string>[]) => frames.filter(({ seq }) => seq > 0).map(({ seq, ops }) => [seq, ...ops]);

describe('a channel', () => {
  it('sends at once when nothing is under way, and gathers while something is', () => {
    const a = channel('a', 'b');
    a.send('1', 0);
    expect(data(a.takeFrames())).toEqual([[1, '1']]);
    a.send('2', 10);
    a.send('3', 20);
    expect(a.takeFrames()).toEqual([]);
    expect(a.wakeAt()).toBe(10 + MILLISECOND);
    a.tick(10 + MILLISECOND);
    expect(data(a.takeFrames())).toEqual([[2, '2', '3']]);
  });

  it('sends what was gathered as soon as nothing is under way any more', () => {
    const a = channel('a', 'b');
    const b = channel('b', 'a');
    a.send('1', 0);
    for (const frame of a.takeFrames()) b.receive(frame, 50);
    a.send('2', 60);
    b.send('an answer', 70);
    for (const frame of b.takeFrames()) a.receive(frame, 100);
    expect(data(a.takeFrames())).toEqual([[2, '2']]);
  });

  it('lets wait what is in no hurry: for others that are, for an acknowledgement that is due, or its time', () => {
    const a = channel('a', 'b');
    const b = channel('b', 'a');
    a.send('no hurry', 0, 5_000);
    expect([a.takeFrames(), a.wakeAt()]).toEqual([[], 5_000]);
    a.send('hurry', 1_000);
    const [frame] = a.takeFrames();
    expect(frame?.ops).toEqual(['no hurry', 'hurry']);
    b.receive(frame as Frame<string>, 1_100);
    b.send('no hurry either', 2_000, 9_000);
    expect([b.takeFrames(), b.wakeAt()]).toEqual([[], 6_100]);
    b.tick(6_100);
    const answers = b.takeFrames();
    expect(answers.map(({ ack, ops }) => [ack, ...ops])).toEqual([[1, 'no hurry either']]);
    // What is acknowledged meanwhile hurries nobody.
    a.send('later', 6_200, 5_000);
    for (const answer of answers) a.receive(answer, 6_300);
    expect(data(a.takeFrames())).toEqual([]);
    a.tick(11_200);
    expect(data(a.takeFrames())).toEqual([[2, 'later']]);
  });

  it('tells of a gap at once, and is sent what is missing before it would be sent anyway', () => {
    const a = channel('a', 'b');
    const b = channel('b', 'a');
    a.send('1', 0);
    const [lost] = a.takeFrames();
    expect(lost?.seq).toBe(1);
    a.send('2', 100);
    a.tick(2 * MILLISECOND);
    for (const frame of a.takeFrames()) expect(b.receive(frame, 6 * MILLISECOND)).toEqual([]);
    const answers = b.takeFrames();
    expect(answers.map(({ ack, gap }) => [ack, gap])).toEqual([[0, true]]);
    for (const frame of answers) a.receive(frame, 7 * MILLISECOND);
    const again = a.takeFrames();
    expect(data(again)).toEqual([[1, '1']]);
    expect(again.flatMap((frame) => b.receive(frame, 8 * MILLISECOND))).toEqual(['1', '2']);
  });

  it('sends again after 50 ms, or when the connection came back', () => {
    const a = channel('a', 'b');
    a.send('1', 0);
    a.takeFrames();
    a.tick(49 * MILLISECOND);
    expect(a.takeFrames()).toEqual([]);
    a.tick(50 * MILLISECOND);
    expect(data(a.takeFrames())).toEqual([[1, '1']]);
    a.reconnected(60 * MILLISECOND);
    expect(data(a.takeFrames())).toEqual([[1, '1']]);
  });

  it(`takes ${FRAMES_MAX} frames and one more to be gathered, then none until something is acknowledged`, () => {
    const a = channel('a', 'b', () => FRAME_BYTES);
    const small = channel('a', 'b', () => FRAME_BYTES / 64);
    for (let sent = 0; sent < WINDOW_BYTES_MAX / FRAME_BYTES; sent++) expect(a.send(`${sent}`, sent)).toBe(true);
    expect(a.writable).toBe(false);
    expect(a.send('one past the bytes', 0)).toBe(false);
    for (let sent = 0; sent < FRAMES_MAX; sent++) {
      expect(small.send(`${sent}`, 2 * sent * MILLISECOND)).toBe(true);
      small.tick((2 * sent + 1) * MILLISECOND);
    }
    const b = channel('b', 'a');
    let taken = 0;
    while (small.send('more', 600_000)) taken++;
    expect(taken).toBe(64);
    for (const frame of small.takeFrames()) b.receive(frame, 600_000);
    b.tick(700_000);
    for (const frame of b.takeFrames()) small.receive(frame, 700_000);
    expect(small.send('room again', 700_000)).toBe(true);
  });

  it('says nothing to frames of another life', () => {
    const b = channel('b', 'a');
    const other = channel('a, restarted', 'b');
    other.send('x', 0);
    expect(other.takeFrames().flatMap((frame) => b.receive(frame, 0))).toEqual([]);
    const a = channel('a', 'b');
    a.send('y', 0);
    const restarted = channel('b, restarted', 'a');
    expect(a.takeFrames().flatMap((frame) => restarted.receive(frame, 0))).toEqual([]);
  });

  it('delivers everything once and in order over any network', () => {
    const step = fc.record({ to: fc.constantFrom('a' as const, 'b' as const), say: fc.nat(3), fate: fc.nat(9), pick: fc.nat(50), by: fc.nat(60) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const ends = { a: channel('a', 'b'), b: channel('b', 'a') };
        const sent = { a: [] as string[], b: [] as string[] };
        const got = { a: [] as string[], b: [] as string[] };
        const air: Frame<string>[] = [];
        let now = 0;
        const flow = () => {
          for (const end of ['a', 'b'] as const) air.push(...ends[end].takeFrames());
        };
        const land = (frame: Frame<string>) => got[frame.to as 'a' | 'b'].push(...ends[frame.to as 'a' | 'b'].receive(frame, now));
        for (const { to, say, fate, pick, by } of steps) {
          now += by * MILLISECOND;
          const from = to === 'a' ? 'b' : 'a';
          for (let words = 0; words < say; words++) if (ends[from].send(`${sent[to].length}`, now)) sent[to].push(`${sent[to].length}`);
          for (const end of Object.values(ends)) end.tick(now);
          flow();
          const [frame] = air.length === 0 ? [] : air.splice(pick % air.length, fate === 0 ? 0 : 1);
          if (frame !== undefined && fate > 2) land(frame);
          if (fate === 0 && air[0] !== undefined) land(air[0]);
        }
        for (let round = 0; round < 20; round++) {
          now += 60 * MILLISECOND;
          for (const end of Object.values(ends)) end.tick(now);
          flow();
          for (const frame of air.splice(0)) land(frame);
          flow();
        }
        expect(got).toEqual(sent);
        // Idle: nothing is repeated and no timer runs.
        for (const end of Object.values(ends)) expect(end.wakeAt()).toBe(Number.POSITIVE_INFINITY);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the channels of an instance', () => {
  it('open with the first word of either side, and never again once that life is over (found by the simulation)', () => {
    const a = new Channels<string>({ own: 'a', bytesOf: (op) => op.length });
    const b = new Channels<string>({ own: 'b', bytesOf: (op) => op.length });
    expect(a.to('b')?.send('1', 0)).toBe(true);
    const frames = a.takeFrames();
    expect(frames.flatMap((frame) => b.receive(frame, 0))).toEqual(['1']);
    expect(b.peers).toEqual(['a']);
    b.close('a', 0);
    // What comes late would be delivered a second time.
    expect(frames.flatMap((frame) => b.receive(frame, 0))).toEqual([]);
    expect(b.to('a')).toBeUndefined();
    b.tick(MINUTE);
    expect(b.to('a')).toBeUndefined();
    b.tick(MINUTE + 1);
    expect(b.to('a')).toBeDefined();
  });
});
