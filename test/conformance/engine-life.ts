import { expect, it } from 'vitest';
import { BodyBudget } from '../../src/http/body-budget.ts';
import type { Engine, EngineOptions, EngineReply } from '../../src/http/engine.ts';
import type { EngineFactory } from '../../src/http/select-engine.ts';
import { Wire } from '../support/fakes/wire.ts';

/** Small bounds, so that the tests of bounds are quick. */
export const BOUNDS: EngineOptions = {
  bodyBytesMax: 1_000,
  receiveMsMax: 600,
  unread: { bytesMax: 1 << 20, msMax: 60_000 },
  problem: (status, detail) => ({ contentType: 'application/problem+json', body: JSON.stringify({ status, detail }) }),
};

/** Answers written bit by bit. */
export function streaming(make: EngineFactory): void {
  const serve = async (handler: (reply: EngineReply) => void, unread = BOUNDS.unread): Promise<{ wire: Wire; engine: Engine }> => {
    const engine = make({ ...BOUNDS, unread }, (_request, reply) => handler(reply));
    const { port } = await engine.listen('127.0.0.1', 0);
    const wire = await Wire.open(port);
    wire.write('GET /stream HTTP/1.1\r\nHost: h\r\n\r\n');
    return { wire, engine };
  };

  it('streams an answer bit by bit', async () => {
    const { wire, engine } = await serve((reply) => {
      const stream = reply.stream(200, [['Content-Type', 'text/event-stream']]);
      expect(stream.write('one')).toBe(true);
      setImmediate(() => {
        expect(stream.write('two')).toBe(true);
        stream.end();
        expect(stream.write('three')).toBe(false);
      });
    });
    const received = await wire.until((text) => text.endsWith('0\r\n\r\n'));
    expect(received).toMatch(/3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n$/);
    wire.destroy();
    await engine.close(0);
  });

  it('streams much more than 1 MiB to a caller that reads', async () => {
    const chunk = 'y'.repeat(64 * 1024);
    const { wire, engine } = await serve((reply) => {
      const stream = reply.stream(200, []);
      let left = 64;
      const more = (): void => {
        if (left === 0) return stream.end();
        left -= 1;
        expect(stream.write(chunk)).toBe(true);
        setTimeout(more, 2);
      };
      more();
    });
    const received = await wire.until((text) => text.endsWith('0\r\n\r\n'));
    expect(received.length).toBeGreaterThan(64 * 64 * 1024);
    wire.destroy();
    await engine.close(0);
  });

  it('closes a stream whose caller does not read, and tells it has left', async () => {
    const outcome = Promise.withResolvers<number>();
    const { wire, engine } = await serve((reply) => {
      const stream = reply.stream(200, []);
      let written = 0;
      let gone = false;
      reply.onGone(() => {
        gone = true;
      });
      const more = (): void => {
        if (!stream.write('z'.repeat(64 * 1024))) return void setImmediate(() => outcome.resolve(gone ? written : -1));
        written += 64 * 1024;
        setImmediate(more);
      };
      more();
    });
    wire.socket.pause();
    const written = await outcome.promise;
    // What the kernel takes for both sides comes on top of the bound.
    expect(written).toBeGreaterThan(1 << 20);
    expect(written).toBeLessThan(16 << 20);
    wire.destroy();
    await engine.close(0);
  });

  it('closes a stream of which nothing is read for `unread.msMax`, and tells it has left', async () => {
    const gone = Promise.withResolvers<void>();
    const { wire, engine } = await serve(
      (reply) => {
        reply.onGone(gone.resolve);
        const stream = reply.stream(200, []);
        // More than the kernel takes for both sides, and less than the bound of bytes.
        for (let chunks = 0; chunks < 256; chunks++) stream.write('z'.repeat(64 * 1024));
      },
      { bytesMax: 64 << 20, msMax: 100 },
    );
    wire.socket.pause();
    await gone.promise;
    wire.destroy();
    await engine.close(0);
  });

  it('keeps a stream open that is read slowly, and one that has nothing to read', async () => {
    const gone = Promise.withResolvers<string>();
    const { wire, engine } = await serve(
      (reply) => {
        reply.onGone(() => gone.resolve('gone'));
        const stream = reply.stream(200, []);
        let left = 20;
        const more = (): void => {
          if (left-- === 0) return stream.end();
          expect(stream.write('z'.repeat(1024))).toBe(true);
          setTimeout(more, 20);
        };
        more();
      },
      { bytesMax: 64 << 20, msMax: 100 },
    );
    const received = await Promise.race([wire.until((text) => text.endsWith('0\r\n\r\n')), gone.promise]);
    expect(received).toMatch(/0\r\n\r\n$/);
    wire.destroy();
    await engine.close(0);
  });
}

