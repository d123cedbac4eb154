import { expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import { MemoryRegisters } from '../../src/coordination/registers/memory.ts';
import { openSingleNodeCoordinator } from '../../src/coordination/single-node.ts';
import { HOUR, MINUTE } from '../../src/core/time.ts';
import { createLedger } from '../../src/ledger/log-ledger.ts';
import { MemoryDisk, MemoryStore } from '../../src/ledger/stores/memory.ts';
import { concurrency, group, START } from '../core/specs.ts';
import { FakeClock } from '../support/fakes/clock.ts';
import { type Caller, Rig, settingsOf } from './rig.ts';

/* Reaching `store.bytes`: with leases that live, and after they ended. */

const BYTES = 300_000;
const LEASE = { lease: { default: 5 * HOUR, max: 5 * HOUR } };
const SETTINGS = [settingsOf(group('hog', [concurrency(100_000)]), LEASE), settingsOf(group('other', [concurrency(50)]), LEASE)];

class Machine {
  readonly clock = new FakeClock(START);
  readonly registers = new MemoryRegisters();
  readonly disk = new MemoryDisk();

  async start(settings: readonly GroupSettings[] = SETTINGS): Promise<Rig> {
    const coordinator = await openSingleNodeCoordinator({ registers: this.registers, clock: this.clock, session: `at-${this.clock.now()}` });
    const placement = coordinator.place('');
    if (placement.at !== 'here') throw new Error('not here');
    const ledger = createLedger({ store: new MemoryStore({ bytes: BYTES }, this.disk), clock: this.clock, term: placement.leaderLease.term });
    const rig = new Rig(settings, { clock: this.clock, ledger, coordinator });
    await rig.admission.start();
    await rig.pass(2);
    return rig;
  }
}

/** Takes leases, each in a record of its own, until one is refused; answers those who have one, and the refusal. */
async function fill(rig: Rig, name: string): Promise<{ holders: Caller[]; refused: Caller }> {
  for (const holders: Caller[] = []; ; ) {
    const caller = await rig.asked({ group: name, wait: 0, holder: `holder ${holders.length}` });
    if (caller.outcome === undefined) await rig.pass(2);
    if (caller.outcome?.kind !== 'admitted') return { holders, refused: caller };
    caller.held.delivered();
    holders.push(caller);
    if (holders.length > 20_000) throw new Error('never full');
  }
}

test('a group that fills the store is refused with a time to ask again, other groups go on, and released room is used again', async () => {
  const rig = await new Machine().start();
  const { holders, refused } = await fill(rig, 'hog');
  expect(holders.length).toBeGreaterThan(300);
  expect(refused.refusal).toMatchObject({ reason: 'unstored', retryAt: expect.any(Number) as number });
  expect(refused.refusal?.retryAt).toBeGreaterThan(refused.at as number);
  for (let index = 0; index < 40; index++) expect((await rig.asked({ group: 'other' })).outcome?.kind).toBe('admitted');
  for (const holder of holders) await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' });
  await rig.pass(20);
  const again = await fill(rig, 'hog');
  expect(again.holders.length).toBeGreaterThan(holders.length / 2);
});

test('a store that was full at a crash is used again once its leases are released', async () => {
  const machine = new Machine();
  const { holders } = await fill(await machine.start(), 'hog');
  const rig = await machine.start();
  expect((await rig.asked({ group: 'other' })).outcome?.kind).toBe('admitted');
  for (const holder of holders) expect(await rig.admission.release({ caller: '', permit: holder.id, disposition: 'used' })).toMatchObject({ kind: 'released' });
  await rig.pass(20);
  const caller = rig.ask({ group: 'hog' });
  await rig.pass(2);
  expect(caller.outcome?.kind).toBe('admitted');
});

test('a store full of what has ended takes new leases without a refusal between', async () => {
  const rig = await new Machine().start();
  // Three times what the store holds, one at a time.
  for (let index = 0; index < 6_000; index++) {
    const caller = rig.ask({ group: 'hog', wait: MINUTE });
    for (let look = 0; caller.outcome === undefined && look < 20; look++) await rig.pass(0.05);
    expect(caller.outcome?.kind).toBe('admitted');
    caller.held.delivered();
    await rig.admission.release({ caller: '', permit: caller.id, disposition: 'used' });
  }
  expect(rig.notices.filter(({ kind }) => kind === 'unstored')).toEqual([]);
});
