import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, describe, expect, test } from 'vitest';
import { natsBinary, showLogsOfFailures } from './nats.ts';
import { startNatsCluster } from './nats-cluster.ts';
import { type NatsServer, startNats, sweep } from './nats-server.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { until } from './until.ts';

showLogsOfFailures();

const leftovers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of leftovers.splice(0).reverse()) await end();
});

async function start(deps: { readonly syncInterval?: string; readonly config?: string } = {}): Promise<NatsServer> {
  const server = await startNats({ binary: natsBinary(), ...deps });
  leftovers.push(() => server.clean());
  return server;
}

async function client(servers: string | string[], options: object = {}): Promise<NatsConnection> {
  const connection = await connect({ servers, reconnectTimeWait: 50, reconnectJitter: 20, maxReconnectAttempts: -1, ...options });
  leftovers.push(() => connection.close());
  return connection;
}

const publish = (connection: NatsConnection, subject: string, text: string) => jetstream(connection, { timeout: 500 }).publish(subject, text);
const last = async (connection: NatsConnection, stream: string, subject: string) =>
  (await (await jetstreamManager(connection, { timeout: 500, checkAPI: false })).direct.getMessage(stream, { last_by_subj: subject }))?.string();

describe('a server', () => {
  test('keeps what was stored over a kill, on the same port, and says the name and tag of its node', async () => {
    const server = await start({ syncInterval: 'always' });
    const connection = await client(server.url);
    await (await jetstreamManager(connection)).streams.add({ name: 'A', subjects: ['a'], allow_direct: true });
    await publish(connection, 'a', 'kept');
    await server.kill();
    expect(server.pid).toBeUndefined();
    await server.start();
    await until('the client to come back', async () => (await last(connection, 'A', 'a')) === 'kept');
    expect(await server.monitor('varz')).toMatchObject({
      server_name: 'n1',
      tags: ['node:n1'],
      ping_interval: 1e9,
      ping_max: 2,
      jetstream: { config: { sync_always: true } },
    });
  });

  test('that is wiped comes back without what it stored', async () => {
    const server = await start();
    const connection = await client(server.url);
    await (await jetstreamManager(connection)).streams.add({ name: 'A', subjects: ['a'] });
    await connection.close();
    await server.wipe();
    await server.start();
    const streams = await (await jetstreamManager(await client(server.url))).streams.list().next();
    expect(streams).toEqual([]);
  });

  test('that is paused answers nobody, and goes on where it was', async () => {
    const server = await start();
    const connection = await client(server.url);
    await server.pause();
    let answered = false;
    const answer = connection.flush().then(() => {
      answered = true;
    });
    await expect(fetch(`http://127.0.0.1:${server.monitorPort}/varz`, { signal: AbortSignal.timeout(200) })).rejects.toThrow('timeout');
    expect(answered).toBe(false);
    server.resume();
    await answer;
  });

  test('is stopped in good order, and may be started again', async () => {
    const server = await start();
    await server.pause();
    await server.stop();
    expect(server.log).toContain('Server Exiting');
    await server.restart();
    expect(server.log.match(/Server is ready/g)).toHaveLength(2);
  });

  test('takes more configuration, and tells with its log what is wrong with it', async () => {
    const server = await start({ config: 'authorization { users: [{ user: sluice, password: secret }] }' });
    await expect(client(server.url)).rejects.toThrow(/authoriz/i);
    const connection = await client(server.url, { user: 'sluice', pass: 'secret' });
    await connection.flush();
    await expect(start({ config: 'no_such_option: 1' })).rejects.toThrow(/ended before it was ready[\s\S]*no_such_option/);
  });

  test('dies with the process that started it, and leaves nothing behind', async () => {
    const owner = spawn(process.execPath, [fileURLToPath(new URL('nats-owner-process.ts', import.meta.url)), natsBinary()], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(owner.stdout, 'data')) as [Buffer];
    const { folder, monitorPort } = JSON.parse(line.toString()) as { folder: string; monitorPort: number };
    expect((await fetch(`http://127.0.0.1:${monitorPort}/varz`)).status).toBe(200);
    owner.kill('SIGKILL');
    const up = () => fetch(`http://127.0.0.1:${monitorPort}/varz`).then(Boolean, () => false);
    await until('the server to be gone', async () => !(await up()) && !existsSync(folder));
  });

  test('of a process that took its watchdog with it is ended at the next start; one that still runs is not', async () => {
    const running = await start();
    const folder = mkdtempSync(join(tmpdir(), 'sluice-nats-999999999-'));
    const orphan = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', folder], { stdio: 'ignore' });
    writeFileSync(join(folder, 'pid'), String(orphan.pid));
    const ended = once(orphan, 'exit');
    sweep();
    expect(await ended).toEqual([null, 'SIGKILL']);
    expect(existsSync(folder)).toBe(false);
    expect(existsSync(running.folder)).toBe(true);
  });

  test('behind a proxy can be cut off from one client', async () => {
    const server = await start();
    const proxy = await TcpProxy.to(server.port);
    leftovers.push(() => proxy.close());
    const connection = await client(`nats://127.0.0.1:${proxy.port}`, { ignoreClusterUpdates: true });
    await (await jetstreamManager(connection)).streams.add({ name: 'A', subjects: ['a'], allow_direct: true });
    proxy.freeze('down');
    await expect(publish(connection, 'a', 'arrives, unacknowledged')).rejects.toThrow();
    expect(await last(await client(server.url), 'A', 'a')).toBe('arrives, unacknowledged');
    proxy.cut();
    await proxy.heal();
    await until('the client to come back', async () => (await publish(connection, 'a', 'back')).seq > 1);
  });
});

