import { sleep, type Timing } from './clock.ts';
import { toMillis } from './duration.ts';
import { SluiceRefused, SluiceUnreachable } from './errors.ts';
import { type HttpTransport, parseJsonObject, type Reply, refusalOf } from './http.ts';

/** A request to be delivered later. Durations are written with a unit. */
export interface SubmitOptions {
  /** Path and query as the backend is to see them. */
  readonly path: string;
  /** Absent: POST. */
  readonly method?: string | undefined;
  /** Name of the deferred route, or the group whose routes may take it; absent: the first route that it fits. */
  readonly route?: string | undefined;
  readonly group?: string | undefined;
  readonly key?: string | undefined;
  readonly class?: string | undefined;
  readonly host?: string | undefined;
  readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined;
  readonly body?: string | Uint8Array | undefined;
  /** Absent: one made by chance, so that a cut connection does not submit it twice. */
  readonly idempotencyKey?: string | undefined;
  /** A sender's own id of this delivery, in place of `idempotencyKey`. */
  readonly dedupeId?: string | undefined;
  /** Not sent before. */
  readonly notBefore?: Date | undefined;
  /** Given up when not delivered so long after acceptance. */
  readonly deadline?: string | undefined;
  /** Of one attempt. */
  readonly timeout?: string | undefined;
  /** Attempts in all, or the delay before each further one. */
  readonly retries?: number | readonly string[] | undefined;
  readonly costs?: Readonly<Record<string, number>> | undefined;
  /** URL that is called with the end. */
  readonly callback?: string | undefined;
}

/** A request that is safely stored. */
export interface Ticket {
  readonly id: string;
  /** It was known before by its key: this is its first ticket. */
  readonly existing: boolean;
}

/** Where a request stands. */
export type RequestStateName = 'pending' | 'sending' | 'done' | 'dead' | 'cancelled';

/** One attempt. Times are of RFC 3339. */
export interface RequestTry {
  readonly number: number;
  readonly at: string;
  readonly status?: number;
  readonly error?: string;
  readonly firstBytes?: string;
  readonly nextAt?: string;
}

/** A request as it stands. What is not there is left out; `method` to `tries` and `response` are not in lists. */
export interface DeferredRequest {
  readonly id: string;
  readonly state: RequestStateName;
  readonly group: string;
  readonly key: string;
  readonly route: string;
  readonly acceptedAt: string;
  readonly attempts: number;
  readonly method?: string;
  readonly path?: string;
  readonly bodyBytes?: number;
  readonly notBefore?: string;
  readonly deadlineAt?: string;
  /** Its due time, or the next probe of a backend that is down. */
  readonly nextAttemptAt?: string;
  /** Left out while it is being sent, and at its end. */
  readonly waitsFor?: 'due' | 'key' | 'backend' | 'route' | 'turn';
  /** Why the last attempt failed, or why it is dead. */
  readonly error?: string;
  readonly tries?: readonly RequestTry[];
  readonly callback?: 'pending' | 'done' | 'dead';
  readonly goneAt?: string;
  readonly response?: {
    readonly status: number;
    readonly headers: readonly (readonly [string, string])[];
    readonly bytes: number;
    readonly truncated?: boolean;
  };
}

/** A backend's answer as it is kept. */
export interface DeferredResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
  /** The body was longer than what is kept of it. */
  readonly truncated: boolean;
}

/** Which requests. `since` and `until` are times, or durations ago (`1h`). */
export interface RequestQuery {
  readonly group?: string | undefined;
  readonly key?: string | undefined;
  readonly error?: string | undefined;
  readonly since?: Date | string | undefined;
  readonly until?: Date | string | undefined;
}

