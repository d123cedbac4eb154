import { expect, test } from 'vitest';
import { checkSynced } from '../../src/nats/durability.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { startNats } from '../support/fakes/nats-server.ts';

showLogsOfFailures();

const soon = (ms = 30_000): number => performance.now() + ms;

test('servers that sync what they acknowledge are told from one that does not, by its name', async () => {
  const synced = await startNats({ binary: natsBinary(), syncInterval: 'always' });
  const other = await startNats({ binary: natsBinary(), name: 'n2' });
  const [one, two] = [synced, other].map(({ monitorPort }) => `http://127.0.0.1:${monitorPort}`) as [string, string];
  await checkSynced([one, `${one}/`], soon());
  await expect(checkSynced([one, two], soon())).rejects.toThrow(/^NATS server n2 acknowledges before it has synced; set sync_interval: always/);
  await other.clean();
  await expect(checkSynced([one, two], soon(1_000))).rejects.toThrow(/^whether NATS syncs cannot be read at http:.*; correct cluster\.monitor, or set/);
  await synced.clean();
});
