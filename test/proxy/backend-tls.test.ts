import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import type { BackendTls } from '../../src/proxy/route.ts';
import type { Attempt } from '../../src/proxy/upstream/forwarder.ts';
import { createUndiciForwarder } from '../../src/proxy/upstream/undici.ts';
import { certificate } from '../support/fakes/certificate.ts';

const NONE: BackendTls = { ca: undefined, cert: undefined, key: undefined, servername: undefined };

let server: Server;
let ca: string;
const names: (string | false)[] = [];

describe('a backend behind TLS', () => {
  beforeAll(async () => {
    ca = certificate.cert;
    server = createServer({ key: certificate.key, cert: ca }, (socket) => {
      names.push((socket as unknown as { servername: string | false }).servername);
      socket.on('error', () => {});
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
    });
    server.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });

  afterAll(() => {
    server.close();
  });

  async function attempts(host: string, tls: BackendTls | undefined, times = 1): Promise<Attempt[]> {
    names.length = 0;
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const timeout = { connect: 2 * SECOND, firstByte: 5 * SECOND, idle: 5 * SECOND };
    const spec = {
      name: 'shop',
      urls: [`https://${host}:${port}`],
      timeout,
      concurrency: undefined,
      onAbort: 'cancel' as const,
      eject: { failures: 5, for: SECOND },
      queue: { requestsMax: 10_000, wait: 30 * SECOND },
      resolveEvery: MINUTE,
      tls,
    };
    const forwarder = createUndiciForwarder(spec);
    const all: Attempt[] = [];
    for (let i = 0; i < times; i++) {
      const request = { method: 'GET', target: '/', headers: ['Host', `evil${i}.example`], body: undefined };
      all.push(
        await new Promise<Attempt>((onAttempt) =>
          forwarder.forward(request, 0, { onInformation() {}, onHead() {}, onData: () => true, onEnd() {}, onAttempt }),
        ),
      );
    }
    await forwarder.close();
    return all;
  }

  test('is trusted with its authority, by the name in the file and never by the Host of a request', async () => {
    const all = await attempts('localhost', { ...NONE, ca }, 3);
    expect(all.map(({ kind }) => kind)).toEqual(['answered', 'answered', 'answered']);
    expect([...new Set(names)]).toEqual(['localhost']);
  });

  test('is not trusted without it: nothing is sent', async () => {
    expect(await attempts('localhost', undefined)).toMatchObject([{ kind: 'failed', why: 'connect', sent: false }]);
  });

  test('must bear the name', async () => {
    expect(await attempts('127.0.0.1', { ...NONE, ca })).toMatchObject([{ kind: 'failed', why: 'connect', sent: false }]);
    expect(await attempts('127.0.0.1', { ...NONE, ca, servername: 'shop.internal' }, 2)).toMatchObject([{ kind: 'answered' }, { kind: 'answered' }]);
    expect([...new Set(names)]).toEqual(['shop.internal']);
    expect(await attempts('localhost', { ...NONE, ca, servername: 'other.internal' })).toMatchObject([{ kind: 'failed', sent: false }]);
  });
});
