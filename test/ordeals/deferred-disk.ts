import { readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Agent } from 'undici';
import { type Acknowledged, checkDeliveries } from '../deferred/delivery-checker.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { RecordingBackend, type SubmitAnswer, submitOnce } from './deferred-harness.ts';
import { Client, check, type Ordeal } from './ordeal.ts';
import { SIZE, SmallDisk } from './small-disk.ts';

/** In flight at once, by the limit of the group. */
const IN_FLIGHT = 20;
/** Requests that a full disk may still find room for, in pages that are free inside the file. */
const STILL_MAX = 4_000;
const FLIPS = 4;
/** Where the first meta page of LMDB has its magic number. */
const META_MAGIC = 24;

/** The store of deferred requests on a disk that is full, fails, is read-only, or gives back other bytes than it got. */
export const deferredDisk: Ordeal = {
  name: 'deferred-disk',
  about: `deferred requests on an ext4 of ${SIZE} that is filled, fails, is read-only, and has bytes flipped`,
  lacks: () => SmallDisk.lacks('ext4'),
  run: async (say) => {
    const play = new DiskPlay(await RecordingBackend.start());
    try {
      await play.firstStart(say);
      await play.fillUnderRunning(say);
      await play.fillUnderStarting(say);
      await play.failUnderRunning(say);
      await play.flip(say);
      await play.judge(say);
    } finally {
      await play.end();
    }
  },
};

class DiskPlay {
  readonly #backend: RecordingBackend;
  readonly #disk = SmallDisk.mount('ext4');
  readonly #agent = new Agent({ connections: 16, pipelining: 1 });
  readonly #acknowledged: Acknowledged[] = [];
  readonly #kills: number[] = [];
  readonly #held: ServerResponse[] = [];
  #holds = false;
  #server!: ServerProcess;
  #folder: string | undefined;
  #proxy = '';
  #api!: Client;
  #health!: Client;
  #next = 0;

