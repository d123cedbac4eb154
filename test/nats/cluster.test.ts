import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RegisterConflict } from '../../src/coordination/registers/registers.ts';
import { MILLISECOND } from '../../src/core/time.ts';
import { StoreFull } from '../../src/ledger/stores/store.ts';
import { createLayout } from '../../src/nats/layout.ts';
import type { ConnectionEvent } from '../../src/nats/options.ts';
import { type NatsLink, openNats } from '../../src/server/nats.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { type NatsCluster, startNatsCluster } from '../support/fakes/nats-cluster.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { until } from '../support/fakes/until.ts';

showLogsOfFailures();

let cluster: NatsCluster;
const links: NatsLink[] = [];
const told: ConnectionEvent[][] = [[], [], []];

beforeAll(async () => {
  cluster = await startNatsCluster(3, { binary: natsBinary() });
  const opened = cluster.urls.map((url, index) => openNats(natsOptions([url], { answerWithin: 400 * MILLISECOND }), (change) => told[index]?.push(change)));
  links.push(...(await Promise.all(opened)));
});
afterAll(async () => {
  for (const link of links) await link.close();
  await cluster?.clean();
});

async function leaderOf(stream: string): Promise<string | undefined> {
  const connection = await connect({ servers: [...cluster.urls] });
  const found = await (await jetstreamManager(connection)).streams.info(stream);
  await connection.close();
  expect(found.config.num_replicas).toBe(3);
  return found.cluster?.leader;
}

const racers = (): NatsLink[] => Array.from({ length: 9 }, (_, index) => links[index % links.length]!);

describe('replicas at three servers of a cluster', () => {
  test('never win a register together', async () => {
    let last = 0;
    for (let round = 0; round < 60; round++) {
      const ends = await Promise.allSettled(racers().map((link, index) => link.registers.change('owner.9', new Uint8Array([index]), last)));
      const won = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
      expect(won.length).toBe(1);
      for (const end of ends) if (end.status === 'rejected') expect(end.reason).toBeInstanceOf(RegisterConflict);
      last = won[0] ?? 0;
    }
  });

  test('never append to a log together, and read it whole wherever they are', async () => {
    let last = 0;
    for (let round = 0; round < 40; round++) {
      const ends = await Promise.allSettled(racers().map((link, index) => link.store.append('ledger.09.x', new Uint8Array([round, index]), last)));
      const won = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
      expect(won.length).toBe(1);
      last = won[0] ?? 0;
    }
    for (const link of links) {
      await until('a server to have caught up', async () => {
        const rounds: number[] = [];
        for await (const { bytes } of link.store.read('ledger.09.x', 0)) rounds.push(bytes[0] ?? -1);
        expect(rounds).toEqual(Array.from({ length: rounds.length }, (_, round) => round));
        return rounds.length === 40;
      });
    }
  });

  test('are refused by a full log until it is trimmed, also what is written in relief', async () => {
    const link = links[2] as NatsLink;
    const large = new Uint8Array(900_000);
    const log: number[] = [0];
    const fill = async (relief: boolean): Promise<void> => {
      for (;;) log.push(await link.store.append('ledger.02.x', large, log.at(-1) ?? 0, relief));
    };
    await expect(fill(false)).rejects.toThrow(StoreFull);
    expect(log.length - 1).toBe(8);
    await expect(fill(true)).rejects.toThrow(/^The store is full: of 67108864 bytes \(cluster.ledgerBytes\) no more/);
    expect(log.length - 1).toBe(9);
    await link.store.trim('ledger.02.x', log.at(-1) ?? 0);
    await link.store.append('ledger.02.x', large, log.at(-1) ?? 0);
  });

  test('lose nothing that was acknowledged when the leader of the registers is killed, and write again after its election', async () => {
    const link = links[0] as NatsLink;
    const dead = cluster.server((await leaderOf(createLayout('sluice').registers)) ?? '');
    const number = (value: number): Uint8Array => new TextEncoder().encode(String(value));
    let revision = await link.registers.change('owner.1', number(0), 0);
    /** What stands at `revision`. */
    let there = 0;
    let acknowledged = 0;
    let tried = 0;
    const write = async (): Promise<boolean> => {
      const value = ++tried;
      try {
        revision = await link.registers.change('owner.1', number(value), revision);
        // Nothing but what stood there has been replaced: had an acknowledged write been lost, this is where it shows.
        expect(there).toBeGreaterThanOrEqual(acknowledged);
        there = value;
        acknowledged = value;
        return true;
      } catch (cause) {
        if (!(cause instanceof Error) || cause.name === 'AssertionError') throw cause;
        // Conflict or silence: whoever is in doubt reads, as a session does. It may be old; then the next write conflicts.
        const found = await link.registers.read('owner.1').catch(() => undefined);
        if (found === undefined) return false;
        revision = found.revision;
        there = Number(new TextDecoder().decode(found.bytes));
        return false;
      }
    };
    for (let index = 0; index < 20; index++) expect(await write()).toBe(true);
    await dead.kill();
    await until('writes to go on', write, 30_000);
    for (let index = 0; index < 20; index++) await until('another write', write);
    await dead.start();
    await until('the server to be back in its place', () => links.every((each) => each.connected()));
    for (let index = 0; index < 20; index++) await until('another write', write);
  });

  test('leave a server that is about to stop at once', async () => {
    const place = told[1] as ConnectionEvent[];
    const servers = (): string[] => place.flatMap((change) => (change.kind === 'connected' && change.line === 'data' ? [change.server] : []));
    const before = servers();
    const leaving = before.at(-1) ?? '';
    process.kill(cluster.server(leaving).pid as number, 'SIGUSR2');
    await until('the connection to move', () => servers().length > before.length);
    expect(place.some((change) => change.kind === 'leaving' && change.line === 'data')).toBe(true);
    expect(servers().at(-1)).not.toBe(leaving);
    expect(links[1]?.connected()).toBe(true);
  });
});
