import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Reservation } from '../../src/core/events.ts';
import { type Instant, MINUTE, NEVER, SECOND } from '../../src/core/time.ts';
import { LedgerFenced, type LedgerRecord, type LedgerSnapshot, type TreeLedger } from '../../src/ledger/ledger.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { LedgerOverloaded } from '../../src/ledger/log-writer.ts';
import { MemoryDisk, MemoryStore } from '../../src/ledger/stores/memory.ts';
import type { Store } from '../../src/ledger/stores/store.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { FaultyStore, upTo } from '../support/fakes/store.ts';
import { record, reservation } from './arbitrary.ts';
import { LedgerModel, notDominated, sorted } from './model.ts';

const BYTES = 64 << 20;
const NONE: LedgerSnapshot = { reservations: [], leases: [], pauses: [], overrides: [] };

const bound = (value: number, key = 'k', slot = 0): Reservation => ({ group: 'g', limit: 'l', key, bound: { slot, value } });
const grant = (serial: number, holder = ''): LedgerRecord => ({
  kind: 'grant',
  lease: {
    group: 'g',
    key: 'k',
    term: 1n,
    serial,
    tag: { high: 1, low: 2 },
    costs: { requests: 1 },
    grantedAt: 1 as Instant,
    expiresAt: 9 as Instant,
    duration: 4,
    holder,
    aggregate: false,
  },
});
const end = (serial: number): LedgerRecord => ({ kind: 'end', group: 'g', term: 1n, serial });

function tree(store: Store, term: bigint, clock = new FakeClock()): Promise<TreeLedger> {
  return createLedger({ store, clock, term }).tree('root');
}

function rig() {
  const disk = new MemoryDisk();
  const store = new FaultyStore(new MemoryStore({ bytes: BYTES }, disk));
  return { disk, store, clock: new FakeClock() };
}

describe('the ledger', () => {
  it('gives the next term what this one wrote, and nothing to a first', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    expect(one.restored).toBeUndefined();
    await one.reserve([bound(5), bound(3), bound(7, 'other')]);
    await one.append([grant(1), grant(2), end(1)]);
    const { restored } = await tree(store, 2n);
    expect(restored?.reservations.map(({ key, bound: { value } }) => [key, value])).toEqual([
      ['k', 5],
      ['other', 7],
    ]);
    expect(restored?.leases.map(({ serial }) => serial)).toEqual([2]);
    expect(restored?.seal).toBeUndefined();
  });

  it('lets a newer term end the older one, whose next write is refused for good', async () => {
    const { store } = rig();
    const old = await tree(store, 1n);
    await old.reserve([bound(1)]);
    const next = await tree(store, 2n);
    await expect(old.append([grant(1)])).rejects.toThrow(LedgerFenced);
    await expect(old.reserve([bound(9)])).rejects.toThrow(LedgerFenced);
    await expect(old.snapshot(NONE)).rejects.toThrow(LedgerFenced);
    await next.append([grant(2)]);
    await expect(tree(store, 1n)).rejects.toThrow(LedgerFenced);
    expect((await tree(store, 3n)).restored?.leases.length).toBe(1);
  });

  it('writes what a thousand callers ask at once in a few appends', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    const before = store.appends;
    await Promise.all(Array.from({ length: 1_000 }, (_, serial) => one.append([grant(serial)])));
    expect(store.appends - before).toBe(1);
    store.hold();
    const first = one.append([grant(2_000)]);
    await settled();
    const rest = Array.from({ length: 1_000 }, (_, serial) => one.reserve([bound(serial)]));
    await settled();
    expect(store.appends - before).toBe(2);
    store.free();
    await Promise.all([first, ...rest]);
    expect(store.appends - before).toBe(3);
  });

  it('cuts what is too much for one append, and tells a caller only when all of it is there', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    store.fates = ['ok', 'ok', 'lost'];
    const many = Array.from({ length: 20_000 }, (_, index) => bound(index, `a key of some length ${index}`));
    await expect(one.reserve(many)).rejects.toThrow('The disk refused');
    await one.reserve(many);
    expect(Math.max(...store.events.map((event) => (event.kind === 'append' ? event.bytes.length : 0)))).toBeLessThan(300 << 10);
    expect((await tree(store, 2n)).restored?.reservations.length).toBe(20_000);
  });

  it('goes on after an append that was written but not heard of, and after one that was not', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    for (const fates of [['unheard'], ['lost'], ['lost', 'unheard'], ['unheard', 'unheard', 'lost']] as const) {
      store.fates = [...fates];
      await expect(one.append([grant(1)])).rejects.toThrow();
      for (const _ of fates) await one.append([grant(1)]).catch(() => {});
      await one.append([grant(2)]);
    }
    expect((await tree(store, 2n)).restored?.leases.map(({ serial }) => serial).sort()).toEqual([1, 2]);
  });

  it('knows a newer term from its own unheard append', async () => {
    const { store } = rig();
    const old = await tree(store, 1n);
    store.fates = ['unheard'];
    await expect(old.append([grant(1)])).rejects.toThrow('The answer was lost');
    await tree(store, 2n);
    await expect(old.append([grant(2)])).rejects.toThrow(LedgerFenced);
  });

  it('writes notes with the next append, or within a second, and again after a failure', async () => {
    const { store, clock } = rig();
    const one = await tree(store, 1n, clock);
    await one.append([grant(1), grant(2), grant(3)]);
    const before = store.appends;
    one.note([end(1)]);
    await settled();
    expect([store.appends - before, clock.pending]).toEqual([0, 1]);
    await one.append([grant(4)]);
    expect([store.appends - before, clock.pending]).toEqual([1, 0]);
    one.note([end(2)]);
    await clock.advanceAsync(SECOND);
    expect(store.appends - before).toBe(2);
    store.fates = ['lost'];
    one.note([end(3)]);
    await clock.advanceAsync(SECOND);
    await one.append([grant(5)]);
    expect((await tree(store, 2n)).restored?.leases.map(({ serial }) => serial)).toEqual([4, 5]);
  });

  it('refuses more while too much waits, instead of growing without end', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    store.hold();
    const page = Array.from({ length: 5_000 }, (_, index) => bound(index, 'x'.repeat(100)));
    const asked: Promise<void>[] = [];
    for (let index = 0; index < 30; index++) asked.push(one.reserve(page));
    const late = one.append([grant(1)]);
    await expect(late).rejects.toThrow(LedgerOverloaded);
    store.free();
    const done = await Promise.allSettled(asked);
    expect(done[0]?.status).toBe('fulfilled');
    expect(done.at(-1)?.status).toBe('rejected');
    await one.append([grant(1)]);
  });

  it('flushes at close', async () => {
    const { disk, store, clock } = rig();
    const ledger = createLedger({ store, clock, term: 1n });
    const one = await ledger.tree('root');
    await one.append([grant(1)]);
    one.note([end(1)]);
    const under = one.reserve([bound(4)]);
    await ledger.close();
    await under;
    await expect(one.append([grant(2)])).rejects.toThrow('closed');
    const { restored } = await tree(new MemoryStore({ bytes: BYTES }, disk), 2n);
    expect([restored?.leases, restored?.reservations.length]).toEqual([[], 1]);
  });

  it('opens a tree again in the same term with all it has written', async () => {
    const { store, clock } = rig();
    const ledger = createLedger({ store, clock, term: 1n });
    const one = await ledger.tree('root');
    one.note([grant(1)]);
    const again = await ledger.tree('root');
    expect(again.restored?.leases.length).toBe(1);
    await expect(one.append([grant(2)])).rejects.not.toThrow(LedgerFenced);
    await again.append([grant(2)]);
  });
});

