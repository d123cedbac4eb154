import { expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import { MINUTE } from '../../src/core/time.ts';
import { concurrency, group, rolling } from '../core/specs.ts';
import { askOf, rigged, settingsOf } from './rig.ts';

const TOKENS = rolling(100, MINUTE, { name: 'tpm', unit: 'tokens' });

function tree(costs: GroupSettings['costs'] = new Map(), own: GroupSettings['costs'] = new Map()): readonly GroupSettings[] {
  return [
    settingsOf(group('provider', [TOKENS]), { costs }),
    settingsOf(group('llm', [concurrency(8)], { parent: { group: 'provider', share: undefined } }), { costs: own }),
  ];
}

test('a unit that no limit of the group or above it counts is malformed, charges nothing, and the refusal names the units there are', async () => {
  const rig = await rigged(tree());
  const { refusal } = await rig.asked({ group: 'llm', costs: { requests: 1, tokns: 400_000 } });
  expect(refusal).toMatchObject({ reason: 'malformed', detail: expect.stringMatching(/group llm.*"tokns".*requests, tokens/) });
  expect(rig.admission.group('llm')).toMatchObject({ waiting: 0, leases: 0 });
  expect((await rig.asked({ group: 'llm', costs: { requests: 1, tokens: 100 } })).outcome?.kind).toBe('admitted');
});

test('explain says the same of a misspelt unit', async () => {
  const rig = await rigged(tree());
  const ask = askOf({ group: 'llm', costs: { tokns: 1 } });
  expect(await rig.admission.explain(ask)).toMatchObject({ reason: 'malformed' });
});

test('a misspelt unit at release is malformed and ends nothing; the right one then settles', async () => {
  const rig = await rigged(tree());
  const { id } = await rig.asked({ group: 'llm', costs: { requests: 1, tokens: 60 } });
  expect(await rig.admission.release({ caller: '', permit: id, disposition: 'used', costs: { tokns: 10 } })).toMatchObject({
    refusal: { reason: 'malformed' },
  });
  expect(rig.admission.group('llm')).toMatchObject({ leases: 1 });
  expect(await rig.admission.release({ caller: '', permit: id, disposition: 'used', costs: { tokens: 10 } })).toEqual({ kind: 'released', ended: true });
  expect((await rig.asked({ group: 'llm', costs: { requests: 1, tokens: 90 }, wait: 0 })).outcome?.kind).toBe('admitted');
});

test('an ask that names no tokens costs what the nearest group up the tree says', async () => {
  const rig = await rigged(tree(new Map([['tokens', { default: 60, required: false }]])));
  const first = await rig.asked({ group: 'llm' });
  expect(first.permit.costs).toEqual({ requests: 1, tokens: 60 });
  expect((await rig.asked({ group: 'llm', wait: 0 })).refusal?.reason).toBe('infeasible');
  expect((await rig.asked({ group: 'llm', wait: 0, costs: { requests: 1, tokens: 40 } })).outcome?.kind).toBe('admitted');
  const own = await rigged(tree(new Map([['tokens', { default: 60, required: false }]]), new Map([['tokens', { default: 5, required: false }]])));
  expect((await own.asked({ group: 'llm' })).permit.costs).toEqual({ requests: 1, tokens: 5 });
});

test('a required unit that an ask does not name is malformed', async () => {
  const rig = await rigged(tree(new Map([['tokens', { required: true }]])));
  expect((await rig.asked({ group: 'llm' })).refusal).toMatchObject({ reason: 'malformed', detail: expect.stringContaining('tokens') });
  expect((await rig.asked({ group: 'llm', costs: { tokens: 0 } })).outcome?.kind).toBe('admitted');
});

test('a permit of a unit that a reload took away is still settled and released', async () => {
  const rig = await rigged(tree());
  const { id } = await rig.asked({ group: 'llm', costs: { requests: 1, tokens: 60 } });
  const without = tree().map((each) => (each.spec.name === 'provider' ? { ...each, spec: { ...each.spec, limits: [] } } : each));
  expect(await rig.admission.reconfigure(without)).toEqual([]);
  expect((await rig.asked({ group: 'llm', costs: { tokens: 1 } })).refusal?.reason).toBe('malformed');
  expect(await rig.admission.release({ caller: '', permit: id, disposition: 'used', costs: { tokens: 10 } })).toEqual({ kind: 'released', ended: true });
});

test('an override that is refused forgives no debt', async () => {
  const rig = await rigged([settingsOf(group('g', [TOKENS], { settleMax: 10 }))]);
  const { id } = await rig.asked({ group: 'g', costs: { tokens: 1 } });
  await rig.admission.release({ caller: '', permit: id, disposition: 'used', costs: { tokens: 1_000_000 } });
  const limits = new Map([['none', { kind: 'concurrency', max: 2 } as const]]);
  expect(await rig.admission.override('g', { limits, enforce: undefined, for: MINUTE, forgive: true })).toMatchObject({ reason: 'malformed' });
  expect(rig.admission.group('g')).toMatchObject({ limits: [{ used: 100, debt: 900 }] });
});

test('an operator forgives the debt of a group without ending a running override', async () => {
  const rig = await rigged([settingsOf(group('g', [TOKENS], { settleMax: 10 }))]);
  const { id } = await rig.asked({ group: 'g', costs: { tokens: 1 } });
  await rig.admission.release({ caller: '', permit: id, disposition: 'used', costs: { tokens: 1_000_000 } });
  expect(rig.admission.group('g')).toMatchObject({ limits: [{ used: 100, debt: 900 }] });
  expect(await rig.admission.override('g', { limits: new Map(), enforce: true, for: MINUTE })).toBeUndefined();
  expect(await rig.admission.override('g', { limits: new Map(), enforce: undefined, for: undefined, forgive: true })).toBeUndefined();
  const view = rig.admission.group('g');
  expect(view).toMatchObject({ limits: [{ used: 100, debt: 0 }], overriddenUntil: expect.any(Number) });
  await rig.pass(61);
  expect((await rig.asked({ group: 'g', costs: { tokens: 100 }, wait: 0 })).outcome?.kind).toBe('admitted');
});
