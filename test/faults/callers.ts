import { Agent, request } from 'undici';
import type { CheckedGroup, HistoryLine } from './history.ts';

/** CLOCK_MONOTONIC in whole microseconds. */
export function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** What callers need. */
export interface CallersParts {
  /** Base URLs of the replicas' `api`, by number; a caller takes any. */
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

/** An ask is repeated under its id for so long after connections broke; the server remembers it for 10 s. */
const REPEAT_MS = 8_000;

/**
 * Callers in closed loops: each asks a replica by chance, holds what it got for a while where it has a lease, gives it back at
 * another replica by chance, and asks again. What breaks is asked again under the same request id, elsewhere.
 */
export class Callers {
  readonly #parts: CallersParts;
  readonly #agent = new Agent({ connections: 512, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
  readonly #run = `${process.pid}-${Date.now()}`;
  #stopped = false;
  #asks = 0;
  #loops: Promise<void>[] = [];

  constructor(parts: CallersParts) {
    this.#parts = parts;
  }

  start(): void {
    for (const group of this.#parts.groups) {
      // Parents are asked through their children.
      if (this.#parts.groups.some(({ parent }) => parent === group.name)) continue;
      for (let caller = 0; caller < this.#parts.eachGroup; caller++) this.#loops.push(this.#loop(group));
    }
  }

  /** Nobody asks anew; settles when all who wait have been answered, or their patience is over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    await this.#agent.destroy();
  }

  async #loop({ name, limits }: CheckedGroup): Promise<void> {
    const leased = limits.some(({ kind }) => kind === 'concurrency');
    while (!this.#stopped) {
      const permit = await this.#ask(name, leased ? 5_000 : 0);
      if (permit === undefined) await sleep(20 + this.#below(200));
      else if (leased) {
        await sleep(this.#below(800));
        await this.#release(permit);
      }
    }
  }

  /** One ask to its end; the permit's name, if there is one. */
  async #ask(group: string, leaseMs: number): Promise<string | undefined> {
    const { write, ttlMs } = this.#parts;
    const id = `${this.#run}-${this.#asks++}`;
    const invoke = monotonic();
    const line = { op: 'ask', id, group, key: '', priority: 1, invoke, reason: '', permit: '', fence: '', lease: leaseMs * 1_000 } as const;
    const until = performance.now() + ttlMs + REPEAT_MS;
    let broken = performance.now();
    for (;;) {
      const replica = this.#below(this.#parts.urls.length);
      const answer = await this.#send(
        replica,
        `/v1/groups/${group}/acquire`,
        { ttl: `${ttlMs}ms`, requestId: id, ...(leaseMs > 0 && { lease: `${leaseMs}ms` }) },
        ttlMs + 2_000,
      );
      const complete = monotonic();
      if (answer?.status === 200) {
        const { permit, fence = '' } = answer.body as { permit: string; fence?: string };
        write({ ...line, complete, outcome: 'admitted', permit, fence, replica });
        return permit;
      }
      if (answer !== undefined && answer.status !== 503) {
        write({ ...line, complete, outcome: 'refused', reason: String(answer.body['reason'] ?? answer.status), replica });
        return undefined;
      }
      if (answer !== undefined) broken = performance.now();
      if (performance.now() > until || performance.now() - broken > REPEAT_MS || this.#stopped) {
        write({ ...line, complete, outcome: answer === undefined ? 'unknown' : 'refused', reason: String(answer?.body['reason'] ?? 'broken'), replica });
        return undefined;
      }
      await sleep(50 + this.#below(150));
    }
  }

  /** At any replica that answers; a lease that nobody takes back lapses. */
  async #release(permit: string): Promise<void> {
    const invoke = monotonic();
    for (let tries = 0; tries < 20; tries++) {
      const answer = await this.#send(this.#below(this.#parts.urls.length), `/v1/permits/${permit}/release`, {}, 5_000);
      if (answer !== undefined && answer.status !== 503) {
        this.#parts.write({ op: 'release', permit, invoke, complete: monotonic(), ok: answer.status === 200 });
        return;
      }
      await sleep(100);
    }
    this.#parts.write({ op: 'release', permit, invoke, complete: monotonic(), ok: false });
  }

  /** undefined: no answer. */
  async #send(replica: number, path: string, body: object, msMax: number): Promise<{ status: number; body: Record<string, unknown> } | undefined> {
    try {
      const answer = await request(`${this.#parts.urls[replica]}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        dispatcher: this.#agent,
        signal: AbortSignal.timeout(msMax),
      });
      return { status: answer.statusCode, body: (await answer.body.json()) as Record<string, unknown> };
    } catch {
      return undefined;
    }
  }

  #below(count: number): number {
    return Math.floor(this.#parts.random() * count);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
