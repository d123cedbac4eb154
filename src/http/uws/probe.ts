import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { UwsModule } from './binding.ts';
import { uwsEngine } from './engine.ts';

const PROBE_MS_MAX = 1_000;
const END = 'POST /end HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n';

/** What a release must do with bytes, and what is reported of one that does not. */
const PROBES: readonly { readonly parts: readonly string[]; readonly served: readonly string[]; readonly otherwise: string }[] = [
  { parts: ['POST /spl', `it HTTP/1.1\r\nHost: h\r\n\r\n${END}`], served: ['/split', '/end'], otherwise: 'refuses a request line that comes in two segments' },
  {
    parts: [`POST /first HTTP/1.1\r\nHost: h\r\n: \r\nContent-Length: ${END.length}\r\n\r\n${END}`],
    served: [],
    otherwise: 'lets a field without a name hide the fields after it, and with them where a body ends',
  },
];

/**
 * Sends a few requests over loopback to the engine as it will run, and returns what is wrong with the installed release;
 * undefined: nothing known. Only what `uws.ts` itself cannot see is asked: releases differ in it (RFC 9112 section 6).
 */
export async function probeUws(uws: UwsModule): Promise<string | undefined> {
  for (const { parts, served, otherwise } of PROBES) {
    const seen = await serve(uws, parts);
    if (seen.join() !== served.join()) return otherwise;
  }
  return undefined;
}

/** Paths that reached a handler before the last, the end of the connection, or the end of wait timeout. */
async function serve(uws: UwsModule, parts: readonly string[]): Promise<readonly string[]> {
  const seen: string[] = [];
  const over = Promise.withResolvers<void>();
  const options = {
    bodyBytesMax: 1_000,
    receiveMsMax: PROBE_MS_MAX,
    unread: { bytesMax: 65_536, msMax: PROBE_MS_MAX },
    problem: (_status: number, detail: string) => ({ contentType: 'text/plain', body: detail }),
  };
  const engine = uwsEngine(uws, options, (request, reply) => {
    seen.push(request.path);
    reply.send(200, [], '');
    if (request.path === '/end') over.resolve();
  });
  const { port } = await engine.listen('127.0.0.1', 0);
  const socket: Socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  socket.on('error', () => over.resolve());
  socket.on('close', () => over.resolve());
  socket.resume();
  const waitTimeout = setTimeout(over.resolve, PROBE_MS_MAX);
  for (const part of parts) {
    socket.write(part);
    // The next segment goes on its own once this one is on its way.
    await sleep(5);
  }
  await over.promise;
  clearTimeout(waitTimeout);
  socket.destroy();
  await engine.close(0);
  return seen;
}
