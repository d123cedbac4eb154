import { expect, test } from 'vitest';
import type { GroupView } from '../../src/admission/admission.ts';
import { type Instant, type Micros, plus, SECOND } from '../../src/core/time.ts';
import { type ListGroupsDeps, listGroups } from '../../src/relay/cluster-view.ts';
import type { Reply } from '../../src/relay/owner-client.ts';
import { START } from '../core/specs.ts';

/** A peer stops to answer after so many pages, so that an endless loop is a failure and no hang. */
const CALLS_MAX = 2_000;

const view = (name: string): GroupView => ({ name, counters: {}, limits: [] }) as unknown as GroupView;
const pageOf = (from: number, count: number): readonly GroupView[] => Array.from({ length: count }, (_, index) => view(`g${from + index}`));

interface Peer {
  readonly page: (from: number) => readonly GroupView[];
  /** How long each answer takes. */
  readonly takes?: Micros;
}

async function asked({ page, takes = 0 }: Peer): Promise<{ readonly calls: number; readonly took: Micros }> {
  let now: Instant = START;
  let calls = 0;
  const make = async (_peer: string, _method: string, args: { from: number }): Promise<Reply> => {
    now = plus(now, takes);
    return ++calls > CALLS_MAX ? { how: 'lost' } : { how: 'value', value: page(args.from), by: 0 };
  };
  const parts = {
    admission: { groups: async () => [] },
    directory: { all: () => new Map(), of: () => undefined },
    calls: { make },
    place: () => ({ at: 'nowhere' }),
    peers: () => ['peer'],
    now: () => now,
  };
  await listGroups(parts as unknown as ListGroupsDeps);
  return { calls, took: now - START };
}

test('A listing asks a peer for pages until one is empty', async () => {
  expect(await asked({ page: (from) => pageOf(from, from < 1_000 ? 500 : 0) })).toEqual({ calls: 3, took: 0 });
});

test('A listing asks a peer that ignores the offset for one page more than it has', async () => {
  expect(await asked({ page: () => pageOf(0, 500) })).toEqual({ calls: 2, took: 0 });
});

test('A listing stops at 100,000 groups of a peer whose pages never end', async () => {
  expect(await asked({ page: (from) => pageOf(from, 500) })).toEqual({ calls: 200, took: 0 });
});

test('A listing stops after 5 s of a peer whose pages are slow and small', async () => {
  expect(await asked({ page: (from) => pageOf(from, 1), takes: SECOND / 2 })).toEqual({ calls: 10, took: 5 * SECOND });
});
