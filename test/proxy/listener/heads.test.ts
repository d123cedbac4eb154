import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readStrictly } from '../../support/fakes/backend.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* The head of a request goes to the backend when it is there, not with the first byte of its body; what follows is framed as ever. */

let rig: ProxyRig;
beforeEach(async () => {
  rig = await proxyRig(`backends: { shop: { urls: [ BACKEND ] } }
groups: { g: { limits: [ { name: slots, concurrency: 4 } ], ttl: { default: 5s } } }
routes: [ { match: { path: /g/* }, group: g, backend: shop, charge: headers }, { match: { path: /* }, backend: shop } ]
`);
  rig.backend.raw = new Map();
});
afterEach(() => rig.stop());

const chunked = (pieces: readonly string[]): string[] => [...pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`), '0\r\n\r\n'];

/** Sends a head, waits until the backend has it, then the body in pieces; resolves with what the backend read of all its bytes. */
async function send(path: string, framing: string, pieces: readonly string[], method = 'POST') {
  const wire = await rig.wire();
  const before = rig.backend.seen.length;
  wire.write(`${method} ${path} HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n`);
  await rig.backend.until(() => rig.backend.seen.length === before + 1);
  expect(rig.backend.seen[before]?.whole).toBe(false);
  for (const piece of pieces) {
    wire.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await wire.until((text) => text.endsWith('ok'));
  wire.destroy();
  return rig.backend.seen[before];
}

describe('the head of a request', () => {
  test.each(['/g/x', '/x'])('is at the backend before the first byte of its body, and all bytes follow (%s)', async (path) => {
    for (let i = 0; i < 3; i++) {
      expect((await send(path, 'Transfer-Encoding: chunked', chunked(['hello ', 'world'])))?.body.toString()).toBe('hello world');
      expect((await send(path, 'Transfer-Encoding: chunked', chunked([]), 'PUT'))?.body.toString()).toBe('');
      expect((await send(path, 'Content-Length: 11', ['hello ', 'world']))?.body.toString()).toBe('hello world');
      expect((await send(path, 'Content-Length: 1', ['x'], 'DELETE'))?.body.toString()).toBe('x');
      expect((await send(path, 'Content-Length: 100000', ['y'.repeat(60_000), 'y'.repeat(40_000)]))?.body.length).toBe(100_000);
    }
    for (const bytes of rig.backend.raw?.values() ?? []) {
      const { requests, anomaly } = readStrictly(Buffer.concat(bytes));
      expect([anomaly, requests.every(({ body }) => !body.includes(0))]).toEqual([undefined, true]);
    }
    await rig.shows('g', { waiting: 0, leases: 0 });
  });

  test.each(['Transfer-Encoding: chunked', 'Content-Length: 5'])('an answer to it alone reaches the caller who has sent no body yet (%s)', async (framing) => {
    rig.backend.onHead = (_head, socket) => void socket.write('HTTP/1.1 401 Who\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    const wire = await rig.wire();
    wire.write(`POST /g/x HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n`);
    expect(await wire.until((text) => text.endsWith('no'))).toMatch(/^HTTP\/1\.1 401 Who\r\n/);
    await rig.shows('g', { waiting: 0, leases: 0 });
  });

  test.each(['Transfer-Encoding: chunked', 'Content-Length: 5'])(
    'a caller who leaves before its body leaves no request at the backend (%s)',
    async (framing) => {
      const socket = connect(rig.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(`POST /g/x HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n`);
      await rig.backend.until(() => rig.backend.seen.length === 1);
      socket.resetAndDestroy();
      await rig.backend.until(() => rig.backend.cut === 1);
      expect(rig.backend.seen[0]?.whole).toBe(false);
      await rig.shows('g', { waiting: 0, leases: 0 });
    },
  );
});
