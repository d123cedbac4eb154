import { sleep, type Timing } from './clock.ts';
import { fromMillis, parseServerDuration, parseServerRange, toMillis } from './duration.ts';
import { type SluiceRefused, SluiceUnreachable, type WaitRange } from './errors.ts';
import { type HttpTransport, parseJsonObject, type Reply, refusalOf } from './http.ts';

/** The queue position of a request while it waits. */
export interface Place {
  /** 1 is next; an estimate far behind. */
  readonly place: number;
  /** Milliseconds until it goes, estimated; undefined: not known. */
  readonly expectedMs: number | undefined;
  /** When it goes, as a range that holds for nine of ten; undefined: not known. */
  readonly range?: WaitRange | undefined;
  /** The limit that binds now; empty: only those ahead do. */
  readonly limit: string;
}

/** One acquire, as it goes out. */
export interface AcquireCall {
  readonly group: string;
  readonly requestId: string;
  /** Wait timeout, as Sluice reads it; undefined: the group's default. */
  readonly ttl: string | undefined;
  /** Every other field, as JSON. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal | undefined;
  readonly onPlace: ((place: Place) => void) | undefined;
}

/** How an acquire ended; `at`: a time at or before the grant, by the client's clock. */
export type AcquireResult =
  | { readonly kind: 'granted'; readonly body: Readonly<Record<string, unknown>>; readonly at: number }
  | { readonly kind: 'refused'; readonly refusal: SluiceRefused };

/** One hold, well below the 60 s after which most balancers cut what is idle. */
const HOLD_S = 25;
const SILENCE_MS = (HOLD_S + 15) * 1000;
/** The server keeps the place of a caller that was cut off for as long. */
const KEPT_MS = 10_000;
/** A server that never answered is given up earlier. */
const NO_CONTACT_MS = 1000;
const BACKOFF_MS = { first: 50, max: 1000 };
const GIVE_UP_MS = 2000;
/** A hold that ends without an answer is shorter than this only where something between ignores `Prefer: wait` or cuts event streams. */
const HOLD_LEAST_MS = 1000;

/**
 * Acquires, and is held until the answer. A hold that ends, or a cut connection, comes back to the same place under the same
 * request id. Throws SluiceUnreachable, or the signal's reason after the place was given up.
 */
export async function awaitAdmission(wire: HttpTransport, timing: Timing, asking: AcquireCall): Promise<AcquireResult> {
  const { signal, ttl } = asking;
  const began = timing.now();
  const waitTimeout = ttl === undefined ? undefined : toMillis(ttl);
  let again = false;
  let received = false;
  let cuts = 0;
  let cutAt = 0;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const sent = timing.now();
      const left = waitTimeout === undefined || !again ? ttl : fromMillis(Math.max(0, waitTimeout - (sent - began)));
      const reply = await hold(wire, asking, left);
      if (reply.kind === 'granted') return { kind: 'granted', body: reply.body, at: grantedAt(reply.body, began, timing.now()) };
      if (reply.kind === 'refused') return reply;
      signal?.throwIfAborted();
      again = true;
      const lasted = timing.now() - sent;
      received ||= reply.received || lasted > NO_CONTACT_MS;
      if (reply.received && lasted >= HOLD_LEAST_MS) cuts = 0;
      if (reply.kind === 'held' && cuts === 0 && lasted >= HOLD_LEAST_MS) continue;
      cuts += 1;
      if (cuts === 1) cutAt = timing.now();
      const wait = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** (cuts - 1)) * (0.5 + timing.random() / 2);
      if (timing.now() + wait - cutAt > (received ? KEPT_MS : NO_CONTACT_MS))
        throw new SluiceUnreachable('Sluice cannot be reached', { cause: causeOf(reply) });
      await sleep(timing, wait, signal);
    }
  } catch (error) {
    if (!(error instanceof SluiceUnreachable)) await giveUp(wire, asking);
    throw error;
  }
}

function causeOf(reply: Held): unknown {
  return 'cause' in reply ? reply.cause : new Error('every hold ended at once without an answer');
}