/** Requests that are stored and delivered later. Each call throws SluiceRefused or SluiceUnreachable. */
export interface Requests {
  /** Resolves once the request is safely stored. A cut connection is tried again under the same key, three times. */
  submit(request: SubmitOptions): Promise<Ticket>;
  /** Submits many in one call; answers each in its order: a ticket, or why not. */
  submitMany(requests: readonly SubmitOptions[]): Promise<readonly (Ticket | SluiceRefused)[]>;
  get(id: string): Promise<DeferredRequest>;
  /** Waits until it is done, dead or cancelled, for `timeout` at most (absent: for ever); then answers it as it stands. */
  wait(id: string, options?: { readonly timeout?: string | undefined; readonly signal?: AbortSignal | undefined }): Promise<DeferredRequest>;
  /** The backend's answer; refused as `conflict` while there is none. */
  response(id: string): Promise<DeferredResponse>;
  /** `aborted`: it was being sent, the backend may have acted. */
  cancel(id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean }>;
  /** A page; `next` is the token of the one after it, '' at the end. */
  list(
    query: RequestQuery & { readonly state?: RequestStateName | undefined; readonly size?: number | undefined; readonly token?: string | undefined },
  ): Promise<{ readonly requests: readonly DeferredRequest[]; readonly next: string }>;
  /** Puts one dead letter back into the queue. */
  redrive(id: string): Promise<void>;
  /** Puts dead letters of a filter back, at most `max` (10,000) in this call. */
  redriveAll(
    query: RequestQuery & { readonly max: number; readonly token?: string | undefined },
  ): Promise<{ readonly redriven: number; readonly next: string }>;
}

const SILENCE_MS = 15_000;
/** A batch is stored as fast as the disk takes it; its answers come meanwhile. */
const BATCH_SILENCE_MS = 60_000;
const SLICE_S = 25;
const TRIES = 3;

/** Makes the part of a client that is about deferred requests. */
export function createRequests(wire: HttpTransport, timing: Timing): Requests {
  const one = (id: string, tail = ''): string => `/v1/requests/${encodeURIComponent(id)}${tail}`;
  const call = async (method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<Readonly<Record<string, unknown>>> =>
    answered(await patiently(timing, () => wire.call({ method, path, body, silenceMs: SILENCE_MS })));
  return {
    async submit(request) {
      const body = fieldsOf(request);
      return (await call('POST', '/v1/requests', body)) as unknown as Ticket;
    },
    async submitMany(requests) {
      const text = requests.map((request) => `${JSON.stringify(fieldsOf(request))}\n`).join('');
      if (text === '') return [];
      const call = { method: 'POST', path: '/v1/requests', text: { type: 'application/x-ndjson', text }, silenceMs: BATCH_SILENCE_MS } as const;
      return answersOf(await patiently(timing, () => wire.raw(call)), requests.length);
    },
    get: async (id) => (await call('GET', one(id, '?response=state'))) as unknown as DeferredRequest,
    wait: (id, options = {}) => waitFor(wire, timing, one(id, '?response=state'), options),
    response: async (id) => responseOf(await patiently(timing, () => wire.raw({ method: 'GET', path: one(id, '/response'), silenceMs: SILENCE_MS }))),
    // Not tried again, as a redrive: the second answer would report that there was nothing to do.
    cancel: async (id) =>
      answered(await wire.call({ method: 'DELETE', path: one(id), silenceMs: SILENCE_MS })) as unknown as { cancelled: boolean; aborted: boolean },
    async list({ state, size, token, ...query }) {
      const fields = { ...queryOf(query), state, page_size: size, page_token: token };
      const pairs = Object.entries(fields).filter(([, value]) => value !== undefined && value !== '');
      const { requests, nextPageToken } = await call(
        'GET',
        `/v1/requests?${new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, String(value)]))}`,
      );
      return { requests: requests as readonly DeferredRequest[], next: String(nextPageToken ?? '') };
    },
    async redrive(id) {
      answered(await wire.call({ method: 'POST', path: one(id, '/redrive'), body: {}, silenceMs: SILENCE_MS }));
    },
    async redriveAll({ max, token, ...query }) {
      const done = answered(
        await wire.call({ method: 'POST', path: '/v1/requests/redrive', body: { ...queryOf(query), max, pageToken: token }, silenceMs: BATCH_SILENCE_MS }),
      );
      return { redriven: Number(done['redriven']), next: String(done['nextPageToken'] ?? '') };
    },
  };
}

/** Looks again in slices, so that nothing in between cuts the wait. */
async function waitFor(wire: HttpTransport, timing: Timing, path: string, options: Parameters<Requests['wait']>[1] = {}): Promise<DeferredRequest> {
  const { timeout, signal } = options;
  const until = timeout === undefined ? Number.POSITIVE_INFINITY : timing.now() + toMillis(timeout);
  for (;;) {
    signal?.throwIfAborted();
    const seconds = Math.max(0, Math.min(SLICE_S, Math.ceil((until - timing.now()) / 1000)));
    const headers = { Prefer: `wait=${seconds}` };
    const reply = await patiently(timing, () => wire.call({ method: 'GET', path, headers, signal, silenceMs: SILENCE_MS + seconds * 1000 }), signal);
    signal?.throwIfAborted();
    const request = answered(reply) as unknown as DeferredRequest;
    if ((request.state !== 'pending' && request.state !== 'sending') || timing.now() >= until) return request;
  }
}

/** Tries again what was cut: every call may be made twice. */
async function patiently<T extends { readonly kind: string }>(timing: Timing, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const reply = await call();
    if (reply.kind !== 'cut' || tries === TRIES || signal?.aborted === true) return reply;
    await sleep(timing, 100 * 2 ** tries * (0.5 + timing.random() / 2), signal);
  }
}

