import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RegisterConflict } from '../../src/coordination/registers/registers.ts';
import { MILLISECOND } from '../../src/core/time.ts';
import type { ConnectionEvent } from '../../src/nats/options.ts';
import { type NatsLink, openNats } from '../../src/server/nats.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../support/fakes/nats-server.ts';
import { until } from '../support/fakes/until.ts';

showLogsOfFailures();

let server: NatsServer;
let link: NatsLink;
let told: ConnectionEvent[];
beforeEach(async () => {
  server = await startNats({ binary: natsBinary() });
  told = [];
  link = await openNats(natsOptions([server.url], { answerWithin: 300 * MILLISECOND }), (change) => told.push(change));
});
afterEach(async () => {
  await link.close();
  await server.clean();
});

const outcome = (change: Promise<number>): Promise<unknown> =>
  change.then(
    () => 'changed',
    (cause: unknown) => cause,
  );

describe('a server that was killed and started again', () => {
  test('is said to be gone and to be back, keeps what it acknowledged, and is written to as before', async () => {
    const heard: number[] = [];
    link.messages.subscribe('hb', (bytes) => void heard.push(bytes[0] ?? 0));
    const first = await link.registers.change('r', new Uint8Array([1]), 0);
    const last = await link.store.append('ledger.01.x', new Uint8Array([1]), 0);
    await server.kill();
    await until('the link to notice', () => !link.connected());
    const refused = await outcome(link.registers.change('r', new Uint8Array([2]), first));
    expect(refused).not.toBeInstanceOf(RegisterConflict);
    expect((refused as Error).message).toBe('NATS is not connected.');
    link.messages.publish('hb', new Uint8Array([1]));
    await server.start();
    await until('the link to be back', () => link.connected());
    expect(await link.registers.read('r')).toEqual({ revision: first, bytes: new Uint8Array([1]) });
    await link.registers.change('r', new Uint8Array([2]), first);
    await until('the ledger to be back', async () => (await outcome(link.store.append('ledger.01.x', new Uint8Array([2]), last))) === 'changed');
    link.messages.publish('hb', new Uint8Array([2]));
    await until('the message', () => heard.length > 0);
    expect(heard).toEqual([2]);
    const kinds = told.filter((change) => 'line' in change && change.line === 'data').map(({ kind }) => kind);
    expect(kinds).toEqual(['connected', 'disconnected', 'connected']);
  });

  test('is connected to at once, also by a process whose wall clock was set back meanwhile', async () => {
    const { now } = Date;
    const wall = vi.spyOn(Date, 'now').mockImplementation(() => now() - 3_600_000);
    try {
      await server.kill();
      await until('the link to notice', () => !link.connected());
      await server.start();
      // Not only when the clock has gone through its hour again.
      await until('the link to be back', () => link.connected());
    } finally {
      wall.mockRestore();
    }
  });

  test('can be hung up on while it is away', async () => {
    await server.kill();
    await until('the link to notice', () => !link.connected());
    await link.close();
    expect(told.filter(({ kind }) => kind === 'closed').length).toBe(2);
  });
});

describe('a server that is frozen', () => {
  test('is given up on, answers nothing meanwhile, and is gone back to', async () => {
    const first = await link.registers.change('r', new Uint8Array([1]), 0);
    await server.pause();
    const unknown = await outcome(link.registers.change('r', new Uint8Array([2]), first));
    expect(unknown).toBeInstanceOf(Error);
    expect(unknown).not.toBeInstanceOf(RegisterConflict);
    await until('the link to notice', () => !link.connected());
    server.resume();
    await until('the link to be back', () => link.connected());
    // What was sent before may have been written after all; a reader finds out, and goes on from there.
    const found = await link.registers.read('r');
    await link.registers.change('r', new Uint8Array([3]), found?.revision ?? 0);
    expect((await link.registers.read('r'))?.bytes).toEqual(new Uint8Array([3]));
  });
});

test('a write that was sent twice would conflict with itself: it is sent once', async () => {
  const first = await link.registers.change('r', new Uint8Array([1]), 0);
  await server.pause();
  const unknown = outcome(link.registers.change('r', new Uint8Array([2]), first));
  setTimeout(() => server.resume(), 600);
  expect(await unknown).not.toBeInstanceOf(RegisterConflict);
});
