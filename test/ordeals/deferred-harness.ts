import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type Agent, request } from 'undici';
import { type Acknowledged, checkDeliveries, type Delivered, type DeliveryHistory, lateDeliveries, type Reported } from '../deferred/delivery-checker.ts';
import { until } from '../support/fakes/until.ts';
import { check } from './ordeal.ts';

/** A request is submitted again under its key for so long. */
const SUBMIT_FOR_MS = 60_000;
/** Between two submits of one request. */
const AGAIN_MS = 20;

/** A backend of deferred requests, and the receiver of their callbacks: writes down what it got, when it was whole. */
export class RecordingBackend {
  readonly delivered: Delivered[] = [];
  readonly reported: Reported[] = [];
  /** Attempts that have no answer yet. */
  inFlight = 0;
  /** How an attempt is answered; by default 200 at once. */
  answer: (seen: Delivered, response: ServerResponse) => void = (_seen, response) => void response.end('ok');
  readonly #server: Server;
  #port = 0;

  private constructor() {
    this.#server = createServer({ keepAlive: true }, (incoming, response) => this.#take(incoming, response));
  }

  /** Listens on loopback; `port` 0 takes a free one. */
  static async start(port = 0): Promise<RecordingBackend> {
    const backend = new RecordingBackend();
    await backend.listen(port);
    return backend;
  }

  /** Where it listens, or did before it was stopped. */
  get port(): number {
    return this.#port;
  }

  /** Keys that were delivered, in the order of their first delivery. */
  get keys(): readonly string[] {
    return [...new Set(this.delivered.map(({ key }) => key))];
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Refuses connections from now on, and cuts those that are open. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => void this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #take(incoming: IncomingMessage, response: ServerResponse): void {
    const pieces: Buffer[] = [];
    this.inFlight++;
    response.once('close', () => this.inFlight--);
    incoming.on('error', () => undefined);
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => {
      const body = Buffer.concat(pieces).toString();
      if (incoming.url?.startsWith('/callback') === true) {
        const { data } = JSON.parse(body) as { data: { id: string; state: string } };
        this.reported.push({ id: data.id, state: data.state, webhook: String(incoming.headers['webhook-id']), at: performance.now() });
        return void response.end('ok');
      }
      const key = String(incoming.headers['idempotency-key']).replaceAll('"', '');
      const seen: Delivered = { key, attempt: Number(incoming.headers['sluice-attempt']), body, at: performance.now() };
      this.delivered.push(seen);
      this.answer(seen, response);
    });
  }
}

/** One request of a run. */
export interface Submitted {
  readonly key: string;
  readonly body: string;
  readonly callback?: string | undefined;
  /** Path and query, by default `/hook`. */
  readonly target?: string | undefined;
}

/** An answer to one submit. */
export interface SubmitAnswer {
  readonly status: number;
  /** Of the request, when it was accepted. */
  readonly id: string;
  readonly retryAfter: string | undefined;
  readonly reason: string | undefined;
}

/** Submits once. */
export async function submitOnce(agent: Agent, url: string, { key, body, callback, target = '/hook' }: Submitted): Promise<SubmitAnswer> {
  const answer = await request(url + target, {
    method: 'POST',
    dispatcher: agent,
    headers: { 'content-type': 'text/plain', 'idempotency-key': `"${key}"`, ...(callback !== undefined && { 'sluice-callback': callback }) },
    body,
  });
  await answer.body.dump();
  const location = String(answer.headers['location'] ?? '');
  const [retryAfter, reason] = [answer.headers['retry-after'], answer.headers['sluice-reason']];
  return {
    status: answer.statusCode,
    id: location.slice(location.lastIndexOf('/') + 1),
    retryAfter: retryAfter === undefined ? undefined : String(retryAfter),
    reason: reason === undefined ? undefined : String(reason),
  };
}

/**
 * Submits until it is acknowledged, under one key, for a minute at most. Resolves with whether it was. `url` says where, before each try;
 * `tookMs` is called with how long each answer took.
 */
export async function submitUntilAcknowledged(
  agent: Agent,
  url: () => string,
  submitted: Submitted,
  acknowledged: Acknowledged[],
  tookMs: (ms: number) => void = () => {},
): Promise<boolean> {
  const end = performance.now() + SUBMIT_FOR_MS;
  while (performance.now() < end) {
    const began = performance.now();
    try {
      const { status, id, retryAfter } = await submitOnce(agent, url(), submitted);
      tookMs(performance.now() - began);
      if (status === 202) {
        acknowledged.push({ key: submitted.key, id, body: submitted.body, at: performance.now() });
        return true;
      }
      check(status === 503 || status === 502, `request ${submitted.key} was answered ${status}`);
      check(status !== 503 || retryAfter !== undefined, `request ${submitted.key} was answered 503 without Retry-After`);
    } catch (cause) {
      if (!isConnectionError(cause)) throw cause;
    }
    await pause(AGAIN_MS);
  }
  return false;
}

/** Waits while something is delivered, or reported, and not all is; ends when nothing was for so long. */
export async function untilDelivered(
  { delivered, reported }: RecordingBackend,
  count: { readonly requests: number; readonly callbacks?: number },
  idleMs: number,
): Promise<void> {
  const all = count.requests + (count.callbacks ?? 0);
  const now = (): number => new Set(delivered.map(({ key }) => key)).size + new Set(reported.map(({ id }) => id)).size;
  for (let last = -1; now() < all && now() !== last; ) {
    last = now();
    await until('more deliveries', () => now() > last, idleMs).catch(() => undefined);
  }
}

/** Says what happened, and throws what the checker finds. */
export function judgeDeliveries(history: DeliveryHistory, atOnce: number, say: (text: string) => void): void {
  const keys = new Set(history.delivered.map(({ key }) => key)).size;
  const wrong = checkDeliveries(history);
  const late = lateDeliveries(history, atOnce);
  const first = late.filter(({ attempt }) => attempt === 1).length;
  say(`${keys} delivered, ${history.delivered.length - keys} of them again, ${late.length} out of order (${first} of these by a first attempt)`);
  const silences = history.silences?.length ?? 0;
  if (silences > 0)
    say(`${checkDeliveries({ ...history, silences: [] }).length - wrong.length} of these since a replica that lived was taken for dead (${silences} times)`);
  check(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`);
}

/** Whether a call failed because its server was not there, or went away. */
export function isConnectionError(cause: unknown): boolean {
  const { code } = cause as { code?: string };
  return code !== undefined && /^(ECONN|UND_ERR|EPIPE)/.test(code);
}

/** A port that was free a moment ago: restarts take callers at the same one. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  return port;
}