/** The server began to count `waited` after the first call was sent; where it had to begin anew, the answer is still no older than a place is kept. */
function grantedAt(body: Readonly<Record<string, unknown>>, began: number, now: number): number {
  return Math.min(now, Math.max(began + (parseServerDuration(body['waited']) ?? 0), now - KEPT_MS - NO_CONTACT_MS));
}

/** Cancels the acquire at once, waiting or admitted. A cancel that does not reach the server is made up for there: the request is passed over, and gone after 10 s. */
async function giveUp(wire: HttpTransport, { group, requestId }: AcquireCall): Promise<void> {
  const path = `/v1/groups/${encodeURIComponent(group)}/requests/${encodeURIComponent(requestId)}`;
  await wire.call({ method: 'DELETE', path, silenceMs: GIVE_UP_MS });
}

type Held =
  | { readonly kind: 'granted'; readonly body: Readonly<Record<string, unknown>> }
  | { readonly kind: 'refused'; readonly refusal: SluiceRefused }
  | { readonly kind: 'held'; readonly received: true }
  | { readonly kind: 'cut'; readonly received: boolean; readonly cause: unknown };

/** One call, held for `HOLD_S` at most, or as long as its events come. */
async function hold(wire: HttpTransport, asking: AcquireCall, ttl: string | undefined): Promise<Held> {
  const { group, requestId, fields, signal, onPlace } = asking;
  const reply = await wire.call({
    method: 'POST',
    path: `/v1/groups/${encodeURIComponent(group)}/acquire`,
    body: { ...fields, requestId, ttl },
    headers: onPlace === undefined ? { Prefer: `wait=${HOLD_S}` } : { Accept: 'text/event-stream, application/json' },
    signal,
    silenceMs: SILENCE_MS,
  });
  switch (reply.kind) {
    case 'ok':
      return reply.status === 202 ? { kind: 'held', received: true } : granted(reply.body);
    case 'refused':
      return reply;
    case 'cut':
      return { kind: 'cut', received: false, cause: reply.cause };
    case 'stream':
      return watched(reply, onPlace);
  }
}

async function watched(stream: Reply & { kind: 'stream' }, onPlace: AcquireCall['onPlace']): Promise<Held> {
  const events = eventsOf(stream.body, stream.received);
  try {
    for (;;) {
      const next = await events.next().catch((cause: unknown) => ({ cause }));
      if ('cause' in next) return { kind: 'cut', received: true, cause: next.cause };
      if (next.done) return { kind: 'cut', received: true, cause: new Error('the event stream ended without an answer') };
      const { name, data } = next.value;
      const body = parseJsonObject(data);
      if (body === undefined) continue;
      if (name === 'admitted') return granted(body);
      if (name === 'refused') return { kind: 'refused', refusal: refusalOf(body, 0) };
      if (name === 'place') onPlace?.(placeOf(body));
    }
  } finally {
    stream.close();
    await events.return();
  }
}

function granted(body: Readonly<Record<string, unknown>>): Held {
  if (typeof body['permit'] === 'string') return { kind: 'granted', body };
  return { kind: 'cut', received: false, cause: new Error('the answer holds no permit') };
}

function placeOf({ place, expectedIn, range, limit }: Readonly<Record<string, unknown>>): Place {
  return { place: Number(place), expectedMs: parseServerDuration(expectedIn), range: parseServerRange(range), limit: typeof limit === 'string' ? limit : '' };
}

/** One event of a text/event-stream. */
interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** Longest line kept; the server's are far below. */
const LINE_MAX = 65_536;

/**
 * Events of a stream, in order (WHATWG HTML 9.2.6, without `id` and `retry`). Ends with the stream, throws when it is cut.
 * `received` is called at every chunk, heartbeats too. A reader that stops early cancels the stream.
 */
async function* eventsOf(body: ReadableStream<Uint8Array>, received: () => void): AsyncGenerator<ServerEvent, void, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let name = '';
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      received();
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      if (rest.length > LINE_MAX) throw new Error('a line of the event stream is too long');
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield { name: name === '' ? 'message' : name, data: data.join('\n') };
          name = '';
          data = [];
        } else if (line.startsWith('event:')) name = line.slice(6).trimStart();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
