import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { GroupView } from '../../src/admission/admission.ts';
import { countGroups, firstGroups, type GroupQuery, selectGroups } from '../../src/api/group-list.ts';
import { Rig, settingsOf } from '../admission/rig.ts';
import { concurrency, group } from '../core/specs.ts';

/* Lists of many groups cost no long turn of the event loop: they are read in slices, and no more of them is put into order than is shown. */

const views = async (count: number): Promise<readonly GroupView[]> => {
  const rig = new Rig(Array.from({ length: count }, (_, at) => settingsOf(group(`g${(at * 7919) % count}`, [concurrency(1)], { enforce: at % 3 !== 0 }))));
  await rig.admission.start();
  for (let at = 0; at < count; at += 5) {
    await rig.asked({ group: `g${at}`, holder: 'one' });
    rig.ask({ group: `g${at}` });
    if (at % 2 === 0) rig.ask({ group: `g${at}` });
  }
  return rig.admission.groups();
};

test('the first groups of any order are those that the whole order begins with', async () => {
  const all = await views(60);
  const query = fc.record({
    sort: fc.constantFrom<GroupQuery['sort']>('name', 'oldest', 'waiting', 'refused', 'out'),
    state: fc.constantFrom('', 'open', 'moving', 'waiting', 'shadow'),
    q: fc.constantFrom('', '1', 'g5', 'none'),
  });
  fc.assert(
    fc.property(query, fc.integer({ min: 0, max: 70 }), (asked, count) => {
      const whole = selectGroups(all, asked);
      const { first, total } = firstGroups(all, asked, count);
      expect(total).toBe(whole.length);
      expect(first.map(({ name }) => name)).toEqual(whole.slice(0, count).map(({ name }) => name));
    }),
  );
});

test('each count is that of the list of its state', async () => {
  const all = await views(60);
  const { all: sum, ...counts } = countGroups(all);
  expect(sum).toBe(60);
  for (const [state, count] of Object.entries(counts)) expect([state, selectGroups(all, { sort: 'name', state, q: '' }).length]).toEqual([state, count]);
});

test('many groups are looked at in slices, between which the event loop goes on', async () => {
  const rig = new Rig(Array.from({ length: 2_500 }, (_, at) => settingsOf(group(`g${at}`, [concurrency(1)]))));
  await rig.admission.start();
  let turns = 0;
  let open = true;
  const turn = (): void => {
    turns += 1;
    if (open) setImmediate(turn);
  };
  setImmediate(turn);
  const found = await rig.admission.groups();
  open = false;
  expect(found).toHaveLength(2_500);
  expect(turns).toBeGreaterThanOrEqual(2);
  expect(rig.admission.groupsFrom(2_400, 500).map(({ name }) => name)).toEqual(found.slice(2_400).map(({ name }) => name));
});
