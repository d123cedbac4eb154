import { expect, it } from 'vitest';
import type { EngineFactory } from '../../src/frontends/engines/choose.ts';
import type { Engine, EngineOptions, EngineReply } from '../../src/frontends/engines/engine.ts';
import { Wire } from '../fakes/wire.ts';

/** Small bounds, so that the tests of bounds are quick. */
export const BOUNDS: EngineOptions = {
  bodyBytesMax: 1_000,
  receiveMsMax: 600,
  problem: (status, detail) => ({ contentType: 'application/problem+json', body: JSON.stringify({ status, detail }) }),
};

/** Answers written bit by bit. */
export function streaming(make: EngineFactory): void {
  const serve = async (handler: (reply: EngineReply) => void): Promise<{ wire: Wire; engine: Engine }> => {
    const engine = make(BOUNDS, (_request, reply) => handler(reply));
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
