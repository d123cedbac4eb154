import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JetStreamRegisters } from '../../src/coordination/registers/jetstream.ts';
import { RegisterConflict } from '../../src/coordination/registers/registers.ts';
import { type NatsLink, openNats } from '../../src/server/nats.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../support/fakes/nats-server.ts';

showLogsOfFailures();

let server: NatsServer;
let link: NatsLink;
beforeAll(async () => {
  server = await startNats({ binary: natsBinary() });
  link = await openNats(natsOptions([server.url]));
});
afterAll(async () => {
  await link?.close();
  await server?.clean();
});

test('the registers of sessions are listed with their age, and one is forgotten unless it was written since', async () => {
  const registers = link.registers as JetStreamRegisters;
  const bytes = new Uint8Array([1]);
  const before = Date.now();
  const first = await registers.change('session.host:8080-a', bytes, 0);
  const second = await registers.change('session.b', bytes, 0);
  await registers.change('owner.1', bytes, 0);
  const found: string[] = [];
  for await (const { register, revision, writtenAt } of registers.sessions()) {
    found.push(`${register}@${revision}`);
    expect(Math.abs(writtenAt - before)).toBeLessThan(60_000);
  }
  expect(found).toEqual([`session.host:8080-a@${first}`, `session.b@${second}`]);
  const third = await registers.change('session.b', bytes, second);
  for (const [name, revision] of [
    ['session.host:8080-a', first],
    ['session.b', second],
  ] as const)
    await registers.forget(name, revision);
  expect(await registers.read('session.host:8080-a')).toBeUndefined();
  expect((await registers.read('session.b'))?.revision).toBe(third);
  // Its process, long frozen, cannot go on from where it was.
  await expect(registers.change('session.host:8080-a', bytes, first)).rejects.toThrow(RegisterConflict);
  expect(await link.forgetSessions()).toBe(0);
});
