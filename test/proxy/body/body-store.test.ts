import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MINUTE, plus, SECOND } from '../../../src/core/time.ts';

import { BodyStore } from '../../../src/proxy/body/body-store.ts';
import type { BodyProblem, BufferedBody } from '../../../src/proxy/body/buffered-body.ts';
import type { HoldLimits } from '../../../src/proxy/route.ts';
import { FakeClock, settled } from '../../support/fakes/clock.ts';
import { folder } from '../../support/fakes/folder.ts';

const KIB = 1024;
const LIMITS: HoldLimits = { bodyBytesMax: 1 << 20, memoryBytesMax: 64 * KIB, groupBytesMax: 1 << 20, receiveMax: MINUTE, bytesPerSecondMin: 100 };

let clock: FakeClock;
let disk: Awaited<ReturnType<typeof folder>>;
let faults: unknown[];
let serial = 0;

beforeEach(async () => {
  clock = new FakeClock();
  disk = await folder();
  faults = [];
});

afterEach(async () => {
  expect(faults).toEqual([]);
  await disk.end();
});

function open(memoryBytesMax = 1 << 20, diskBytesMax = 1 << 20): Promise<BodyStore> {
  const random = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(serial++ % 256);
  return BodyStore.open({ clock, memoryBytesMax, diskBytesMax, folder: disk.path, random, onError: (error) => faults.push(error) });
}

/** A sender, and what is known of its body. */
class Sender {
  readonly stream = new PassThrough({ highWaterMark: 16 * KIB });
  readonly body: BufferedBody;
  wanted = 0;
  whole = 0;
  readonly faults: BodyProblem[] = [];

  constructor(hold: BodyStore, limits: Partial<HoldLimits> = {}, length?: number, group = 'g') {
    this.stream.on('error', () => {});
    this.body = hold.body({ length, stream: this.stream, wanted: () => this.wanted++ }, group, { ...LIMITS, ...limits });
  }

  /** Must be whole within a minute. */
  receive(): this {
    this.body.receive({ onWhole: () => this.whole++, onError: (fault) => this.faults.push(fault) }, plus(clock.now(), MINUTE));
    return this;
  }

  /** May take as long as it keeps its speed. */
  flow(): this {
    this.body.receive({ onWhole: () => this.whole++, onError: (fault) => this.faults.push(fault) }, undefined);
    return this;
  }

  /** Sends these bytes and lets them arrive. */
  async send(...pieces: (string | Uint8Array)[]): Promise<this> {
    for (const piece of pieces) this.stream.write(piece);
    for (let i = 0; i < 3; i++) await settled();
    return this;
  }

  async end(): Promise<this> {
    this.stream.end();
    await quiet();
    return this;
  }
}

/** Lets promises settle some way down. */
async function quiet(): Promise<void> {
  for (let i = 0; i < 20; i++) await settled();
}

/** Lets a disk do its work. */
async function until(enough: () => boolean): Promise<void> {
  while (!enough()) await settled();
}

async function read(opened: Uint8Array | Readable): Promise<Buffer> {
  return opened instanceof Readable ? Buffer.concat(await opened.toArray()) : Buffer.from(opened);
}

/** Bytes that tell where they stand. */
function pattern(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) % 256));
}

