import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import type { ConnectionEvent } from '../../src/nats/options.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { until } from '../support/fakes/until.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** As much of a NATS server as says its version and answers pings. */
async function server(version: string) {
  const said = { version };
  const sockets = new Set<Socket>();
  const listening = createServer((socket) => {
    sockets.add(socket);
    const info = { server_id: 'S', server_name: 'fake', version: said.version, headers: true, max_payload: 1 << 20, proto: 1 };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      for (const _ of String(data).matchAll(/^PING\r$/gm)) socket.write('PONG\r\n');
    });
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  ends.push(async () => listening.close());
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  ends.push(async () => cut());
  return { url: `nats://127.0.0.1:${(listening.address() as AddressInfo).port}`, said, cut };
}

const open = (url: string, tell: (change: ConnectionEvent) => void = () => {}) =>
  connectNats({ name: 'data', options: natsOptions([url]), inboxPrefix: '_INBOX_x', onEvent: tell, until: performance.now() + 60_000 });

test('a server that is too old is refused at the start, at once', async () => {
  const { url } = await server('2.9.10');
  await expect(open(url)).rejects.toThrow('NATS server fake: version 2.9.10 is older than 2.10.27, the least that keeps its promises; upgrade it.');
});

test('a server that is too old and joins later is told of', async () => {
  const { url, said, cut } = await server('2.12.3');
  const told: ConnectionEvent[] = [];
  const line = await open(url, (change) => told.push(change));
  ends.push(() => line.close());
  said.version = '2.12.1';
  cut();
  await until('it to be told', () => told.some(({ kind }) => kind === 'unfit'));
  expect(told.map(({ kind }) => kind)).toEqual(['connected', 'disconnected', 'connected', 'unfit']);
  expect(told.at(-1)).toEqual({ kind: 'unfit', line: 'data', why: 'NATS server fake: version 2.12.1 can lose acknowledged writes; take 2.12.3 or newer.' });
});
