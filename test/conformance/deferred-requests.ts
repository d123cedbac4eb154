import { ONE_REQUEST } from '../../src/core/group.ts';
import type { Attempt, EndState, RequestEnd, RequestHead, RequestRow } from '../../src/deferred/request.ts';
import type { Change, DeferredStore, StoredBody } from '../../src/deferred/store.ts';

/** A row with everything at its least, but for what is given. */
export function row(sequence: number, more: Partial<RequestRow> = {}): RequestRow {
  return {
    sequence,
    secret: sequence.toString(16).padStart(16, '0'),
    group: 'mail',
    route: 'send',
    caller: '',
    key: '',
    priority: 1_000,
    costs: ONE_REQUEST,
    acceptedAt: 1_700_000_000_000 + sequence,
    dueAt: 0,
    deadlineAt: 0,
    firstAttemptAt: 0,
    attempts: 0,
    spared: 0,
    idHash: '',
    requestHash: '',
    ordered: false,
    callbackOf: 0,
    ...more,
  };
}

export function head(more: Partial<RequestHead> = {}): RequestHead {
  return {
    host: 'api.example',
    method: 'POST',
    target: '/orders?a=1',
    headers: ['content-type', 'text/plain'],
    bodyBytes: 4,
    timeoutMs: undefined,
    retries: undefined,
    callback: '',
    ...more,
  };
}

export const BODY = new TextEncoder().encode('body');

export function submit(of: RequestRow, body: StoredBody = BODY, more: Partial<RequestHead> = {}): Change {
  return { kind: 'submit', row: of, head: head({ bodyBytes: 'bytes' in body ? body.bytes : body.byteLength, ...more }), body };
}

export function attempt(number: number, more: Partial<Attempt> = {}): Attempt {
  return { number, at: 1_700_000_100_000 + number, status: 503, error: 'status', firstBytes: new Uint8Array([number]), nextAt: 0, ...more };
}

export function end(of: RequestRow, state: EndState, more: Partial<RequestEnd> = {}, last: Attempt | undefined = undefined): Change {
  const response = state === 'done' ? { status: 200, headers: ['x-a', '1'], body: BODY, truncated: false } : undefined;
  const error = state === 'dead' ? 'status' : '';
  const ended = { sequence: of.sequence, state, at: of.acceptedAt + 500, attempts: of.attempts, error, response, goneAt: 1_800_000_000_000, ...more };
  return { kind: 'end', end: ended, row: of, attempt: last };
}

/** Everything a store says when it is opened. */
export async function opened(store: DeferredStore) {
  const rows: RequestRow[] = [];
  const ended: { row: RequestRow; state: EndState }[] = [];
  const { flights, nextSequence } = await store.open(
    (each) => rows.push(each),
    (each, { state }) => ended.push({ row: each, state }),
  );
  return { rows, ended, flights, nextSequence, sequences: rows.map(({ sequence }) => sequence) };
}

export async function bodyOf(store: DeferredStore, sequence: number): Promise<Buffer | undefined> {
  const loaded = await store.load(sequence);
  if (loaded === undefined) return undefined;
  const pieces: Uint8Array[] = [];
  for await (const piece of loaded.body()) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Sweeps until there is no more to do. Resolves with how many calls it took. */
export async function sweepAll(store: DeferredStore, nowMs: number): Promise<number> {
  let calls = 1;
  while (await store.sweep(nowMs)) calls++;
  return calls;
}
