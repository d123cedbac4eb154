import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { EngineHandler } from '../../src/http/engine.ts';
import { nodeEngine } from '../../src/http/node/engine.ts';
import { PacedReads } from '../../src/http/node/paced-reads.ts';

/** Connections of which only is known whether they are read. */
function refused(reads: PacedReads, count: number): { readonly read: () => number } {
  const states = Array.from({ length: count }, () => ({ reading: true }));
  for (const state of states) {
    const socket = { destroyed: false, pause: () => (state.reading = false), resume: () => (state.reading = true) };
    reads.refused(socket as unknown as Socket);
  }
  return { read: () => states.filter(({ reading }) => reading).length };
}

async function turnsOf(read: () => number, all: number): Promise<readonly number[]> {
  const turns = [read()];
  while (read() < all) {
    await nextTurn();
    turns.push(read());
  }
  return turns;
}

test('reads 32 refused connections on in a turn of the event loop', async () => {
  const { read } = refused(new PacedReads(), 70);
  expect(await turnsOf(read, 70)).toEqual([32, 64, 70]);
});

test('reads but a few on in a turn while connections come, and more again with each turn', async () => {
  const reads = new PacedReads();
  const server = createServer();
  reads.attend(server);
  server.emit('connection');
  const { read } = refused(reads, 100);
  expect(await turnsOf(read, 100)).toEqual([2, 4, 8, 16, 32, 64, 96, 100]);
});

test('counts anew in each turn', async () => {
  const reads = new PacedReads();
  refused(reads, 32);
  await nextTurn();
  await nextTurn();
  expect(refused(reads, 32).read()).toBe(32);
});

test('answers every request of 200 connections that are refused and ask again at once, pipelined ones too', async () => {
  const handler: EngineHandler = (_request, reply) => void reply.send(429, [], 'no');
  const options = {
    bodyBytesMax: 64,
    receiveMsMax: 5_000,
    unread: { bytesMax: 65_536, msMax: 5_000 },
    problem: () => ({ contentType: 'text/plain', body: '' }),
  };
  const engine = nodeEngine(options, handler);
  const { port } = await engine.listen('127.0.0.1', 0);
  const one = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
  const answers = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const socket = connect(port, '127.0.0.1').setEncoding('latin1');
      let [text, asked] = ['', 2];
      socket.on('data', (chunk: string) => {
        text += chunk;
        const answered = text.split('HTTP/1.1 429').length - 1;
        if (answered === 10) socket.end();
        else if (answered === asked) {
          asked += 2;
          socket.write(one.repeat(2));
        }
      });
      socket.write(one.repeat(2));
      await once(socket, 'close');
      return text.split('HTTP/1.1 429').length - 1;
    }),
  );
  expect(answers).toEqual(answers.map(() => 10));
  await engine.close(0);
});