describe('a snapshot', () => {
  it('is wanted after 8 MB, or a minute with anything written, or when the store is full', async () => {
    const { store, clock } = rig();
    const one = await tree(store, 1n, clock);
    expect(one.wantsSnapshot).toBe(false);
    clock.advance(2 * MINUTE);
    expect(one.wantsSnapshot).toBe(false);
    await one.append([grant(1)]);
    expect(one.wantsSnapshot).toBe(true);
    await one.snapshot(NONE);
    expect(one.wantsSnapshot).toBe(false);
    const page = Array.from({ length: 5_000 }, (_, index) => bound(index, `${index}${'x'.repeat(200)}`));
    for (let index = 0; index < 9; index++) await one.reserve(page);
    expect(one.wantsSnapshot).toBe(true);
  });

  it('replaces the history and bounds what the store holds', async () => {
    const { disk, store } = rig();
    const one = await tree(store, 1n);
    for (let index = 0; index < 200; index++) await one.reserve([bound(index, `${index}`)]);
    const before = disk.bytes;
    await one.snapshot({ ...NONE, reservations: [bound(1, 'only')] });
    expect(disk.bytes).toBeLessThan(before / 50);
    await one.append([grant(1)]);
    const { restored } = await tree(store, 2n);
    expect(restored?.reservations).toEqual([bound(1, 'only')]);
    expect(restored?.leases.length).toBe(1);
  });

  it('makes room in a full store', async () => {
    const store = new MemoryStore({ bytes: 20_000 });
    const one = await tree(store, 1n);
    const fill = async () => {
      for (let index = 0; ; index++) await one.append([grant(index)]);
    };
    await expect(fill()).rejects.toThrow('store.bytes');
    expect(one.wantsSnapshot).toBe(true);
    await one.snapshot(NONE);
    expect(one.wantsSnapshot).toBe(false);
    await one.append([grant(1)]);
  });

  it('of many parts counts only when it is whole', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    await one.append([grant(7)]);
    const many = Array.from({ length: 20_000 }, (_, index) => bound(index, `a key of some length ${index}`));
    store.fates = ['ok', 'lost'];
    await expect(one.snapshot({ ...NONE, reservations: many })).rejects.toThrow('The disk refused');
    const { restored } = await tree(new MemoryStore({ bytes: BYTES }, rigOf(store)), 2n);
    expect([restored?.leases.length, restored?.reservations.length]).toEqual([1, 0]);
    await one.snapshot({ ...NONE, reservations: many });
    expect((await tree(store, 2n)).restored?.reservations.length).toBe(20_000);
  });
});

