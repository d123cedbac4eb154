import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'undici';
import { monotonic } from './callers.ts';
import type { AskLine, HistoryLine } from './history.ts';

/** An answer is waited for no longer than this. */
const ANSWER_MS = 4_000;

/** Connections to each replica that are open before they are needed: a stopped process serves what comes on these first. */
const OPEN = 12;

/** What probes need. */
export interface ProbesDeps {
  /** Base URLs of the replicas' `api`, by number. */
  readonly urls: readonly string[];
  readonly write: (line: HistoryLine) => void;
}

/**
 * Asks that wait for nothing, sent on a schedule whether or not the earlier ones were answered. What one of them is admitted for was
 * decided between two moments that are milliseconds apart, so that the checker sees two owners who each keep to the limit.
 */
export class Probes {
  readonly #write: ProbesDeps['write'];
  readonly #pools: readonly Pool[];
  readonly #run = `${process.pid}-p${Date.now()}`;
  readonly #open = new Set<Promise<void>>();
  #asks = 0;

  constructor({ urls, write }: ProbesDeps) {
    this.#write = write;
    this.#pools = urls.map((url) => new Pool(url, { connections: 256, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 60_000 }));
  }

  /** Opens connections to a replica. Resolves when they are open; rejects if it does not answer. */
  async warm(replica: number): Promise<void> {
    const asks = Array.from({ length: OPEN }, () =>
      this.#pool(replica).request({ method: 'GET', path: '/v1/nothing', signal: AbortSignal.timeout(ANSWER_MS) }),
    );
    await Promise.all(asks.map(async (ask) => (await ask).body.dump()));
  }

  /** Sends one ask for each group to a replica. Does not wait for answers. */
  send(groups: readonly string[], replica: number): void {
    for (const group of groups) {
      const ask = this.#ask(group, replica).finally(() => this.#open.delete(ask));
      this.#open.add(ask);
    }
  }

  /** Sends one ask for each group to a replica each `everyMs` until the given time, in microseconds of CLOCK_MONOTONIC. */
  async keepSending(groups: readonly string[], replica: number, everyMs: number, until: number): Promise<void> {
    while (monotonic() < until) {
      this.send(groups, replica);
      await wait(everyMs);
    }
  }

  /** Resolves when every ask has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#open);
  }

  /** Waits for the answers that are still to come, then hangs up. */
  async close(): Promise<void> {
    await this.settled();
    await Promise.all(this.#pools.map((pool) => pool.destroy()));
  }

  async #ask(group: string, replica: number): Promise<void> {
    const id = `${this.#run}-${this.#asks++}`;
    const invoke = monotonic();
    const answer = await this.#send(group, id, replica);
    const complete = monotonic();
    const permit = typeof answer === 'string' ? undefined : answer.permit;
    const reason = typeof answer === 'string' ? answer : (answer.reason ?? '');
    const outcome: AskLine['outcome'] = permit !== undefined ? 'admitted' : typeof answer === 'string' ? 'unknown' : 'refused';
    this.#write({ op: 'try', id, group, replica, invoke, complete, end: permit === undefined ? reason : 'admitted' });
    this.#write({ op: 'ask', id, group, key: '', priority: 1, invoke, complete, outcome, reason, permit: permit ?? '', fence: '', lease: 0, ttl: 0 });
  }

  async #send(group: string, requestId: string, replica: number): Promise<{ readonly permit?: string; readonly reason?: string } | 'broken' | 'silent'> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    try {
      const answer = await this.#pool(replica).request({
        method: 'POST',
        path: `/v1/groups/${group}/acquire`,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ttl: '0s', requestId, priority: 1 }),
        signal,
      });
      const body = (await answer.body.json()) as { permit?: string; reason?: string };
      return answer.statusCode === 200 ? body : { reason: body.reason ?? String(answer.statusCode) };
    } catch {
      return signal.aborted ? 'silent' : 'broken';
    }
  }

  #pool(replica: number): Pool {
    const pool = this.#pools[replica];
    if (pool === undefined) throw new Error(`There is no replica ${replica}.`);
    return pool;
  }
}
