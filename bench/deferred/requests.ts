import type { Write } from '../../src/deferred/batched-store.ts';
import { attempt, end, head, row } from '../../test/conformance/deferred-requests.ts';

/** A submit with a head of about 350 bytes and an idempotency key. */
export function submitWrite(sequence: number, body: Uint8Array): Write & { kind: 'submit' } {
  const headers = ['content-type', 'application/json', 'user-agent', 'x'.repeat(60), 'authorization', 'y'.repeat(80), 'traceparent', 'z'.repeat(55)];
  const of = row(sequence, { key: `k${sequence % 100}`, idHash: sequence.toString(16).padStart(16, '0'), requestHash: '0123456789abcdef' });
  return { kind: 'submit', row: of, head: head({ headers, bodyBytes: body.byteLength }), body };
}

/** A failed attempt, to be tried again. */
export function retryWrite(sequence: number): Write & { kind: 'retry' } {
  return { kind: 'retry', row: { ...submitWrite(sequence, new Uint8Array(0)).row, attempts: 1, dueAt: 1_800_000_000_000 }, attempt: attempt(1) };
}

/** A 200 with a short answer. */
export function endWrite(sequence: number): Write & { kind: 'end' } {
  return end(submitWrite(sequence, new Uint8Array(0)).row, 'done', {}, attempt(1)) as Write & { kind: 'end' };
}
