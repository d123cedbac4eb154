import { afterEach, describe, expect, test } from 'vitest';
import { openNats } from '../../src/server/nats.ts';
import { natsVersions, showLogsOfFailures } from '../support/fakes/nats.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../support/fakes/nats-server.ts';

showLogsOfFailures();

let server: NatsServer | undefined;
afterEach(() => server?.clean());

describe.each(natsVersions())('nats-server $version', ({ binary }) => {
  test('tells its own time, the same as this machine’s, and again later; once it is gone nobody does', async () => {
    server = await startNats({ binary: binary() });
    const link = await openNats(natsOptions([server.url]));
    try {
      for (let time = 0; time < 3; time++) {
        const asked = Date.now();
        const told = await link.serverTime();
        // Cut to the millisecond, as ours is.
        expect(told).toBeGreaterThanOrEqual(asked - 1);
        expect(told).toBeLessThanOrEqual(Date.now() + 1);
      }
      await server.clean();
      await expect(link.serverTime()).rejects.toThrow();
    } finally {
      await link.close();
    }
  });
});
