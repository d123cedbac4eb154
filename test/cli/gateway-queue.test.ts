import { afterEach, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/cli/command.ts';
import { gatewayQueueCommand } from '../../src/cli/gateway-queue.ts';
import { freePort } from '../support/fakes/ports.ts';
import { until } from '../support/fakes/until.ts';
import { type FakeWorld, fakeWorld } from './world.ts';

/* `sluice gateway-queue` by the variables of those it replaces. */

const QUIET = ['--store=memory', '--listen.health=none', '--drain.delay=0s', '--drain.grace=0s'];

let stop = async (): Promise<void> => {};
afterEach(() => stop());

/** Runs it until the test ends. */
function run(args: readonly string[], env: Readonly<Record<string, string>>): FakeWorld {
  const world = fakeWorld(env);
  const ended = gatewayQueueCommand.run([...QUIET, ...args], world);
  stop = async () => {
    world.signal('SIGTERM');
    expect(await ended).toBe(EXIT.ok);
  };
  return world;
}

async function answer(port: number, path = '/?shard=0', host = '127.0.0.1'): Promise<readonly [status: number, body: string]> {
  let got: readonly [number, string] = [0, ''];
  await until('an answer', async () => {
    const response = await fetch(`http://${host}:${port}${path}`);
    got = [response.status, await response.text()];
    return true;
  });
  return got;
}

describe('As twilight-rs/gateway-queue', () => {
  test('it listens on HOST and PORT and logs as RUST_LOG says', async () => {
    const port = await freePort();
    const world = run([], { HOST: '127.0.0.1', PORT: String(port), RUST_LOG: 'hyper=trace,warn' });
    expect(await answer(port)).toEqual([200, `{"message": "You're free to connect now! :)"}`]);
    expect(world.out()).not.toContain('"level":"info"');
  });

  test('flags of the configuration stand above the variables', async () => {
    const [port, other] = [await freePort(), await freePort()];
    run([`--listen.gatewayQueue=127.0.0.1:${other}`, '--gatewayQueue.maxConcurrency=0'], { PORT: String(port) });
    expect((await answer(other))[0]).toBe(200);
    expect((await answer(other))[0]).toBe(200);
  });

  test.each([
    [{ HOST: 'localhost' }, 'HOST: "localhost" is no IP address.'],
    [{ PORT: '70000' }, 'PORT: "70000" is no port.'],
    [{ PORT: 'http' }, 'PORT: "http" is no port.'],
  ])('it does not start with %j, and says why', async (env, why) => {
    const world = fakeWorld(env as Readonly<Record<string, string>>);
    expect(await gatewayQueueCommand.run(QUIET, world)).toBe(EXIT.failed);
    expect(world.err()).toContain(why);
  });

  test('a variant that there is not is refused with those that there are', async () => {
    const world = fakeWorld({});
    expect(await gatewayQueueCommand.run(['--variant', 'spectacles'], world)).toBe(EXIT.failed);
    expect(world.err()).toMatch(/spectacles.*twilight, pluralkit|twilight.*pluralkit/s);
  });
});

describe('As PluralKit/gateway-queue', () => {
  test('GQ-19: it listens on ADDR, has CONCURRENCY buckets, answers with its text, and 400 to a shard that is none', async () => {
    const port = await freePort();
    run(['--variant', 'pluralkit'], { ADDR: `127.0.0.1:${port}`, CONCURRENCY: '16' });
    const answers = await Promise.all(Array.from({ length: 16 }, (_, shard) => answer(port, `/?shard=${shard}`)));
    expect(answers).toEqual(Array.from({ length: 16 }, () => [200, 'You are free to connect now! :)']));
    expect((await answer(port, '/?shard=-1'))[0]).toBe(400);
  });

  test('a CONCURRENCY that is no number counts as 1, with a warning', async () => {
    const port = await freePort();
    const world = run(['--variant=pluralkit'], { ADDR: `127.0.0.1:${port}`, CONCURRENCY: 'many' });
    expect((await answer(port))[0]).toBe(200);
    expect(world.err()).toContain('CONCURRENCY: "many" is no number');
  });

  test.each([
    [{ CONCURRENCY: '0' }, 'CONCURRENCY: 0 buckets would serve no shard.'],
    [{ ADDR: 'localhost:1' }, 'ADDR: "localhost:1" is no address.'],
  ])('it does not start with %j, and says why', async (env, why) => {
    const world = fakeWorld(env as Readonly<Record<string, string>>);
    expect(await gatewayQueueCommand.run([...QUIET, '--variant=pluralkit'], world)).toBe(EXIT.failed);
    expect(world.err()).toContain(why);
  });
});
