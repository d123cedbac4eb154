import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { AskLine, CheckedGroup, HistoryLine } from './history.ts';

/** CLOCK_MONOTONIC in whole microseconds. */
export function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** What callers need. */
export interface CallersOptions {
  /** Base URLs of the replicas' `api`, by number. */
  readonly urls: readonly string[];
  readonly groups: readonly CheckedGroup[];
  /** Everything that happened, a line each. */
  readonly write: (line: HistoryLine) => void;
  /** Evenly in [0, 1). */
  readonly random: () => number;
  /** How many wait in each group at once. */
  readonly eachGroup: number;
  readonly ttlMs: number;
}

/** An ask is repeated for so long after its wait timeout, where connections broke. */
const REPEAT_MS = 8_000;

/** An answer may come so long after wait timeout is over, on a busy machine. */
const ANSWER_MS = 2_000;

/** One ask of so many is more urgent than the others. */
const URGENT_OF = 10;

/** One caller of so many asks any replica; each of the others has one that it goes back to. */
const ROAMER_OF = 3;

/**
 * Callers in closed loops: each asks its replica, or any, holds what it got for a while where it has a lease, gives it back
 * at another one by chance, and asks again. What breaks is asked again under the same request id, elsewhere.
 */
export class Callers {
  readonly #parts: CallersOptions;
  readonly #agent = new Agent({ connections: 512, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, connect: { timeout: ANSWER_MS } });
  readonly #run = `${process.pid}-${Date.now()}`;
  #stopped = false;
  #asks = 0;
  #loops: Promise<void>[] = [];

  constructor(parts: CallersOptions) {
    this.#parts = parts;
  }

  start(): void {
    for (const group of this.#parts.groups) {
      // Parents are asked through their children.
      if (group.probed === true || this.#parts.groups.some(({ parent }) => parent === group.name)) continue;
      for (let caller = 0; caller < this.#parts.eachGroup; caller++) this.#loops.push(this.#loop(group, caller));
    }
  }

  /** Nobody asks anew; settles when all who wait have been answered, or their wait timeout is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    await this.#agent.destroy();
  }

  async #loop({ name, limits }: CheckedGroup, caller: number): Promise<void> {
    const leased = limits.some(({ kind }) => kind === 'concurrency');
    const home = caller % ROAMER_OF === 0 ? undefined : caller % this.#parts.urls.length;
    while (!this.#stopped) {
      const permit = await this.#ask(name, leased ? 5_000 : 0, home);
      if (permit === undefined) await wait(20 + this.#below(200));
      else if (leased) {
        await wait(this.#below(800));
        await this.#release(permit);
      }
    }
  }

  /** One ask to its end; the permit's name, if there is one. */
  async #ask(group: string, leaseMs: number, home: number | undefined): Promise<string | undefined> {
    const { write, ttlMs, urls } = this.#parts;
    const id = `${this.#run}-${this.#asks++}`;
    const priority = this.#below(URGENT_OF) === 0 ? 0 : 1;
    const body = { ttl: `${ttlMs}ms`, requestId: id, priority, ...(leaseMs > 0 && { lease: `${leaseMs}ms` }) };
    const invoke = monotonic();
    const end = (outcome: AskLine['outcome'], reason: string, permit = '', fence = ''): void =>
      write({
        ...{ op: 'ask', id, group, key: '', priority, invoke, complete: monotonic(), outcome, reason, permit, fence },
        ...{ lease: leaseMs * 1_000, ttl: ttlMs * 1_000 },
      });
    const until = performance.now() + ttlMs + REPEAT_MS;
    let replica = home ?? this.#below(urls.length);
    for (;;) {
      const began = monotonic();
      const answer = await this.#send(replica, `/v1/groups/${group}/acquire`, body, ttlMs + ANSWER_MS);
      const reason = typeof answer === 'string' ? answer : answer.status === 200 ? 'admitted' : String(answer.body['reason'] ?? answer.status);
      write({ op: 'try', id, group, replica, invoke: began, complete: monotonic(), end: reason });
      if (typeof answer !== 'string' && answer.status === 200) {
        const { permit, fence = '' } = answer.body as { permit: string; fence?: string };
        end('admitted', '', permit, fence);
        return permit;
      }
      const final = typeof answer !== 'string' && answer.status !== 503;
      if (final || performance.now() > until) {
        end(typeof answer === 'string' ? 'unknown' : 'refused', reason);
        return undefined;
      }
      await wait(50 + this.#below(150));
      replica = (replica + 1 + this.#below(urls.length - 1)) % urls.length;
    }
  }

  /** At any replica that answers; a lease that nobody takes back lapses. */
  async #release(permit: string): Promise<void> {
    const invoke = monotonic();
    for (let tries = 0; tries < 20; tries++) {
      const answer = await this.#send(this.#below(this.#parts.urls.length), `/v1/permits/${permit}/release`, {}, ANSWER_MS);
      if (typeof answer !== 'string' && answer.status !== 503) {
        this.#parts.write({ op: 'release', permit, invoke, complete: monotonic(), ok: answer.status === 200 });
        return;
      }
      await wait(100);
    }
    this.#parts.write({ op: 'release', permit, invoke, complete: monotonic(), ok: false });
  }

  async #send(replica: number, path: string, body: object, msMax: number): Promise<{ status: number; body: Record<string, unknown> } | 'broken' | 'silent'> {
    const signal = AbortSignal.timeout(msMax);
    try {
      const answer = await request(`${this.#parts.urls[replica]}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        dispatcher: this.#agent,
        signal,
      });
      return { status: answer.statusCode, body: (await answer.body.json()) as Record<string, unknown> };
    } catch {
      return signal.aborted ? 'silent' : 'broken';
    }
  }

  #below(count: number): number {
    return Math.floor(this.#parts.random() * count);
  }
}
