import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine, EngineReply, EngineRequest } from '../../src/http/engine.ts';
import type { EngineFactory } from '../../src/http/select-engine.ts';
import { Wire } from '../support/fakes/wire.ts';
import { BAD_FRAMING } from './engine-bad-input.ts';
import { BOUNDS, closing, longBodies, streaming } from './engine-life.ts';

/** What a handler under test has seen; held requests wait in it. */
interface Seen {
  readonly request: EngineRequest;
  readonly reply: EngineReply;
  gone: boolean;
}

/** What every HTTP engine promises to the front ends; `except`: cases that are not run, by name, with the reason. */
export function engineSuite(name: string, make: EngineFactory, except: Readonly<Record<string, string>> = {}): void {
  describe(`the engine ${name}`, () => {
    const seen: Seen[] = [];
    const waiting = new Set<() => void>();
    let engine: Engine;
    let port = 0;

    const handler = (request: EngineRequest, reply: EngineReply): void => {
      const entry: Seen = { request, reply, gone: false };
      seen.push(entry);
      for (const wake of [...waiting]) wake();
      if (request.path === '/held') {
        reply.onGone(() => {
          entry.gone = true;
          for (const wake of [...waiting]) wake();
        });
      } else if (request.path === '/throws') throw new Error('a bug');
      else
        reply.send(200, [['Content-Type', 'text/plain']], `${request.method} ${request.path} ${request.query} ${Buffer.from(request.body).toString('latin1')}`);
    };
    const held = (count: number): Promise<void> => until(() => seen.length >= count);
    const until = async (true_: () => boolean): Promise<void> => {
      while (!true_()) {
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    };
    const fresh = async (halfOpen = false): Promise<Wire> => {
      seen.length = 0;
      return Wire.open(port, halfOpen);
    };

    beforeAll(async () => {
      engine = make(BOUNDS, handler);
      ({ port } = await engine.listen('127.0.0.1', 0));
    });
    afterAll(() => engine.close(0));

    answering(fresh, seen);
    leaving(fresh, seen, held, until);
    refusing(fresh, seen, except);
    streaming(make);
    longBodies(make);
    closing(make);
  });
}

type Fresh = (halfOpen?: boolean) => Promise<Wire>;

function answering(fresh: Fresh, seen: Seen[]): void {
  it('hands over method, path, query, fields and body, and writes the answer', async () => {
    const wire = await fresh();
    wire.write('POST /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 5\r\n\r\nhello');
    const received = await wire.until((text) => text.endsWith('hello'));
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(received).toMatch(/content-type: text\/plain\r\n/i);
    expect(received).toContain('\r\n\r\nPOST /a%20b x=1&y hello');
    expect(seen[0]?.request.header('x-two')).toBe('a, b');
    expect(seen[0]?.request.header('x-three')).toBeUndefined();
    wire.destroy();
  });

  it('keeps a connection for the next request', async () => {
    const wire = await fresh();
    wire.write('GET /one HTTP/1.1\r\nHost: h\r\n\r\n');
    await wire.until((text) => text.includes('GET /one'));
    wire.write('GET /two HTTP/1.1\r\nHost: h\r\n\r\n');
    await wire.until((text) => text.includes('GET /two'));
    wire.destroy();
  });

  it('takes a request byte by byte', async () => {
    const wire = await fresh();
    for (const byte of 'POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc') {
      wire.write(byte);
      await new Promise(setImmediate);
    }
    await wire.until((text) => text.includes('POST /b  abc'));
    wire.destroy();
  });

  it('answers pipelined requests in order', async () => {
    const wire = await fresh();
    wire.write('GET /one HTTP/1.1\r\nHost: h\r\n\r\nPOST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /three HTTP/1.1\r\nHost: h\r\n\r\n');
    const received = await wire.until((text) => text.includes('/three'));
    expect(received.indexOf('/one')).toBeLessThan(received.indexOf('/two  hi'));
    expect(received.indexOf('/two')).toBeLessThan(received.indexOf('/three'));
    wire.destroy();
  });

  it('answers HEAD with the length and without the body', async () => {
    const wire = await fresh();
    wire.write('HEAD /x HTTP/1.1\r\nHost: h\r\n\r\nGET /after HTTP/1.1\r\nHost: h\r\n\r\n');
    const received = await wire.until((text) => text.includes('GET /after'));
    expect(received).toMatch(/content-length: 9\r\n/i);
    expect(received).not.toContain('HEAD /x');
    wire.destroy();
  });

  it('turns a throw into a 500 without the reason', async () => {
    const wire = await fresh();
    wire.write('GET /throws HTTP/1.1\r\nHost: h\r\n\r\n');
    const received = await wire.until((text) => text.includes('}'));
    expect(received).toMatch(/^HTTP\/1\.1 500 /);
    expect(received).not.toContain('a bug');
    wire.destroy();
  });
}

function leaving(fresh: Fresh, seen: Seen[], held: (count: number) => Promise<void>, until: (true_: () => boolean) => Promise<void>): void {
  it('tells when the caller of a held request leaves, and writes no more', async () => {
    const wire = await fresh();
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await held(1);
    wire.destroy();
    await until(() => seen[0]?.gone === true);
    expect(seen[0]?.reply.send(200, [], 'late')).toBe(false);
  });

  it('counts a half-close as leaving', async () => {
    const wire = await fresh(true);
    wire.write('POST /held HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi');
    await held(1);
    wire.socket.end();
    await until(() => seen[0]?.gone === true);
    wire.destroy();
  });

  it('answers a held request late, and says nothing of leaving afterwards', async () => {
    const wire = await fresh();
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await held(1);
    expect(seen[0]?.reply.send(200, [], 'late')).toBe(true);
    expect(seen[0]?.reply.send(200, [], 'twice')).toBe(false);
    await wire.until((text) => text.endsWith('late'));
    wire.destroy();
    const other = await fresh();
    other.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await held(1);
    other.destroy();
    await until(() => seen[0]?.gone === true);
  });

  it('never answers a pipelined request before the held one: it waits, or the connection ends and both have left', async () => {
    const wire = await fresh();
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await held(1);
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await until(() => seen.length >= 2 || seen[0]?.gone === true);
    if (seen.length >= 2) {
      seen[1]?.reply.send(200, [], 'second');
      await new Promise(setImmediate);
      expect(wire.received).toBe('');
      seen[0]?.reply.send(200, [], 'first');
      const received = await wire.until((text) => text.includes('second'));
      expect(received.indexOf('first')).toBeLessThan(received.indexOf('second'));
      wire.destroy();
    } else await wire.untilClosed();
  });

  it('never loses a request behind one that asks for another protocol, and then serves the next: in order, or not at all', async () => {
    const wire = await fresh();
    const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n${more}\r\n`;
    wire.write(`${get('/a', 'Connection: Upgrade\r\nUpgrade: h2c\r\n')}${get('/b')}`);
    await until(() => seen.length >= 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    wire.write(get('/c'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(['/a /b /c', '/a /b', '/a']).toContain(seen.map(({ request }) => request.path).join(' '));
    wire.destroy();
  });

  it('tells every pipelined request that its caller has left', async () => {
    const wire = await fresh();
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\nGET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await held(1);
    await new Promise(setImmediate);
    wire.destroy();
    await until(() => seen.every(({ gone }) => gone));
  });
}

function refusing(fresh: Fresh, seen: Seen[], except: Readonly<Record<string, string>>): void {
  for (const { name } of BAD_FRAMING) {
    if (except[name] !== undefined) it.skip(`refuses and closes: ${name} (${except[name]})`, () => undefined);
  }

  it.each(BAD_FRAMING.filter(({ name }) => except[name] === undefined))('refuses and closes: $name', async ({ bytes, statuses }) => {
    const wire = await fresh();
    wire.write(bytes);
    const received = await wire.untilClosed();
    // Some parsers end the connection without a word; what counts is that no handler ran, not even for what was hidden.
    if (received !== '') expect(statuses).toContain(Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1]));
    expect(wire.answers).toBeLessThanOrEqual(1);
    expect(seen.map(({ request }) => request.path)).toEqual([]);
    wire.destroy();
  });

  it('takes a body of the bound, and refuses one byte more before it is sent', async () => {
    const wire = await fresh();
    wire.write(`POST /full HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n${'x'.repeat(1_000)}`);
    await wire.until((text) => text.endsWith('x'.repeat(1_000)));
    wire.write('POST /over HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n');
    const received = await wire.untilClosed();
    expect(received).toContain('HTTP/1.1 413 ');
    expect(received).toContain('"status":413');
    expect(seen.map(({ request }) => request.path)).toEqual(['/full']);
  });

  it('refuses a body over the bound so that its sender reads why', async () => {
    const wire = await fresh();
    wire.write(`POST /over HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n${'x'.repeat(300_000)}`);
    expect(await wire.untilClosed()).toContain('"status":413');
    expect(seen).toEqual([]);
  });

  it('refuses a body that does not come in time', async () => {
    const wire = await fresh();
    wire.write('POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf');
    const received = await wire.untilClosed();
    expect(received).toContain('HTTP/1.1 408 ');
    expect(seen).toEqual([]);
  });

  it('forgets a body whose sender leaves half-way', async () => {
    const wire = await fresh();
    wire.write('POST /half HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf');
    await new Promise(setImmediate);
    wire.destroy();
    const after = await fresh();
    after.write('GET /after HTTP/1.1\r\nHost: h\r\n\r\n');
    await after.until((text) => text.includes('GET /after'));
    expect(seen.map(({ request }) => request.path)).toEqual(['/after']);
    after.destroy();
  });
}
