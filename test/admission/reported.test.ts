import { expect, test } from 'vitest';
import type { AdmissionRequest } from '../../src/admission/admission.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Caller, type Rig, rigged, settingsOf } from './rig.ts';

/* Leases of forwarded requests: told without a write of their own (docs/decisions/0012-reported-leases.md). */

const forwarded: Partial<AdmissionRequest> = { reported: true, lease: 10 * SECOND };
const open = (): Promise<Rig> => rigged([settingsOf(group('g', [concurrency(5)]))], { reports: true });

function told(caller: Caller): boolean {
  return caller.outcome?.kind === 'admitted';
}

test('the first waits for the disk; then they are told within the call, whatever the disk does', async () => {
  const rig = await open();
  rig.ledger.stalled = true;
  const [first, second] = [rig.ask(forwarded), rig.ask(forwarded)];
  await settled();
  expect([first, second].map(told)).toEqual([false, false]);
  rig.ledger.release();
  await settled();
  expect([first, second].map(told)).toEqual([true, true]);
  rig.ledger.stalled = true;
  expect(told(rig.ask(forwarded))).toBe(true);
  const recorded = rig.ask();
  await settled();
  expect(told(recorded)).toBe(false);
});

test('renewals, ends and lists are as for any lease, and nothing more is written', async () => {
  const rig = await open();
  const [one, two, three] = [await rig.asked({ ...forwarded, holder: 'one' }), await rig.asked(forwarded), await rig.asked(forwarded)];
  const tree = rig.ledger.trees.get('g');
  const written = tree?.records.length;
  await rig.pass(1);
  rig.ledger.stalled = true;
  expect(await rig.admission.renew('', one.id, 10 * SECOND)).toMatchObject({ kind: 'renewed', permit: { fence: one.permit.lease?.fence } });
  const list = rig.admission.leases('g', { size: 10, token: '' });
  expect('items' in list && list.items.map(({ id }) => id)).toEqual([one.id, two.id, three.id]);
  expect('items' in list && list.items[0]).toMatchObject({ holder: 'one', expiresAt: rig.clock.now() + 10 * SECOND });
  expect(await rig.admission.release({ caller: '', permit: one.id, disposition: 'used' })).toEqual({ kind: 'released', ended: true });
  expect(await rig.admission.revokeLease('g', two.id)).toBeUndefined();
  expect(await rig.admission.renew('', two.id, SECOND)).toMatchObject({ refusal: { reason: 'fenced' } });
  await rig.pass(10);
  expect(await rig.admission.release({ caller: '', permit: three.id, disposition: 'used' })).toMatchObject({ refusal: { reason: 'fenced' } });
  expect(rig.used()).toBe(0);
  expect(tree?.records).toHaveLength(written ?? 0);
  expect(tree?.noted).toEqual([]);
});

test('a disk that fails: who needs the write is refused as ever, who is covered goes on', async () => {
  const rig = await open();
  rig.ledger.failure = new Error('EIO');
  const hasty = rig.ask({ ...forwarded, wait: SECOND / 10 });
  const patient = rig.ask({ ...forwarded, wait: MINUTE });
  await settled();
  await rig.pass(0.4);
  expect(hasty.refusal?.reason).toBe('unstored');
  rig.ledger.failure = undefined;
  await rig.pass(0.4);
  expect(told(patient)).toBe(true);
  patient.held.delivered();
  rig.ledger.failure = new Error('EIO');
  await rig.pass(1);
  expect(await rig.admission.renew('', patient.id, 10 * SECOND)).toMatchObject({ kind: 'renewed' });
  await rig.pass(9.5);
  expect(await rig.admission.renew('', patient.id, 10 * SECOND)).toMatchObject({ refusal: { reason: 'unstored' } });
});

test('a caller who leaves while what stands for it is being written holds nothing', async () => {
  const rig = await open();
  rig.ledger.stalled = true;
  const caller = rig.ask(forwarded);
  await settled();
  caller.held.cancel();
  rig.ledger.release();
  await settled();
  expect(caller.told).toBe(0);
  expect(rig.used()).toBe(0);
});

test('it is written anew in time, though the first try fails', async () => {
  const rig = await open();
  const records = () => rig.ledger.trees.get('g')?.records.length;
  const use = async (seconds: number): Promise<void> => {
    await rig.admission.release({ caller: '', permit: (await rig.asked(forwarded)).id, disposition: 'used' });
    await rig.pass(seconds);
  };
  await use(6);
  expect(records()).toBe(1);
  rig.ledger.failure = new Error('EIO');
  await use(0);
  rig.ledger.failure = undefined;
  await rig.pass(1);
  await use(5);
  expect(records()).toBe(2);
  rig.ledger.stalled = true;
  expect(told(rig.ask(forwarded))).toBe(true);
});
