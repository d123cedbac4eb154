import { expect, test } from 'vitest';
import { type AcquireCall, awaitAdmission } from '../../src/client/acquire.ts';
import { SluiceUnreachable } from '../../src/client/errors.ts';
import type { HttpTransport, Reply } from '../../src/client/http.ts';
import { HandTiming } from './hand-timing.ts';

const ASKING: AcquireCall = { group: 'g', requestId: 'r', ttl: undefined, fields: {}, signal: undefined, onPlace: undefined };

/** Asks a server that gives every call the same reply, for a minute by hand. */
async function minuteOf(reply: () => Reply, asking: AcquireCall = ASKING): Promise<{ readonly calls: number; readonly ended: unknown }> {
  const timing = new HandTiming();
  let calls = 0;
  const call = async (): Promise<Reply> => {
    // An endless loop is a failure and no hang.
    if (++calls > 1_000) throw new Error('It asks for ever.');
    return reply();
  };
  let ended: unknown;
  const asked = awaitAdmission({ call } as unknown as HttpTransport, timing, asking).catch((cause: unknown) => {
    ended = cause;
  });
  for (let second = 0; second < 60; second++) {
    await timing.pass(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (ended !== undefined) await asked;
  return { calls, ended };
}

test('A server that answers 202 at once, whatever `Prefer: wait` says, is asked with growing pauses and given up after 10 s', async () => {
  const { calls, ended } = await minuteOf(() => ({ kind: 'ok', status: 202, body: {} }) as Reply);
  expect(ended).toBeInstanceOf(SluiceUnreachable);
  expect(calls).toBeGreaterThan(10);
  expect(calls).toBeLessThan(40);
});

test('A server that opens an event stream and cuts it at once is asked with growing pauses and given up after 10 s', async () => {
  const empty = () => ({ kind: 'stream', body: new ReadableStream({ start: (stream) => stream.close() }), received: () => {}, close: () => {} });
  const { calls, ended } = await minuteOf(() => empty() as unknown as Reply, { ...ASKING, onPlace: () => {} });
  expect(ended).toBeInstanceOf(SluiceUnreachable);
  expect(calls).toBeGreaterThan(10);
  expect(calls).toBeLessThan(40);
});
