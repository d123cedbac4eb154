import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createAuth } from '../../src/api/auth.ts';
import { DeferredApi } from '../../src/api/deferred/service.ts';
import { SECOND } from '../../src/core/time.ts';
import type { RequestView } from '../../src/deferred/deferred.ts';
import type { Change, LocalStore } from '../../src/deferred/store.ts';
import { LmdbDeferredStore } from '../../src/deferred/stores/lmdb.ts';
import { LmdbFile } from '../../src/storage/lmdb.ts';
import { settingsOf } from '../admission/rig.ts';
import { group, rolling } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { fakeAccess } from '../support/fakes/deferred.ts';
import { folder } from '../support/fakes/folder.ts';
import { ANYONE, DeferredRig } from './rig.ts';

const open = settingsOf(group('g', [rolling(1_000, SECOND)]));
const EVERYTHING = { group: '', key: '', failure: '', since: undefined, until: undefined };
const CALLER = { caller: '' } as Parameters<DeferredApi['list']>[0];

/** Reads a page of requests of any state, as callers of every protocol do. */
function pagesOf(rig: DeferredRig) {
  const api = new DeferredApi({ auth: createAuth([]), admission: {} as never }, fakeAccess(rig.service, []));
  return async (pageSize: number, pageToken = ''): Promise<{ readonly shown: readonly RequestView[]; readonly next: string }> => {
    const page = await api.list(CALLER, undefined, EVERYTHING, { pageSize, pageToken });
    if ('reason' in page) throw new Error(`${page.reason}: ${page.detail}`);
    return { shown: page.requests, next: page.next };
  };
}

/** Makes commits with an end, or with a redrive, wait for `pass`. */
function held(store: LocalStore, kind: Change['kind']): { pass: () => void } {
  const gate = { pass: (): void => {} };
  const commit = store.commit.bind(store);
  const passed = new Promise<void>((resolve) => {
    gate.pass = resolve;
  });
  store.commit = async (batch) => {
    if (batch.some((change) => change.kind === kind)) await passed;
    return commit(batch);
  };
  return gate;
}

describe('a list of requests of any state', () => {
  test('shows a request whose end is being stored', async () => {
    const rig = await new DeferredRig([open]).start();
    const gate = held(rig.store, 'end');
    const { id } = await rig.submit();
    await rig.pass(1);
    const read = pagesOf(rig);
    expect((await read(10)).shown).toMatchObject([{ id, state: 'sending' }]);
    gate.pass();
    await settled();
    expect((await read(10)).shown).toMatchObject([{ id, state: 'done' }]);
  });

  test('shows a dead letter that is redriven between two pages', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = ({ target }) => (target === '/dead' ? { status: 400 } : { status: 200, takesMs: 3_600_000 });
    const first = await rig.submit();
    const second = await rig.submit();
    const { id } = await rig.submit({ target: '/dead' });
    await rig.pass(1);
    const read = pagesOf(rig);
    const before = await read(2);
    expect(before.shown.map((request) => request.id)).toEqual([first.id, second.id]);
    rig.behave = () => ({ status: 200, takesMs: 3_600_000 });
    expect(await rig.service.redrive(ANYONE, id)).toBeUndefined();
    expect((await read(2, before.next)).shown.map((request) => request.id)).toEqual([id]);
  });

  test('shows a dead letter whose redrive is on disk and not yet in memory', async () => {
    const rig = await new DeferredRig([open]).start();
    rig.behave = () => ({ status: 400 });
    const { id } = await rig.submit();
    await rig.pass(1);
    rig.behave = () => ({ status: 200, takesMs: 3_600_000 });
    const commit = rig.store.commit.bind(rig.store);
    const gate = Promise.withResolvers<void>();
    rig.store.commit = async (batch) => {
      await commit(batch);
      if (batch.some(({ kind }) => kind === 'redrive')) await gate.promise;
    };
    const redriven = rig.service.redrive(ANYONE, id);
    await settled();
    const page = pagesOf(rig)(10);
    await settled();
    gate.resolve();
    await redriven;
    expect((await page).shown.map((request) => request.id)).toEqual([id]);
  });

  test('shows each request that exists throughout exactly once, whatever happens between its pages', async () => {
    const step = fc.record({ act: fc.constantFrom('hang', 'done', 'dead', 'cancel', 'redrive', 'sweep'), which: fc.nat(60) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), async (steps, size) => {
        const { path, end: remove } = await folder();
        const file = new LmdbFile(path, undefined, 'binary');
        try {
          const rig = new DeferredRig([open]);
          rig.store = new LmdbDeferredStore(file, { bytesMax: 2 ** 40 });
          rig.behave = ({ target }) => ({ '/dead': { status: 400 }, '/done': { status: 200 } })[target] ?? { status: 0 };
          await rig.start();
          const ids: string[] = [];
          const happen = async ({ act, which }: (typeof steps)[number]): Promise<void> => {
            const id = ids[which % ids.length] ?? '';
            if (act === 'cancel') await rig.service.cancel(ANYONE, id);
            else if (act === 'redrive') await rig.service.redrive(ANYONE, id);
            else if (act === 'sweep') await rig.store.sweep(rig.nowMs);
            else ids.push((await rig.submit({ target: `/${act}` })).id);
            await rig.pass(0);
          };
          const half = steps.length >> 1;
          for (const each of steps.slice(0, half)) await happen(each);
          const throughout = [...ids];
          const read = pagesOf(rig);
          const seen: string[] = [];
          const rest = steps.slice(half);
          for (let token = ''; ; ) {
            const page = await read(size, token);
            seen.push(...page.shown.map((request) => request.id));
            token = page.next;
            if (token === '') break;
            for (const each of rest.splice(0, 3)) await happen(each);
          }
          expect(new Set(seen).size).toBe(seen.length);
          expect(throughout.filter((id) => !seen.includes(id))).toEqual([]);
        } finally {
          await file.close();
          await remove();
        }
      }),
      { numRuns: 20 },
    );
  });
});