describe('a body that is held', () => {
  test('is asked for once reading begins, and is in one piece when it fits in memory', async () => {
    const hold = await open();
    const sender = new Sender(hold);
    expect(sender.wanted).toBe(0);
    await sender.receive().send('ab', 'c');
    await sender.end();
    expect([sender.wanted, sender.whole, sender.body.whole, sender.body.replayable, sender.body.length]).toEqual([1, 1, true, true, 3]);
    expect(sender.body.open()).toBeInstanceOf(Uint8Array);
    expect((await read(sender.body.open())).toString()).toBe('abc');
    expect(hold.used).toEqual({ memory: 3, disk: 0, bodies: 1 });
    sender.body.drop();
    sender.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
    clock.advance(SECOND);
    expect(clock.pending).toBe(0);
  });

  test('in pieces of a byte or a few is gathered, whoever reads it and when', async () => {
    const bytes = pattern(40_000);
    const hold = await open();
    const whole = new Sender(hold).receive();
    const passing = new Sender(hold).flow();
    for (let at = 0; at < bytes.length; ) {
      const size = at % 1000 === 0 ? 3000 : 1 + (at % 7);
      for (const { stream } of [whole, passing]) stream.write(bytes.subarray(at, at + size));
      at += size;
      if (at % 50 === 0) await settled();
    }
    const reading = read(passing.body.open());
    for (const { stream } of [whole, passing]) stream.end();
    expect((await reading).equals(bytes)).toBe(true);
    await until(() => whole.whole === 1);
    expect((await read(whole.body.open())).equals(bytes)).toBe(true);
    for (const { body } of [whole, passing]) body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('in a hundred thousand pieces of a byte costs little more than its bytes', async () => {
    const hold = await open();
    const sender = new Sender(hold, { memoryBytesMax: 1 << 20 }).receive();
    const before = process.memoryUsage();
    for (let i = 0; i < 100_000; i++) {
      sender.stream.emit('data', Buffer.from('x'));
    }
    const now = process.memoryUsage();
    expect(now.arrayBuffers - before.arrayBuffers).toBeLessThan(2 << 20);
    expect(hold.used.memory).toBe(100_000);
    sender.body.drop();
  });

  test('goes to disk beyond its memory, in order, and can be read again and again; its file has no name', async () => {
    const hold = await open();
    const bytes = pattern(300 * KIB);
    const sender = new Sender(hold).receive();
    sender.stream.end(bytes);
    await until(() => sender.whole === 1);
    expect(sender.whole).toBe(1);
    expect(hold.used.memory).toBeLessThanOrEqual(64 * KIB);
    expect(hold.used.memory + hold.used.disk).toBe(bytes.length);
    expect(await readdir(disk.path)).toEqual([]);
    for (let i = 0; i < 2; i++) expect((await read(sender.body.open())).equals(bytes)).toBe(true);
    expect(sender.body.replayable).toBe(true);
    sender.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('two readers at once do not disturb each other: the later one counts', async () => {
    const hold = await open();
    const bytes = pattern(200 * KIB);
    const sender = new Sender(hold).receive();
    sender.stream.end(bytes);
    await until(() => sender.whole === 1);
    const first = sender.body.open() as Readable;
    first.read(10);
    first.destroy();
    expect((await read(sender.body.open())).equals(bytes)).toBe(true);
    sender.body.drop();
  });

  test('what a crash left in the folder is removed at the start', async () => {
    await writeFile(join(disk.path, 'held-0123'), 'x');
    await writeFile(join(disk.path, 'other'), 'x');
    await open();
    expect(await readdir(disk.path)).toEqual(['other']);
  });

  test('a folder that cannot be used is said at the start', async () => {
    await writeFile(join(disk.path, 'file'), '');
    const parts = { clock, memoryBytesMax: 1, diskBytesMax: 1, folder: join(disk.path, 'file'), random: () => new Uint8Array(16), onError: () => {} };
    await expect(BodyStore.open(parts)).rejects.toThrow(/make the folder writable/);
  });
});

describe('bounds', () => {
  test('a body at its maximum is taken, one byte more is too large', async () => {
    const hold = await open();
    const at = await (await new Sender(hold, { bodyBytesMax: 10 }).receive().send('12345', '67890')).end();
    expect([at.whole, at.faults]).toEqual([1, []]);
    const past = await new Sender(hold, { bodyBytesMax: 10 }).receive().send('12345', '678901');
    expect([past.whole, past.faults]).toMatchObject([0, [{ kind: 'refused', refusal: { reason: 'too_large' } }]]);
    at.body.drop();
    past.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('without room the sender is paused, and goes on when another is gone', async () => {
    const hold = await open(100, 0);
    const first = await (await new Sender(hold).receive().send(pattern(80))).end();
    const second = await new Sender(hold).receive().send(pattern(50));
    await second.end();
    expect([second.whole, second.body.paused, hold.used.memory]).toEqual([0, true, 80]);
    first.body.drop();
    await quiet();
    expect([second.whole, hold.used.memory]).toEqual([1, 50]);
    expect((await read(second.body.open())).equals(pattern(50))).toBe(true);
    second.body.drop();
    expect(hold.used.memory).toBe(0);
  });

  test('room is given in order: a small one does not pass a large one', async () => {
    const hold = await open(100, 0);
    const first = await (await new Sender(hold).receive().send(pattern(90))).end();
    const large = await (await new Sender(hold).receive().send(pattern(60))).end();
    const small = await (await new Sender(hold).receive().send(pattern(5))).end();
    expect([large.whole, small.whole]).toEqual([0, 0]);
    large.body.drop();
    await quiet();
    expect(small.whole).toBe(1);
    first.body.drop();
    small.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('the disk has its quota, a group its own', async () => {
    const hold = await open(1 << 20, 100 * KIB);
    const onDisk = new Sender(hold).receive();
    for (let i = 0; i < 30; i++) onDisk.stream.write(pattern(10 * KIB));
    onDisk.stream.end();
    await until(() => hold.used.disk > 30 * KIB);
    await quiet();
    expect(onDisk.whole).toBe(0);
    expect(hold.used.disk).toBeLessThanOrEqual(100 * KIB);
    onDisk.body.drop();
    const one = await (await new Sender(hold, { groupBytesMax: 10 }, undefined, 'small').receive().send('1234567')).end();
    const two = await (await new Sender(hold, { groupBytesMax: 10 }, undefined, 'small').receive().send('1234567')).end();
    const other = await (await new Sender(hold, { groupBytesMax: 10 }, undefined, 'other').receive().send('1234567')).end();
    expect([one.whole, two.whole, other.whole]).toEqual([1, 0, 1]);
    for (const each of [one, two, other]) each.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('what can never fit is refused at once', async () => {
    const hold = await open(10, 0);
    const sender = await new Sender(hold).receive().send(pattern(11));
    expect(sender.faults).toMatchObject([{ kind: 'refused', refusal: { reason: 'shed', limit: 'backlog.bytes' } }]);
    sender.body.drop();
  });

  test("who waits for room until the end of its time is shed, and not reported as the sender's fault", async () => {
    const hold = await open(100, 0);
    const first = await (await new Sender(hold).receive().send(pattern(80))).end();
    const second = await new Sender(hold).receive().send(pattern(50));
    await clock.advanceAsync(MINUTE);
    expect(second.faults).toMatchObject([{ kind: 'refused', refusal: { reason: 'shed' } }]);
    first.body.drop();
    second.body.drop();
    expect([hold.used, clock.pending]).toEqual([{ memory: 0, disk: 0, bodies: 0 }, 0]);
  });
});

describe('slow senders', () => {
  test('at the least speed it may go on, below it is given up', async () => {
    const hold = await open();
    const sender = new Sender(hold).flow();
    for (let i = 0; i < 20; i++) {
      await sender.send(pattern(500));
      await clock.advanceAsync(5 * SECOND);
    }
    expect(sender.faults).toEqual([]);
    await sender.send(pattern(499));
    await clock.advanceAsync(5 * SECOND);
    expect(sender.faults).toMatchObject([{ kind: 'slow' }]);
    sender.body.drop();
    expect(clock.pending).toBe(0);
  });

  test('fast enough, and not whole in time', async () => {
    const hold = await open();
    const sender = new Sender(hold).receive();
    for (let i = 0; i < 12; i++) {
      await sender.send(pattern(1000));
      await clock.advanceAsync(5 * SECOND - 1);
    }
    expect(sender.faults).toEqual([]);
    await clock.advanceAsync(SECOND);
    expect(sender.faults).toMatchObject([{ kind: 'slow' }]);
    sender.body.drop();
  });

  test('one who leaves frees everything', async () => {
    const hold = await open();
    const sender = await new Sender(hold).receive().send(pattern(1000));
    sender.stream.destroy(new Error('reset'));
    await quiet();
    expect(sender.faults).toEqual([{ kind: 'gone' }]);
    sender.body.drop();
    clock.advance(SECOND);
    expect([hold.used, clock.pending]).toEqual([{ memory: 0, disk: 0, bodies: 0 }, 0]);
  });

  test('one who had left before anybody read', async () => {
    const hold = await open();
    const sender = new Sender(hold);
    sender.stream.destroy();
    await settled();
    sender.receive();
    await settled();
    expect(sender.faults).toEqual([{ kind: 'gone' }]);
    sender.body.drop();
  });
});

describe('a body that is passed on as it comes', () => {
  test('goes through without being held, slowed down by who reads it', async () => {
    const hold = await open();
    const sender = new Sender(hold, { bodyBytesMax: 64 << 20 });
    const reader = sender.body.open() as Readable;
    sender.flow();
    const bytes = pattern(4 << 20);
    let written = 0;
    const write = (): void => {
      while (written < bytes.length) {
        const piece = bytes.subarray(written, written + 16 * KIB);
        written += piece.length;
        if (!sender.stream.write(piece)) return void sender.stream.once('drain', write);
      }
      sender.stream.end();
    };
    write();
    await quiet();
    expect(written).toBeLessThan(512 * KIB);
    expect(hold.used.memory + hold.used.disk).toBeLessThan(128 * KIB);
    const got = await read(reader);
    expect(got.equals(bytes)).toBe(true);
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 1 });
    expect(sender.body.replayable).toBe(false);
    expect(() => sender.body.open()).toThrow();
    sender.body.drop();
    clock.advance(SECOND);
    expect(clock.pending).toBe(0);
  });

  test('what was held before comes first, from memory and disk, and its room is given back', async () => {
    const hold = await open();
    const bytes = pattern(400 * KIB);
    const sender = new Sender(hold).flow();
    sender.stream.write(bytes.subarray(0, 200 * KIB));
    await until(() => sender.body.received === 200 * KIB);
    const reader = sender.body.open() as Readable;
    const reading = read(reader);
    await until(() => hold.used.disk === 0);
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 1 });
    sender.stream.end(bytes.subarray(200 * KIB));
    expect((await reading).equals(bytes)).toBe(true);
    sender.body.drop();
  });

  test('one that waits for room passes what waits', async () => {
    const hold = await open(100, 0);
    const other = await (await new Sender(hold).receive().send(pattern(80))).end();
    const sender = await new Sender(hold).flow().send('before', pattern(50));
    const reading = read(sender.body.open());
    await sender.send('after');
    await sender.end();
    expect((await reading).equals(Buffer.concat([Buffer.from('before'), pattern(50), Buffer.from('after')]))).toBe(true);
    sender.body.drop();
    other.body.drop();
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test('opened, and not read: it may be opened again', async () => {
    const hold = await open();
    const sender = await new Sender(hold).flow().send('abc');
    const first = sender.body.open() as Readable;
    expect(sender.body.replayable).toBe(true);
    first.destroy();
    const reading = read(sender.body.open());
    await sender.end();
    expect((await reading).toString()).toBe('abc');
    sender.body.drop();
  });

  test('the reader hears of a sender that leaves, is too slow, or sends too much', async () => {
    const hold = await open();
    for (const wrong of [(sender: Sender) => sender.stream.destroy(), () => clock.advanceAsync(5 * SECOND), (sender: Sender) => sender.send(pattern(11))]) {
      const sender = new Sender(hold, { bodyBytesMax: 10 });
      const reading = read(sender.body.open());
      sender.flow();
      reading.catch(() => {});
      await settled();
      await wrong(sender);
      await expect(reading).rejects.toMatchObject({ code: 'ERR_SLUICE_SENDER' });
      expect(sender.faults).toHaveLength(1);
      sender.body.drop();
    }
    expect(hold.used).toEqual({ memory: 0, disk: 0, bodies: 0 });
  });

  test("a reader that does not read is not the sender's fault", async () => {
    const hold = await open();
    const sender = new Sender(hold);
    sender.body.open();
    sender.flow();
    for (let i = 0; i < 20; i++) await sender.send(pattern(16 * KIB));
    await clock.advanceAsync(MINUTE);
    expect(sender.faults).toEqual([]);
    sender.body.drop();
  });
});