  constructor(backend: RecordingBackend) {
    this.#backend = backend;
    backend.answer = (_seen, response) => void (this.#holds ? this.#held.push(response) : response.end('ok'));
  }

  /** Starts the server and waits until it serves. */
  async start(): Promise<void> {
    this.#spawn();
    await this.#serving();
  }

  /** The first start of all, on a disk that has no room for a store: the server waits, and serves when there is. */
  async firstStart(say: (text: string) => void): Promise<void> {
    this.#disk.fill();
    this.#spawn();
    const { event } = await this.#server.until('store_waiting', 'serving');
    say(`started for the first time, on a full disk: ${event}`);
    check(event === 'store_waiting', `a server without a store said ${event} on a full disk`);
    this.#disk.free();
    await this.#serving();
  }

  /** A disk that fills up under a running server. */
  async fillUnderRunning(say: (text: string) => void): Promise<void> {
    this.#holds = true;
    for (let index = 0; index < 100; index++) await this.#submit(2_000);
    await until('attempts in flight', () => this.#held.length === IN_FLIGHT);
    this.#disk.fill();
    const before = this.#acknowledged.length;
    const refusal = await this.#submitUntilRefused();
    say(`full: ${this.#acknowledged.length - before} more found room inside the store, then ${refusal}`);
    const began = performance.now();
    await Promise.all(this.#acknowledged.slice(0, 3).map(({ id }) => this.#state(id)));
    check(performance.now() - began < 5_000, `states were answered only after ${Math.round(performance.now() - began)} ms`);

    const ended = await this.#ended();
    this.#release();
    let recorded = 0;
    await until('an end that is recorded while the disk is full', async () => {
      recorded = (await this.#ended()) - ended;
      return recorded >= IN_FLIGHT;
    }).catch(() => undefined);
    say(`full: ${this.#backend.keys.length} are delivered, ${recorded} ends recorded meanwhile`);
    check(recorded >= IN_FLIGHT, `only ${recorded} ends were recorded on the full disk`);

    this.#disk.free();
    await this.#recovers(say, 'room');
    await this.#allDone(say);
  }

  /** A start on a full disk. */
  async fillUnderStarting(say: (text: string) => void): Promise<void> {
    this.#holds = true;
    for (let index = 0; index < 60; index++) await this.#submit(500);
    await until('attempts in flight', () => this.#held.length === IN_FLIGHT);
    await this.#kill();
    this.#disk.fill();
    this.#spawn();
    const { event } = await this.#server.until('store_waiting', 'serving');
    say(`killed, and started on the full disk: ${event}`);
    this.#disk.free();
    this.#release();
    if (event === 'store_waiting') await this.#serving();
    else {
      await this.#kill();
      await this.start();
    }
    await this.#allDone(say);
  }

  /** A disk that fails under a running server, and is read-only under a starting one. */
  async failUnderRunning(say: (text: string) => void): Promise<void> {
    this.#holds = true;
    for (let index = 0; index < 60; index++) await this.#submit(500);
    await until('attempts in flight', () => this.#held.length === IN_FLIGHT);
    this.#disk.fail();
    const refusal = await this.#submitUntilRefused();
    say(`read-only under the running server: ${refusal}`);
    this.#release();
    const [first] = this.#acknowledged;
    await this.#state((first as Acknowledged).id);
    await this.#kill();
    this.#disk.unmount();
    this.#disk.repair();
    this.#disk.mount('ro');
    this.#spawn();
    const message = await this.#refusedStart();
    check(message.includes(this.#disk.path) && /read-only|EROFS/i.test(message), `a read-only store was refused with: ${message}`);
    say(`read-only under a starting server: it ends with 1, "${message}"`);
    this.#disk.unmount();
    this.#disk.mount('rw');
    await this.start();
    await this.#allDone(say);
  }

  /** Bytes that the disk gives back other than it got. */
  async flip(say: (text: string) => void): Promise<void> {
    this.#holds = true;
    for (let index = 0; index < 60; index++) await this.#submit(500);
    await until('attempts in flight', () => this.#held.length === IN_FLIGHT);
    await this.#kill();
    this.#release();
    // Nothing is delivered meanwhile: each start below is of the same moment.
    const { port } = this.#backend;
    await this.#backend.stop();
    const file = join(this.#disk.path, 'data', 'deferred', 'data.mdb');
    const whole = readFileSync(file);
    const bodies = this.#acknowledged.slice(-FLIPS).map(({ body }) => placesOf(whole, body.slice(0, 60)));
    const anywhere = Array.from({ length: FLIPS }, (_, index) => [Math.floor((whole.byteLength * (index + 0.5)) / FLIPS)]);
    let refused = 0;
    for (const [index, places] of [[META_MAGIC], ...bodies, ...anywhere].entries()) {
      const flipped = Buffer.from(whole);
      for (const at of places) flipped.writeUInt8(flipped.readUInt8(at) ^ 0x10, at);
      writeFileSync(file, flipped);
      this.#spawn();
      const message = await this.#outcome();
      if (message === undefined) {
        check(index > FLIPS, `bytes of a pending request flipped at ${places.join(', ')} were not found at the start`);
        continue;
      }
      refused++;
      check(
        /damaged/.test(message) && message.includes('Nothing was changed') && message.includes(join(this.#disk.path, 'data', 'deferred')),
        `flipped at ${places.join(', ')}: ${message}`,
      );
      check(readFileSync(file).equals(flipped), `flipped at ${places.join(', ')}: the damaged file was changed`);
      if (index < 2) say(`flipped at ${places.join(', ')}: ends with 1, "${message}"`);
    }
    say(`${refused} of ${2 * FLIPS + 1} flips were refused at the start, by name; the others lie where nothing refers to`);
    writeFileSync(file, whole);
    await this.#backend.listen(port);
    await this.start();
    await this.#allDone(say);
  }

  /** Judges the whole of it by what client and backend wrote down. */
  async judge(say: (text: string) => void): Promise<void> {
    const delivered = this.#backend.delivered;
    const wrong = checkDeliveries({ acknowledged: this.#acknowledged, delivered, kills: this.#kills });
    check(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`);
    say(`${this.#acknowledged.length} acknowledged, ${this.#backend.keys.length} delivered, ${delivered.length - this.#backend.keys.length} of them again`);
  }

  async end(): Promise<void> {
    this.#server.clean();
    await this.#server.exit;
    this.#disk.remove();
    await Promise.all([this.#agent.destroy(), this.#backend.stop(), this.#api?.close(), this.#health?.close()]);
  }

  #spawn(): void {
    this.#server = new ServerProcess(configured(join(this.#disk.path, 'data'), this.#backend.port), this.#folder, { keepsErrors: true });
    this.#folder = this.#server.folder;
  }

  async #serving(): Promise<void> {
    const serving = await this.#server.until('serving');
    this.#proxy = String(serving['proxy']);
    this.#api = new Client(serving['admin']);
    this.#health = new Client(serving['health']);
  }

  async #kill(): Promise<void> {
    this.#kills.push(performance.now());
    this.#server.kill();
    await this.#server.exit;
    await Promise.all([this.#api.close(), this.#health.close()]);
  }

  /** Undefined if it serves, which is then ended; else what it said when it did not. */
  async #outcome(): Promise<string | undefined> {
    const serving = this.#server.until('serving').then(
      () => true,
      () => false,
    );
    const isServing = await serving;
    this.#kills.push(performance.now());
    if (!isServing) return this.#refusedStart();
    this.#server.kill();
    await this.#server.exit;
    return undefined;
  }

  /** What a start said that had to fail, on one line. */
  async #refusedStart(): Promise<string> {
    const [code] = await this.#server.exit;
    check(code === 1, `a start that had to fail ended with ${code}: ${this.#server.said}`);
    return this.#server.said.trim().replaceAll(/\s+/g, ' ').slice(0, 400);
  }

  /** Submits one; what was answered, or undefined if it was accepted. */
  async #submit(bytes: number): Promise<SubmitAnswer | undefined> {
    const key = `k${this.#next++}`;
    const body = `request ${key} ${key.repeat(20)} ${'x'.repeat(bytes)}`;
    const answer = await submitOnce(this.#agent, `http://${this.#proxy}`, { key, body });
    if (answer.status !== 202) return answer;
    this.#acknowledged.push({ key, id: answer.id, body, at: performance.now() });
    return undefined;
  }

  /** Submits until five are refused, each as it should be. Resolves with how. */
  async #submitUntilRefused(): Promise<string> {
    let refused = 0;
    let last = '';
    for (let asked = 0; refused < 5 && asked < STILL_MAX; asked++) {
      const answer = await this.#submit(20_000);
      if (answer === undefined) continue;
      const { status, reason, retryAfter } = answer;
      check(status === 503 && reason === 'unstored', `it was answered ${status} ${reason}, not 503 unstored`);
      check(Number(retryAfter) >= 1, `Retry-After was ${retryAfter}`);
      last = `503 ${reason}, Retry-After ${retryAfter}`;
      refused++;
    }
    check(refused === 5, `only ${refused} of ${STILL_MAX} were refused`);
    check(this.#server.child.exitCode === null && this.#server.child.signalCode === null, 'the server ended');
    return last;
  }

  /** It takes requests again by itself. */
  async #recovers(say: (text: string) => void, what: string): Promise<void> {
    const began = performance.now();
    await until(`a submit after there was ${what}`, async () => (await this.#submit(100)) === undefined, 20_000);
    say(`${what}: accepted again after ${Math.round(performance.now() - began)} ms`);
  }

  /** Answers what is held, and all that comes. */
  #release(): void {
    this.#holds = false;
    for (const response of this.#held.splice(0)) response.end('ok');
  }

  async #state(id: string): Promise<string> {
    const { status, body } = await this.#api.get(`/v1/requests/${id}?response=state`);
    return status === 200 ? String(body['state']) : String(status);
  }

  /** Ends that are on disk. */
  async #ended(): Promise<number> {
    return Number(/^sluice_deferred_kept\{state="done"\} (\d+)$/m.exec(await this.#health.text('/metrics'))?.[1] ?? 0);
  }

  /** Every acknowledged request is delivered, and its end on disk: the server is killed and asked again. */
  async #allDone(say: (text: string) => void): Promise<void> {
    const count = this.#acknowledged.length;
    await until('all deliveries', () => this.#backend.keys.length === count);
    await until('all ends on disk', async () => (await this.#ended()) === count);
    await this.#kill();
    await this.start();
    const states = new Set<string>();
    for (const { id } of this.#acknowledged) states.add(await this.#state(id));
    check(states.size === 1 && states.has('done'), `states after a kill: ${[...states].join(', ')}`);
    say(`all ${count} are delivered, and done after a kill -9`);
  }
}

/** Where a text stands, in pages that are in use and in those that are free. */
function placesOf(bytes: Buffer, text: string): readonly number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) places.push(at + 10);
  check(places.length > 0, `${text} does not stand in the store`);
  return places;
}

function configured(path: string, backend: number): string {
  return `
listen: { api: none, grpc: none, proxy: "127.0.0.1:0", health: "127.0.0.1:0", admin: "127.0.0.1:0" }
http: { engine: node }
store: { path: ${path} }
drain: { delay: 0, grace: 0 }
bounds: { perClient: 10000 }
groups:
  hooks: { limits: [ { name: slots, concurrency: ${IN_FLIGHT} } ] }
backends:
  shop: { urls: [ "http://127.0.0.1:${backend}" ] }
routes:
  - { match: { path: /hook }, group: hooks, backend: shop, mode: deferred }
`;
}
