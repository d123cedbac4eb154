import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { type DescMethod, fromBinary, type MessageInitShape, create as newMessage, toBinary } from '@bufbuild/protobuf';
import { Client, type ClientOptions, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { methodPath } from '../../src/api/services.ts';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../src/gen/grpc/health/v1/health_pb.ts';
import { GroupService } from '../../src/gen/sluice/v1/group_pb.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { certificate } from '../support/fakes/certificate.ts';

/* GroupService over gRPC at the address of operators, which speaks HTTP/1.1 and HTTP/2. */

const HEALTH = 'GET /v1/groups HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
let running: RunningServer | undefined;
let client: Client | undefined;

afterEach(async () => {
  client?.close();
  await running?.drain(true);
});

async function start(text: string, admin = '"127.0.0.1:0"', drain = 'drain: { delay: 0, grace: 0 }'): Promise<string> {
  const listen = `listen: { api: none, grpc: none, health: none, admin: ${admin} }\nstore: memory\n${drain}\n`;
  const groups = 'groups:\n  pace: { limits: [ { name: pace, spacing: 1h } ] }\n';
  const loaded = loadConfig({ text: listen + text + groups, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
  return running.addresses['admin'] ?? '';
}

function call<M extends DescMethod>(method: M, message: MessageInitShape<M['input']>, token?: string): Promise<unknown> {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  const encode = (value: typeof message): Buffer => Buffer.from(toBinary(method.input, newMessage(method.input, value)));
  return new Promise((resolve) => {
    const decode = (bytes: Buffer): unknown => fromBinary(method.output, bytes);
    client?.makeUnaryRequest(methodPath(method), encode, decode, message, metadata, (error: ServiceError | null, value) => resolve(error?.details ?? value));
  });
}

function open(address: string, channel = credentials.createInsecure(), options: ClientOptions = {}): void {
  client = new Client(address, channel, options);
}

async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
  await once(socket, 'close');
  return text;
}

test('GroupService answers gRPC at the address of operators, beside HTTP/1.1', async () => {
  const address = await start('');
  open(address);
  expect(await call(GroupService.method.listGroups, {})).toMatchObject({ groups: [{ name: 'pace' }] });
  expect(await call(GroupService.method.pause, { group: 'pace', reason: 'tests' })).toMatchObject({});
  const groups = await (await fetch(`http://${address}/v1/groups/pace`)).json();
  expect(groups).toMatchObject({ name: 'pace', pause: { reason: 'tests' } });
});

test('with auth.keys it asks for a key that may, as everywhere', async () => {
  const hash = (key: string): string => createHash('sha256').update(key).digest('hex');
  open(await start(`auth: { keys: [ { name: ana, sha256: ${hash('ana-key')}, can: [ read ] } ] }\n`));
  expect(await call(GroupService.method.listGroups, {})).toMatch(/API key/);
  expect(await call(GroupService.method.listGroups, {}, 'ana-key')).toMatchObject({ groups: [{ name: 'pace' }] });
  expect(await call(GroupService.method.pause, { group: 'pace' }, 'ana-key')).toMatch(/may not/);
});

test('a request that comes byte by byte is of the protocol that it turns out to be', async () => {
  const [host = '', port] = (await start('')).split(':');
  const socket = connect(Number(port), host).setNoDelay();
  const answer = textOf(socket);
  for (const byte of HEALTH.slice(0, 6)) await new Promise<void>((written) => socket.write(byte, () => setImmediate(written)));
  socket.write(HEALTH.slice(6));
  expect(await answer).toMatch(/^HTTP\/1\.1 200 .*"name":"pace"/s);
});

test.each([
  ['nothing', ''],
  ['part of a preface', 'PRI'],
  ['what is no protocol', '\0\0\0\0'],
])('a connection that ends after %s is closed', async (_name, text) => {
  const [host = '', port] = (await start('')).split(':');
  const socket = connect(Number(port), host);
  const answer = textOf(socket);
  socket.end(text);
  expect(await answer).not.toMatch(/200/);
});

test('over TLS gRPC is given HTTP/2, and a browser, which speaks both, HTTP/1.1', async () => {
  const address = await start('', `{ address: "127.0.0.1:0", tls: { cert: ${certificate.certFile}, key: ${certificate.keyFile} } }`);
  const [host, port] = address.split(':');
  const browser = connectTls({ host, port: Number(port), ALPNProtocols: ['h2', 'http/1.1'], rejectUnauthorized: false });
  await once(browser, 'secureConnect');
  expect(browser.alpnProtocol).toBe('http/1.1');
  browser.write(HEALTH);
  expect(await textOf(browser)).toMatch(/^HTTP\/1\.1 200 /);
  const trusting = credentials.createSsl(null, null, null, { rejectUnauthorized: false });
  open(address, trusting);
  expect(await call(GroupService.method.listGroups, {})).toMatchObject({ groups: [{ name: 'pace' }] });
});

/** Ends before the 10 s after which a silent connection is closed anyway. */
test('a server that stops closes connections that have said nothing yet', { timeout: 8_000 }, async () => {
  const [host = '', port] = (await start('')).split(':');
  const silent = connect(Number(port), host);
  const closed = textOf(silent);
  await once(silent, 'connect');
  // Accepted after it, and answered: so it was accepted, too.
  expect((await fetch(`http://${host}:${port}/v1/groups`)).status).toBe(200);
  await running?.drain(true);
  expect(await closed).toBe('');
});

test('its health says that the server is about to stop while it still serves', async () => {
  const address = await start('', '"127.0.0.1:0"', 'drain: { delay: 300ms, grace: 0 }');
  open(address);
  const check = (): Promise<unknown> => call(Health.method.check, {});
  expect(await check()).toMatchObject({ status: HealthCheckResponse_ServingStatus.SERVING });
  const drained = running?.drain(false);
  await expect.poll(check).toMatchObject({ status: HealthCheckResponse_ServingStatus.NOT_SERVING });
  await drained;
});