/** A copy of what reached the disk so far. */
function rigOf(store: FaultyStore): MemoryDisk {
  const disk = new MemoryDisk();
  // Appends of the memory store happen before its promise settles.
  void upTo(new MemoryStore({ bytes: BYTES }, disk), store.events, store.events.length);
  return disk;
}

describe('a seal', () => {
  const seal = { at: 77 as Instant, limits: [{ group: 'g', limit: 'l', key: undefined, state: [1, 2.5, -3] }] };

  it('gives the next term the exact state, and ends the chain', async () => {
    const { store } = rig();
    const one = await tree(store, 1n);
    const before = one.append([grant(1)]);
    await one.seal(seal, { ...NONE, reservations: [bound(5)] });
    await before;
    await expect(one.append([grant(2)])).rejects.toThrow('sealed');
    const { restored } = await tree(store, 2n);
    expect(restored?.seal).toEqual(seal);
    expect(restored?.reservations).toEqual([bound(5)]);
  });

  it('counts no more once a later term was here, whose use of it nobody wrote down', async () => {
    const { store } = rig();
    await (await tree(store, 1n)).seal(seal, { ...NONE, reservations: [bound(5)] });
    await tree(store, 2n);
    const { restored } = await tree(store, 3n);
    expect(restored?.seal).toBeUndefined();
    expect(restored?.reservations).toEqual([bound(5)]);
  });
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      reservations: fc.array(reservation, { maxLength: 4 }),
      records: fc.array(record, { maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('note' as const), records: fc.array(record, { maxLength: 3 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'snapshot' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
);

describe('replay', () => {
  it('says what a plain model says, over snapshots and restarts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const { store, clock } = rig();
        const model = new LedgerModel();
        let term = 1n;
        let one = await tree(store, term, clock);
        for (const now of [...steps, { do: 'restart' as const }]) {
          if (now.do === 'write') {
            await Promise.all([one.reserve(now.reservations), one.append(now.records)]);
            for (const each of now.reservations) model.reserve(each);
            for (const each of now.records) model.record(each);
          } else if (now.do === 'note') {
            one.note(now.records);
            for (const each of now.records) model.record(each);
          } else if (now.do === 'snapshot') await one.snapshot(model.snapshot());
          else {
            await clock.advanceAsync(SECOND);
            one = await tree(store, ++term, clock);
            expect(sorted(one.restored)).toEqual(sorted(model.snapshot()));
          }
        }
      }),
      {
        numRuns: 300,
        examples: [
          [
            [
              { do: 'note', records: [{ kind: 'pause', pause: { group: 'llm', key: undefined, until: NEVER } }] },
              { do: 'write', reservations: [], records: [] },
            ],
          ],
        ],
      },
    );
  });

  it('after a crash at any record dominates all that had been acknowledged by then', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), fc.boolean(), async (steps, sealing) => {
        const { store, clock } = rig();
        // `model` has what was acknowledged, `gate` the notes beside it, which a crash may lose.
        const model = new LedgerModel();
        const gate = new LedgerModel();
        const acknowledged: { events: number; state: LedgerSnapshot }[] = [];
        let one = await tree(store, 1n, clock);
        for (const now of steps) {
          // Ends count from the moment they are asked for: a lease that was given back may be missing or there.
          const records = now.do === 'write' || now.do === 'note' ? now.records : [];
          for (const each of records) {
            if (each.kind === 'end') model.record(each);
            gate.record(each);
          }
          acknowledged.push({ events: store.events.length, state: model.snapshot() });
          if (now.do === 'write') {
            await one.reserve(now.reservations);
            await one.append(now.records);
            for (const each of now.records) model.record(each);
            for (const each of now.reservations) {
              model.reserve(each);
              gate.reserve(each);
            }
          } else if (now.do === 'note') one.note(now.records);
          if (now.do === 'snapshot') await one.snapshot(gate.snapshot());
          if (now.do === 'restart') {
            await clock.advanceAsync(SECOND);
            one = await tree(store, BigInt(store.events.length + 1), clock);
          }
          if (now.do !== 'note') acknowledged.push({ events: store.events.length, state: model.snapshot() });
        }
        if (sealing) await one.seal({ at: clock.now(), limits: [] }, gate.snapshot());
        for (let count = 0; count <= store.events.length; count++) {
          const disk = new MemoryStore({ bytes: BYTES });
          await upTo(disk, store.events, count);
          const { restored } = await tree(disk, 1_000_000n);
          const due = acknowledged.filter(({ events }) => events <= count).at(-1)?.state ?? NONE;
          const ended = new Set(
            steps.flatMap((each) => ('records' in each ? each.records : [])).flatMap((each) => (each.kind === 'end' ? [`${each.term}.${each.serial}`] : [])),
          );
          const sure = { ...due, leases: due.leases.filter(({ term, serial }) => !ended.has(`${term}.${serial}`)) };
          expect(notDominated(restored, sure)).toEqual([]);
        }
      }),
      { numRuns: 150 },
    );
  });
});
