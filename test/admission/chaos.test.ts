import { expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { concurrency, group, rolling } from '../core/specs.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Caller, type Rig, rigged, settingsOf } from './rig.ts';

/** Small, seeded, good enough. */
function dice(seed: number): (sides: number) => number {
  let state = seed * 2654435761 + 1;
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

interface Actor {
  readonly caller: Caller;
  readonly leased: boolean;
  readonly session: string | undefined;
  gone: boolean;
  delivered: boolean;
  released: boolean;
}

/** Leases that somebody surely holds: delivered, not given back, not lapsed, session not ended. */
function surelyHeld(rig: Rig, actors: readonly Actor[], ended: ReadonlySet<string>): number {
  const ids = new Set<string>();
  for (const { caller, leased, delivered, released, session } of actors) {
    if (!leased || !delivered || released || caller.outcome?.kind !== 'admitted' || (session !== undefined && ended.has(session))) continue;
    if ((caller.permit.lease?.expiresAt ?? 0) > rig.clock.now()) ids.add(caller.id);
  }
  return ids.size;
}

async function play(seed: number): Promise<void> {
  const roll = dice(seed);
  const rig = await rigged([settingsOf(group('lease', [concurrency(3)])), settingsOf(group('rate', [rolling(5, SECOND)]))]);
  const actors: Actor[] = [];
  const ended = new Set<string>();
  for (let step = 0; step < 300; step++) {
    const some = actors[roll(Math.max(1, actors.length))];
    switch (roll(10)) {
      case 0:
      case 1:
      case 2: {
        const leased = roll(2) === 0;
        const session = roll(4) === 0 ? `s${roll(1000)}` : undefined;
        const requestId = roll(3) === 0 ? `r${roll(8)}` : undefined;
        const caller = rig.ask({
          group: leased ? 'lease' : 'rate',
          wait: roll(5) * SECOND,
          lease: 5 * SECOND,
          ...(session === undefined ? {} : { session }),
          ...(requestId === undefined ? {} : { requestId }),
        });
        actors.push({ caller, leased, session, gone: false, delivered: false, released: requestId !== undefined });
        break;
      }
      case 3:
        if (some !== undefined && !some.delivered) {
          some.caller.held.cancel();
          some.gone = true;
        }
        break;
      case 4:
      case 5:
        if (some !== undefined && !some.gone && some.caller.outcome?.kind === 'admitted') {
          some.caller.held.delivered();
          some.delivered = true;
        }
        break;
      case 6:
        if (some?.delivered && some.leased) {
          some.released = true;
          void rig.admission.release({ caller: '', permit: some.caller.id, disposition: 'used' });
        }
        break;
      case 7:
        if (some?.session !== undefined) {
          ended.add(some.session);
          rig.admission.endSession('', some.session, roll(2) * SECOND);
        }
        break;
      case 8:
        rig.ledger.failure = roll(4) === 0 ? new Error('EIO') : undefined;
        if (roll(3) === 0) rig.ledger.stalled = true;
        else rig.ledger.release();
        break;
      default:
        await rig.pass(roll(30) / 10);
    }
    await settled();
    expect(surelyHeld(rig, actors, ended)).toBeLessThanOrEqual(3);
    expect(actors.every(({ caller }) => caller.told <= 1)).toBe(true);
  }
  rig.ledger.failure = undefined;
  rig.ledger.release();
  await rig.pass(60);
  for (const { caller, gone } of actors) if (!gone) expect(caller.told).toBe(1);
  for (const name of ['lease', 'rate']) {
    const view = rig.admission.group(name);
    expect(view).toMatchObject({ waiting: 0, leases: 0 });
    expect('reason' in view ? -1 : view.limits[0]?.used).toBe(0);
  }
  const end = rig.admission.drain(MINUTE);
  await settled();
  await end;
  expect(rig.clock.now()).toBeGreaterThan(0);
}

test('whatever callers, disks and sessions do: everybody is told once, no lease is given twice, nothing stays behind', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    try {
      await play(seed);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
  }
});