describe('a cluster', () => {
  test('goes on without the leader, which finds its way back', async () => {
    const cluster = await startNatsCluster(3, { binary: natsBinary() });
    leftovers.push(() => cluster.clean());
    const connection = await client([...cluster.urls]);
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: 'R', subjects: ['r'], num_replicas: 3, allow_direct: true });
    await publish(connection, 'r', 'before');
    const leader = cluster.server((await manager.streams.info('R')).cluster?.leader as string);
    await leader.kill();
    const others = cluster.servers.filter((server) => server !== leader);
    // An election takes four to nine seconds.
    await until('the stream to take writes again', async () => (await publish(connection, 'r', 'after')).seq > 1, 20_000);
    await cluster.settled(others);
    await leader.start();
    await cluster.settled();
    const pinned = await client(leader.url, { ignoreClusterUpdates: true });
    await until('the old leader to know', async () => (await last(pinned, 'R', 'r')) === 'after');
  });

  test('can be parted, and comes together again', async () => {
    const cluster = await startNatsCluster(3, { binary: natsBinary(), proxied: true });
    leftovers.push(() => cluster.clean());
    const leader = await cluster.metaLeader();
    const [away, stays] = cluster.servers.filter((server) => server !== leader) as [NatsServer, NatsServer];
    const peers = async (server: NatsServer) => {
      const { routes } = (await server.monitor('routez')) as { routes?: { remote_name: string }[] };
      return [...new Set(routes?.map(({ remote_name }) => remote_name))].sort();
    };
    const others = (server: NatsServer) => cluster.servers.filter((other) => other !== server).map(({ name }) => name);
    // A leader needs but two of them.
    await until('all to have found each other', async () => (await peers(away)).join() === others(away).join());
    for (const proxy of cluster.between(away)) proxy.cut();
    await until('the cut to be felt on both sides', async () => (await peers(away)).length === 0 && (await peers(stays)).length === 1);
    await cluster.settled(cluster.servers.filter((server) => server !== away));
    for (const proxy of cluster.between(away)) await proxy.heal();
    await until('the routes to be back', async () => (await peers(away)).join() === others(away).join());
    await cluster.settled();
    for (const proxy of cluster.between(away, stays)) proxy.freeze('both');
    await until('pings to find out', async () => (await peers(away)).join() === leader?.name);
    expect(await peers(leader as NatsServer)).toEqual(others(leader as NatsServer));
  });
});
