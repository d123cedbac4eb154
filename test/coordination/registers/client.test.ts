import { expect, test } from 'vitest';
import { RegisterClient } from '../../../src/coordination/registers/client.ts';
import { RegisterConflict } from '../../../src/coordination/registers/registers.ts';
import type { RegisterResponse } from '../../../src/coordination/registers/requests.ts';
import { MILLISECOND, plus } from '../../../src/core/time.ts';
import { FakeClock, settled } from '../../support/fakes/clock.ts';

/** A registrar whose registers answer when they are told to. */
function rig() {
  const clock = new FakeClock();
  const deferred: (() => void)[] = [];
  const answers: (readonly [number, RegisterResponse])[] = [];
  const asked: PromiseWithResolvers<number>[] = [];
  const registrar = new RegisterClient({
    registers: {
      read: () => Promise.resolve(undefined),
      change: () => {
        const asking = Promise.withResolvers<number>();
        asked.push(asking);
        return asking.promise;
      },
    },
    timers: { after: (delay, act) => clock.at(plus(clock.now(), delay), act) },
    defer: (run) => void deferred.push(run),
    onResponse: (id, answer) => void answers.push([id, answer]),
    onFailure: () => {},
  });
  const change = (id: number) => registrar.send({ id, kind: 'change', register: 'r', bytes: new Uint8Array(), revision: 0 });
  const read = () => {
    for (const run of deferred.splice(0)) run();
  };
  return { clock, answers, asked, change, read };
}

test('An answer that arrived while the process stood still past its time is given in place of unknown', async () => {
  const { clock, answers, asked, change, read } = rig();
  change(1);
  clock.advance(250 * MILLISECOND);
  expect(answers).toEqual([]);
  asked[0]?.resolve(7);
  await settled();
  read();
  expect(answers).toEqual([[1, { kind: 'changed', revision: 7 }]]);
  expect(clock.pending).toBe(0);
});

test('A change that is made after it was given up is said once more, a conflict is not', async () => {
  const { clock, answers, asked, change, read } = rig();
  change(1);
  change(2);
  clock.advance(250 * MILLISECOND);
  read();
  const unknown = [1, 2].map((id) => [id, { kind: 'unknown' }]);
  expect(answers).toEqual(unknown);
  asked[0]?.resolve(7);
  asked[1]?.reject(new RegisterConflict('r', 0));
  await settled();
  expect(answers).toEqual([...unknown, [1, { kind: 'changed', revision: 7 }]]);
});
