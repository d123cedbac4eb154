import { JetStreamApiError } from '@nats-io/jetstream';
import { expect, test } from 'vitest';
import { NatsUnsupported } from '../../src/nats/options.ts';
import { type OpenStreamOptions, openStream } from '../../src/nats/streams.ts';

const missing = () => new JetStreamApiError({ code: 404, err_code: 10059, description: 'stream not found' });

test('A stream that is created and never found is tried twice a second, and given up at the limit', async () => {
  let creations = 0;
  const told: unknown[] = [];
  const info = async (): Promise<never> => {
    // An endless loop is a failure and no hang.
    if (creations > 1_000) throw new NatsUnsupported('It never gives up.');
    throw missing();
  };
  const add = async (): Promise<never> => {
    creations++;
    return undefined as never;
  };
  const parts = {
    manager: { streams: { info, add } },
    limit: { until: performance.now() + 600 },
    onEvent: (change: unknown) => void told.push(change),
    wanted: { name: 'S', subjects: ['s.>'] },
  } as unknown as OpenStreamOptions;
  await expect(openStream(parts)).rejects.toThrow(/^the stream S cannot be had: NATS reported the stream as created, and then as missing; /);
  expect(creations).toBe(2);
  expect(told).toEqual([{ kind: 'waiting', why: 'the stream S cannot be had: NATS reported the stream as created, and then as missing' }]);
});
