import { BatchedStore, type Write } from '../../src/deferred/batched-store.ts';

/*
 * The server, which kills itself (SIGKILL) at a crash point of docs/decisions/0022 when it has come there so often: CRASH_POINT=C4:20
 *
 *   C1  before the commit of a request            C4  armed, not sent
 *   C2  after its commit, before the 202          C5  sent and answered, the end or the retry not recorded
 *   C3  admitted, not armed                       C6  the end recorded, its callback not sent
 *
 * With SPLIT_CALLBACKS=1 it is broken on purpose: a callback is stored after the end that it reports, not with it.
 */

const [point, times] = (process.env['CRASH_POINT'] ?? 'none:0').split(':');
const splits = process.env['SPLIT_CALLBACKS'] === '1';
let left = Number(times);

function pass(at: string): void {
  if (at === point && --left <= 0) process.kill(process.pid, 'SIGKILL');
}

const { write } = BatchedStore.prototype;
BatchedStore.prototype.write = async function (this: BatchedStore, ...writes: readonly Write[]): Promise<void> {
  const kinds = new Set(writes.map((each) => (each.kind === 'submit' && each.row.callbackOf !== 0 ? 'callback' : each.kind)));
  const ofCallback = writes.every((each) => each.kind !== 'arm' && each.row.callbackOf !== 0);
  if (kinds.has('submit')) pass('C1');
  if (kinds.has('arm')) pass('C3');
  if (!ofCallback && (kinds.has('end') || kinds.has('retry'))) pass('C5');
  if (splits && kinds.has('callback')) {
    await write.call(this, ...writes.filter(({ kind }) => kind === 'end'));
    pass('C6');
    return write.call(this, ...writes.filter(({ kind }) => kind !== 'end'));
  }
  await write.call(this, ...writes);
  if (kinds.has('submit')) pass('C2');
  if (kinds.has('arm')) pass('C4');
  if (kinds.has('callback')) pass('C6');
};

await import('../../src/main.ts');