function answered(reply: Reply): Readonly<Record<string, unknown>> {
  if (reply.kind === 'ok') return reply.body;
  if (reply.kind === 'refused') throw reply.refusal;
  throw new SluiceUnreachable('Sluice cannot be reached', { cause: reply.kind === 'cut' ? reply.cause : undefined });
}

function fieldsOf({ body, notBefore, class: named, idempotencyKey, dedupeId, ...rest }: SubmitOptions): object {
  const key = idempotencyKey ?? (dedupeId === undefined ? crypto.randomUUID() : undefined);
  const sent = typeof body === 'string' ? { body } : body === undefined ? {} : { bodyBase64: base64(body) };
  return { ...rest, ...sent, priorityClass: named, notBefore: notBefore?.toISOString(), idempotencyKey: key, dedupeId };
}

/** Without Buffer, which browsers have not. */
function base64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function queryOf({ group, key, error, since, until }: RequestQuery): Record<string, string | undefined> {
  const time = (at: Date | string | undefined): string | undefined => (at instanceof Date ? at.toISOString() : at);
  return { group, key, error, since: time(since), until: time(until) };
}

type Raw = Awaited<ReturnType<HttpTransport['raw']>>;

async function responseOf(raw: Raw): Promise<DeferredResponse> {
  if (raw.kind === 'cut') throw new SluiceUnreachable('Sluice cannot be reached', { cause: raw.cause });
  const { status, headers, bytes } = raw;
  // Only an answer of the backend names its request.
  if (!headers.has('sluice-request-id')) throw refusedBy(raw);
  return { status, headers, body: bytes, truncated: headers.has('sluice-truncated') };
}

function answersOf(raw: Raw, count: number): readonly (Ticket | SluiceRefused)[] {
  if (raw.kind === 'cut') throw new SluiceUnreachable('Sluice cannot be reached', { cause: raw.cause });
  if (raw.status !== 200) throw refusedBy(raw);
  const lines = new TextDecoder()
    .decode(raw.bytes)
    .split('\n')
    .filter((line) => line !== '');
  if (lines.length !== count) throw new SluiceUnreachable(`Sluice answered ${lines.length} of ${count} lines`);
  return lines.map((line) => {
    const body = parseJsonObject(line) ?? {};
    const problem = body['problem'] as Readonly<Record<string, unknown>> | undefined;
    return problem === undefined ? (body as unknown as Ticket) : refusalOf(problem, Number(body['status']));
  });
}

function refusedBy({ status, bytes }: Raw & { kind: 'whole' }): SluiceRefused {
  const problem = parseJsonObject(new TextDecoder().decode(bytes));
  if (typeof problem?.['reason'] === 'string') return refusalOf(problem, status);
  const detail = `the answer was HTTP ${status}, and not from Sluice`;
  return new SluiceRefused({ reason: 'http', status, detail, limit: undefined, retryAfterMs: undefined });
}
