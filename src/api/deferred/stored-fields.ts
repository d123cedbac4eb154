import type { Refusal } from '../../core/refusal.ts';
import { DAY, MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import { CALLBACK_URL_LENGTH_MAX } from '../../deferred/callback-target.ts';
import type { Submission } from '../../deferred/deferred.ts';
import { allHeaders, firstHeader } from '../../proxy/headers.ts';
import type { IncomingRequest } from '../../proxy/incoming.ts';
import { fromText } from '../duration.ts';
import { idempotencyKeyOf } from '../idempotency-key.ts';

/** What a caller may set for a request that is to be stored, in fields of the request itself. */
export type StoredFields = Pick<Submission, 'idempotencyKey' | 'notBeforeMs' | 'deadlineMs' | 'timeoutMs' | 'retries' | 'callback'>;

const KEY_LENGTH_MAX = 256;
const YEAR: Micros = 365 * DAY;
const RETRIES_MAX = 100;

/**
 * Reads `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07; without its quotes too) and the fields that narrow what
 * the route sets: `Sluice-Delay`, `Sluice-Deadline`, `Sluice-Timeout` (durations), `Sluice-Retries` (a number of attempts, or the
 * delays between them), `Sluice-Callback` (a URL).
 */
export function storedFields({ headers }: Pick<IncomingRequest, 'headers'>, nowMs: number): StoredFields | Refusal {
  for (const name of ['idempotency-key', 'sluice-delay', 'sluice-deadline', 'sluice-timeout', 'sluice-retries', 'sluice-callback'])
    if (allHeaders(headers, name).length > 1) return malformed(`\`${name}\` stands more than once; send it once.`);
  const idempotencyKey = idempotencyKeyOf(firstHeader(headers, 'idempotency-key'));
  if (typeof idempotencyKey !== 'string') return idempotencyKey;
  if (idempotencyKey.length > KEY_LENGTH_MAX) return malformed(`\`Idempotency-Key\` may have at most ${KEY_LENGTH_MAX} characters.`);
  const delay = durationOf(firstHeader(headers, 'sluice-delay'), 0, YEAR);
  const deadline = durationOf(firstHeader(headers, 'sluice-deadline'), SECOND, YEAR);
  const timeout = durationOf(firstHeader(headers, 'sluice-timeout'), 100 * MILLISECOND, DAY);
  const retries = retriesOf(firstHeader(headers, 'sluice-retries'));
  for (const [name, value, bounds] of [
    ['Sluice-Delay', delay, '0 to 365d'],
    ['Sluice-Deadline', deadline, '1s to 365d'],
    ['Sluice-Timeout', timeout, '100ms to 1d'],
    ['Sluice-Retries', retries, `attempts from 1, or at most ${RETRIES_MAX} delays: 1s, 10s, 1m`],
  ] as const)
    if (value === 'wrong') return malformed(`\`${name}\` cannot be read, or is out of bounds; send ${bounds}.`);
  const callback = firstHeader(headers, 'sluice-callback')?.trim() ?? '';
  if (callback.length > CALLBACK_URL_LENGTH_MAX) return malformed(`\`Sluice-Callback\` may have at most ${CALLBACK_URL_LENGTH_MAX} characters.`);
  return {
    idempotencyKey,
    notBeforeMs: typeof delay === 'number' && delay > 0 ? nowMs + Math.ceil(delay / MILLISECOND) : undefined,
    deadlineMs: typeof deadline === 'number' ? Math.ceil(deadline / MILLISECOND) : undefined,
    timeoutMs: typeof timeout === 'number' ? Math.ceil(timeout / MILLISECOND) : undefined,
    retries: retries === 'wrong' ? undefined : retries,
    callback,
  };
}

function durationOf(text: string | undefined, min: Micros, max: Micros): Micros | 'wrong' | undefined {
  if (text === undefined) return undefined;
  const micros = fromText(text.trim());
  return micros >= min && micros <= max ? micros : 'wrong';
}

function retriesOf(text: string | undefined): Submission['retries'] | 'wrong' {
  if (text === undefined) return undefined;
  if (/^\d{1,5}$/.test(text.trim())) return Number(text) >= 1 ? { attemptsMax: Number(text) } : 'wrong';
  const parts = text.length > 2_048 ? [] : text.split(',');
  const delays = parts.map((part) => durationOf(part, 0, YEAR));
  if (delays.length === 0 || delays.length > RETRIES_MAX || delays.includes('wrong')) return 'wrong';
  return { delaysMs: delays.map((delay) => Math.ceil((delay as Micros) / MILLISECOND)) };
}

function malformed(detail: string): Refusal {
  return { reason: 'malformed', detail };
}