/** The beginning and the end of a listener. */
export function closing(make: EngineFactory): void {
  it('refuses a port that is taken, saying so', async () => {
    const one = make(BOUNDS, (_request, reply) => reply.send(200, [], ''));
    const { port } = await one.listen('127.0.0.1', 0);
    const two = make(BOUNDS, (_request, reply) => reply.send(200, [], ''));
    await expect(two.listen('127.0.0.1', port)).rejects.toThrow(/Cannot listen/);
    await one.close(0);
  });

  it('closes: no new connections, a held answer still goes out and ends its connection', async () => {
    const replies: EngineReply[] = [];
    const came = Promise.withResolvers<void>();
    const engine = make(BOUNDS, (_request, reply) => {
      replies.push(reply);
      reply.onGone(() => undefined);
      came.resolve();
    });
    const { port } = await engine.listen('127.0.0.1', 0);
    const wire = await Wire.open(port);
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await came.promise;
    const closed = engine.close(10_000);
    await expect(Wire.open(port)).rejects.toThrow(/ECONNREFUSED/);
    expect(replies[0]?.send(200, [], 'in the end')).toBe(true);
    expect(await wire.untilClosed()).toMatch(/connection: close\r\n[\s\S]*in the end$/i);
    wire.destroy();
    await closed;
  });

  it('cuts off who is still there after the grace', async () => {
    const gone = Promise.withResolvers<void>();
    const came = Promise.withResolvers<void>();
    const engine = make(BOUNDS, (_request, reply) => {
      reply.onGone(gone.resolve);
      came.resolve();
    });
    const { port } = await engine.listen('127.0.0.1', 0);
    const wire = await Wire.open(port);
    wire.write('GET /held HTTP/1.1\r\nHost: h\r\n\r\n');
    await came.promise;
    await engine.close(50);
    await gone.promise;
    await wire.untilClosed();
  });
}

/** Bodies of paths that may be longer than others, within a budget of all connections. */
export function longBodies(make: EngineFactory): void {
  const serve = async (): Promise<{ port: number; engine: Engine; budget: BodyBudget; held: EngineReply[] }> => {
    const budget = new BodyBudget(10_000);
    const held: EngineReply[] = [];
    const options = { ...BOUNDS, longBodies: { bytesMax: (path: string) => (path === '/long' ? 8_000 : undefined), budget } };
    const engine = make(options, (request, reply) => {
      if (request.query === 'hold') held.push(reply);
      else reply.send(200, [], `${request.body.byteLength}`);
    });
    const { port } = await engine.listen('127.0.0.1', 0);
    return { port, engine, budget, held };
  };
  const post = (path: string, bytes: number): string => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`;
  const status = async (port: number, text: string): Promise<string> => {
    const wire = await Wire.open(port);
    wire.write(text);
    const answer = await wire.until((received) => received.includes('\r\n\r\n'));
    wire.destroy();
    return answer;
  };

  it('takes a longer body at such a path only, and refuses one above its own bound', async () => {
    const { port, engine, budget } = await serve();
    expect(await status(port, post('/long?a', 8_000))).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\n8000$/s);
    expect(await status(port, post('/long', 8_001))).toMatch(/^HTTP\/1\.1 413 /);
    expect(await status(port, post('/short', 1_001))).toMatch(/^HTTP\/1\.1 413 /);
    await expect.poll(() => budget.bytes).toBe(0);
    await engine.close(0);
  });

  it('refuses with 503 and Retry-After where there is no room, and gives room back with the answer or when the caller leaves', async () => {
    const { port, engine, budget, held } = await serve();
    const first = await Wire.open(port);
    first.write(post('/long?hold', 6_000));
    await expect.poll(() => held.length).toBe(1);
    expect(budget.bytes).toBe(6_000);
    const refused = await status(port, post('/long', 5_000));
    expect(refused).toMatch(/^HTTP\/1\.1 503 /);
    expect(refused).toContain('Retry-After: 1\r\n');
    // Short ones need no room.
    expect(await status(port, post('/long', 900))).toMatch(/^HTTP\/1\.1 200 /);
    first.destroy();
    await expect.poll(() => budget.bytes).toBe(0);
    expect(await status(port, post('/long', 5_000))).toMatch(/^HTTP\/1\.1 200 /);
    const second = await Wire.open(port);
    second.write(post('/long?hold', 6_000));
    await expect.poll(() => held.length).toBe(2);
    held[1]?.send(200, [], 'late');
    await expect.poll(() => budget.bytes).toBe(0);
    second.destroy();
    await engine.close(0);
  });
}
