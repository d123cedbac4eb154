import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as the fake server saw it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** What the fake server does with the next request; more requests than answers are refused as `fault`. */
export type Answer = (seen: Seen) => void;

/** A server that answers what it was told to, one answer for each request. */
export class FakeServer {
  readonly seen: Seen[] = [];
  readonly #answers: Answer[] = [];
  readonly #server = createServer((request, response) => void this.#take(request, response));
  #waiting: (() => void)[] = [];
  address = '';

  static async start(): Promise<FakeServer> {
    const fake = new FakeServer();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    fake.address = `http://127.0.0.1:${(fake.#server.address() as AddressInfo).port}`;
    return fake;
  }

  /** The next requests get these answers, in order. */
  answer(...answers: Answer[]): void {
    this.#answers.push(...answers);
  }

  /** Resolves once so many requests were seen. */
  async saw(count: number): Promise<Seen> {
    while (this.seen.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.seen[count - 1]!;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { method = '', url = '' } = request;
    const seen: Seen = { method, path: url, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>), request, response };
    this.seen.push(seen);
    const answer = this.#answers.shift() ?? problem(500, { reason: 'fault' });
    answer(seen);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** Answers with JSON. */
export function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Answer {
  return ({ response }) => response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Answers with a problem. */
export function problem(status: number, body: object): Answer {
  return json(status, { status, detail: 'No.', ...body }, { 'content-type': 'application/problem+json' });
}

/** A permit with a lease. */
export const PERMIT = { permit: 'p1', fence: '1099511627777', fenceFloor: '1099511627776', lease: '30s', waited: '0s' };

/** Closes the connection without an answer. */
export const cut: Answer = ({ request }) => void request.socket.destroy();

/** Holds for ever. */
export const silence: Answer = () => {};
