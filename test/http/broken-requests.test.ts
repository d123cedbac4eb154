import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ENVELOPE_BYTES } from '../../src/api/connect/codec.ts';
import { MESSAGE_BYTES_MAX } from '../../src/api/connect/handler.ts';
import { oversizedBody } from '../../src/api/connect/response.ts';
import { engineProblem } from '../../src/api/problem.ts';
import { AcquireRequestSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { nodeEngine } from '../../src/http/node/engine.ts';
import { startApi, startGrpc } from '../protocol/servers.ts';

const ACQUIRE = '/sluice.v1.AdmissionService/Acquire';
const WATCH = '/sluice.v1.AdmissionService/Watch';
const OPEN = toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { group: 'open' }));

function enveloped(flags: number, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(ENVELOPE_BYTES);
  head[0] = flags;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** An ask of exactly so many bytes, by a field that no version has: it is passed over. */
function askOf(bytes: number): Buffer {
  const unknown = bytes - OPEN.length - 5;
  return Buffer.concat([OPEN, Buffer.from([0xfa, 0x3f, (unknown & 0x7f) | 0x80, ((unknown >> 7) & 0x7f) | 0x80, unknown >> 14]), Buffer.alloc(unknown)]);
}

describe('a broken request over gRPC-Web and Connect', () => {
  let api: Awaited<ReturnType<typeof startApi>>;
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api.stop());

  const web = async (body: Uint8Array): Promise<string> => {
    const response = await fetch(api.baseUrl + ACQUIRE, { method: 'POST', headers: { 'Content-Type': 'application/grpc-web+proto' }, body: Buffer.from(body) });
    expect(response.status).toBe(200);
    return /grpc-status: (\d+)/.exec(Buffer.from(await response.arrayBuffer()).toString('latin1'))?.[1] ?? '';
  };

  it.each([
    ['without a message', Buffer.alloc(0), '12'],
    ['with two messages', Buffer.concat([enveloped(0, OPEN), enveloped(0, OPEN)]), '12'],
    ['marked as compressed, with no encoding named', enveloped(1, OPEN), '13'],
    ['with half an envelope', Buffer.alloc(3), '3'],
    ['with less than its envelope says', enveloped(0, OPEN).subarray(0, 8), '3'],
    ['with a message of the longest', enveloped(0, askOf(MESSAGE_BYTES_MAX)), '0'],
    ['with a message of one byte more', enveloped(0, askOf(MESSAGE_BYTES_MAX + 1)), '8'],
  ])('%s has a code of its own', async (_name, body, status) => {
    expect(await web(body)).toBe(status);
  });

  it.each([
    [MESSAGE_BYTES_MAX, 200, undefined],
    [MESSAGE_BYTES_MAX + 1, 429, 'resource_exhausted'],
  ])('of Connect with %i bytes: %i', async (bytes, status, code) => {
    const response = await fetch(api.baseUrl + ACQUIRE, { method: 'POST', headers: { 'Content-Type': 'application/proto' }, body: askOf(bytes) });
    expect(response.status).toBe(status);
    if (code !== undefined) expect(await response.json()).toMatchObject({ code });
  });

  it('of a stream without a message ends it as unimplemented', async () => {
    const response = await fetch(api.baseUrl + WATCH, { method: 'POST', headers: { 'Content-Type': 'application/connect+json' }, body: Buffer.alloc(0) });
    expect((await response.text()).slice(ENVELOPE_BYTES)).toContain('"code":"unimplemented"');
  });

  it('by another method is 405, as plain text', async () => {
    const response = await fetch(api.baseUrl + ACQUIRE, { method: 'DELETE' });
    expect([response.status, response.headers.get('allow'), response.headers.get('content-type')]).toEqual([405, 'POST', 'text/plain; charset=utf-8']);
  });
});

describe('a body that is larger than the listener takes', () => {
  it.each([
    ['application/proto', 429, 'application/json', '"code":"resource_exhausted"'],
    ['application/connect+json', 200, 'application/connect+json', '"code":"resource_exhausted"'],
    ['application/grpc-web+proto', 200, 'application/grpc-web+proto', 'grpc-status: 8\r\n'],
    ['text/plain', 413, 'application/problem+json', '"reason":"too_large"'],
  ])('of %s is answered with %i in the way of its protocol', async (type, status, answered, contains) => {
    const problem = (code: number, detail: string, refused?: { contentType: string }) =>
      oversizedBody(refused?.contentType ?? '', detail) ?? engineProblem(code, detail);
    const engine = nodeEngine(
      { bodyBytesMax: 100, receiveMsMax: 1_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem },
      (_request, reply) => void reply.send(200, [], ''),
    );
    const { port } = await engine.listen('127.0.0.1', 0);
    const response = await fetch(`http://127.0.0.1:${port}${ACQUIRE}`, { method: 'POST', headers: { 'Content-Type': type }, body: Buffer.alloc(101) });
    expect([response.status, response.headers.get('content-type')]).toEqual([status, answered]);
    expect(Buffer.from(await response.arrayBuffer()).toString('latin1')).toContain(contains);
    await engine.close(100);
  });
});

describe('a broken request over gRPC', () => {
  let grpc: Awaited<ReturnType<typeof startGrpc>>;
  let session: ClientHttp2Session;
  beforeEach(async () => {
    grpc = await startGrpc();
    session = connect(`http://${grpc.address}`);
  });
  afterEach(async () => {
    session.close();
    await grpc.stop();
  });

  const call = (headers: Record<string, string>, body: Buffer): Promise<IncomingHttpHeaders> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':method': 'POST', ':path': ACQUIRE, 'content-type': 'application/grpc', te: 'trailers', ...headers });
      let seen: IncomingHttpHeaders = {};
      stream.on('response', (fields) => {
        seen = fields;
      });
      stream.on('trailers', (fields) => {
        seen = { ...seen, ...fields };
      });
      stream.on('close', () => resolve(seen));
      stream.on('error', reject);
      stream.resume();
      stream.end(body);
    });

  it.each([
    ['of another method', { ':method': 'PUT' }, enveloped(0, OPEN), { ':status': 405, allow: 'POST' }],
    ['of another codec', { 'content-type': 'application/grpc+json' }, enveloped(0, OPEN), { ':status': 415 }],
    [
      'of an unknown encoding',
      { 'grpc-encoding': 'br' },
      enveloped(1, OPEN),
      { ':status': 200, 'grpc-status': '12', 'grpc-accept-encoding': 'identity,deflate,gzip' },
    ],
    ['marked as compressed, with no encoding named', {}, enveloped(1, OPEN), { 'grpc-status': '13' }],
    ['without a message', {}, Buffer.alloc(0), { 'grpc-status': '12' }],
    ['with two messages', {}, Buffer.concat([enveloped(0, OPEN), enveloped(0, OPEN)]), { 'grpc-status': '12' }],
    ['with a message of the longest', {}, enveloped(0, askOf(65_536)), { 'grpc-status': '0' }],
    ['with a message of one byte more', {}, enveloped(0, askOf(65_537)), { 'grpc-status': '8' }],
  ])('%s is answered as the specification has it', async (_name, headers, body, expected) => {
    expect(await call(headers as Record<string, string>, body)).toMatchObject(expected);
  });

  it('has no `grpc-message` beside status 0, and details without padding', async () => {
    expect('grpc-message' in (await call({}, enveloped(0, OPEN)))).toBe(false);
    const refused = await call({}, enveloped(0, toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { group: 'nobody' }))));
    expect(String(refused['grpc-status-details-bin'])).toMatch(/^[A-Za-z0-9+/]+$/);
  });
});
