import { Agent, request } from 'undici';

/** A hard case that is played against real processes, and ends with the server as it was, or throws. */
export interface Ordeal {
  readonly name: string;
  readonly about: string;
  /** Returns what this machine lacks for it, or undefined. */
  readonly lacks: () => string | undefined;
  /** Resolves when the server recovered and nothing was lost. Rejects with what was wrong. */
  readonly run: (say: (text: string) => void) => Promise<void>;
}

/** Throws `what` unless it holds. */
export function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** An answer over plain HTTP. */
export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: Record<string, unknown>;
}

/** Callers over plain HTTP, over so many connections at once. */
export class Client {
  readonly #agent: Agent;
  readonly #base: string;

  constructor(address: unknown, connections = 64) {
    // Thousands of connections at once take their time on a busy machine; one that was given up would be missing for good.
    this.#agent = new Agent({ connections, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, connect: { timeout: 60_000 } });
    this.#base = `http://${String(address)}`;
  }

  async post(path: string, body: object = {}, signal?: AbortSignal): Promise<Answer> {
    return this.#send('POST', path, body, signal);
  }

  async get(path: string): Promise<Answer> {
    return this.#send('GET', path, undefined, undefined);
  }

  async text(path: string): Promise<string> {
    const answer = await request(this.#base + path, { dispatcher: this.#agent });
    return answer.body.text();
  }

  /** Acquires; the default is not to wait. */
  acquire(group: string, body: object = {}, signal?: AbortSignal): Promise<Answer> {
    return this.post(`/v1/groups/${group}/acquire`, { ttl: '0s', ...body }, signal);
  }

  release(permit: unknown): Promise<Answer> {
    return this.post(`/v1/permits/${String(permit)}/release`);
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  async #send(method: 'GET' | 'POST', path: string, body: object | undefined, signal: AbortSignal | undefined): Promise<Answer> {
    const answer = await request(this.#base + path, {
      method,
      dispatcher: this.#agent,
      ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      ...(signal !== undefined && { signal }),
    });
    const text = await answer.body.text();
    const retryAfter = answer.headers['retry-after'];
    return { status: answer.statusCode, retryAfter: retryAfter === undefined ? undefined : String(retryAfter), body: JSON.parse(text === '' ? '{}' : text) };
  }
}

/** Runs `each` for 0 to `count` - 1, so many at once, until one answers false. */
export async function inParallel(count: number, atOnce: number, each: (index: number) => Promise<boolean>): Promise<void> {
  let next = 0;
  let over = false;
  const work = async (): Promise<void> => {
    while (!over && next < count) if (!(await each(next++))) over = true;
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** A gauge or counter without labels, from the text form of metrics. */
export function metric(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}
