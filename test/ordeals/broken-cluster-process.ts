import type { EdgeOutcome, EdgeSubmit } from '../../src/deferred/shared-store.ts';
import { JetStreamEdge, tokenOf } from '../../src/deferred/stores/jetstream-edge.ts';

/*
 * A replica, broken on purpose: a submit is acknowledged before NATS has it. The judge of the kill runs has to find it out.
 */

/** Given to requests whose own sequence is not known yet. */
const UNKNOWN_SEQUENCE = 1;
const LATE_MS = 50;

const { submit } = JetStreamEdge.prototype;
JetStreamEdge.prototype.submit = function (this: JetStreamEdge, asked: EdgeSubmit): Promise<EdgeOutcome> {
  setTimeout(() => void submit.call(this, asked).catch(() => undefined), LATE_MS);
  const row = { ...asked.row, sequence: UNKNOWN_SEQUENCE, secret: tokenOf(asked.shard, asked.row.idHash) };
  return Promise.resolve({ row, existing: false, end: undefined });
};

await import('../../src/main.ts');
