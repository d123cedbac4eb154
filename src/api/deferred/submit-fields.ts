import { KEY_BYTES_MAX } from '../../core/bounds.ts';
import type { Costs } from '../../core/group.ts';
import type { Refusal } from '../../core/refusal.ts';
import { DAY, MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import { CALLBACK_URL_LENGTH_MAX } from '../../deferred/callback-target.ts';
import { checkHost } from '../../http/framing.ts';
import { checkDuration, checkText, malformed } from '../validation.ts';

/** A request to be stored, decoded but not checked. Numbers and times that a protocol could not read are NaN; '' where a text is absent. */
export interface SubmitFields {
  readonly route: string;
  readonly group: string;
  readonly key: string;
  readonly priorityClass: string;
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  readonly idempotencyKey: string;
  readonly dedupeId: string;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number | undefined;
  readonly deadline: Micros | undefined;
  readonly timeout: Micros | undefined;
  readonly retries: { readonly attemptsMax: number } | { readonly delays: readonly Micros[] } | undefined;
  /** undefined: none named. */
  readonly costs: Costs | undefined;
  readonly callback: string;
}

/** Fields of a request that sets nothing but where it goes. */
export const EMPTY_SUBMIT: SubmitFields = Object.freeze({
  route: '',
  group: '',
  key: '',
  priorityClass: '',
  host: '',
  method: '',
  path: '',
  headers: [],
  body: new Uint8Array(0),
  idempotencyKey: '',
  dedupeId: '',
  notBeforeMs: undefined,
  deadline: undefined,
  timeout: undefined,
  retries: undefined,
  costs: undefined,
  callback: '',
});

const HEADERS_MAX = 100;
const HEADER_NAME_BYTES_MAX = 256;
const HEADER_VALUE_BYTES_MAX = 8192;
const HEADERS_BYTES_MAX = 65_536;
const PATH_BYTES_MAX = 8192;
const HOST_BYTES_MAX = 253;
const NAME_BYTES_MAX = 256;
const DELAYS_MAX = 100;
const ATTEMPTS_MAX = 99_999;
const LATER_MAX: Micros = 365 * DAY;
const TIMEOUT_MIN: Micros = 100 * MILLISECOND;
const TIMEOUT_MAX: Micros = DAY;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;
/** What a field's value can hold on the wire: bytes without controls other than tab. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const PATH = /^\/[!"$-~]*$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** Fields of ours, and those that state where a request came from: a proxy writes them. */
const OWN = /^(sluice|x[-_]forwarded)[-_]/;
/** Fields that are not the caller's to set: they frame the message, belong to one connection, or are written by Sluice (RFC 9110 7.6.1). */
const FOREIGN: ReadonlySet<string> = new Set([
  'forwarded',
  'via',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'content-length',
  'expect',
  'host',
  'idempotency-key',
]);

/** Refuses fields that no request can have, whatever its route; undefined: they are fine. `nowMs`: milliseconds since 1970. */
export function checkSubmit(fields: SubmitFields, nowMs: number): Refusal | undefined {
  const { route, group, idempotencyKey, dedupeId } = fields;
  return (
    checkText('route', route, NAME_BYTES_MAX) ??
    (route !== '' && group !== '' ? malformed('Name either `route` or `group`, not both.') : undefined) ??
    checkText('key', fields.key, KEY_BYTES_MAX) ??
    checkText('priority_class', fields.priorityClass, 128) ??
    checkTarget(fields) ??
    checkHeaders(fields.headers) ??
    checkKey(idempotencyKey) ??
    checkText('dedupe_id', dedupeId, NAME_BYTES_MAX) ??
    (idempotencyKey !== '' && dedupeId !== '' ? malformed('Name either `idempotency_key` or `dedupe_id`, not both.') : undefined) ??
    checkTimes(fields, nowMs) ??
    checkRetries(fields.retries) ??
    checkCallback(fields.callback)
  );
}

/** Refuses what cannot be an idempotency key; undefined: it is fine, or there is none. */
export function checkKey(key: string): Refusal | undefined {
  if (key.length > NAME_BYTES_MAX) return malformed(`\`idempotency_key\` is longer than ${NAME_BYTES_MAX} bytes; shorten it.`);
  return PRINTABLE.test(key) ? undefined : malformed('`idempotency_key` must be printable ASCII (draft-ietf-httpapi-idempotency-key-header).');
}

function checkTarget({ method, path, host }: SubmitFields): Refusal | undefined {
  if (method.length > 32 || (method !== '' && !TOKEN.test(method))) return malformed('`method` must be an HTTP method of at most 32 characters.');
  if (method === 'CONNECT' || method === 'TRACE') return malformed('CONNECT and TRACE are not passed on; name another `method`.');
  if (path === '') return malformed('`path` is missing; send the path and query that the backend is to see, for example `/orders?id=7`.');
  if (path.length > PATH_BYTES_MAX) return malformed(`\`path\` is longer than ${PATH_BYTES_MAX} bytes; shorten it.`);
  if (!PATH.test(path)) return malformed('`path` must begin with "/" and be visible ASCII without "#"; percent-encode the rest.');
  if (host === '') return undefined;
  const fault = host.length > HOST_BYTES_MAX ? 'long' : checkHost(host);
  return fault === undefined ? undefined : malformed('`host` must be a name or an address, and a port if any, of at most 253 bytes.');
}

function checkHeaders(headers: SubmitFields['headers']): Refusal | undefined {
  if (headers.length > HEADERS_MAX) return malformed(`\`headers\` has more than ${HEADERS_MAX} fields; send fewer.`);
  let bytes = 0;
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) return malformed(`A name in \`headers\` must be a token of 1 to ${HEADER_NAME_BYTES_MAX} characters (RFC 9110 5.1).`);
    const lower = name.toLowerCase();
    if (lower === 'idempotency-key') return malformed('Send the key as `idempotency_key`, not in `headers`: the backend gets it with every attempt.');
    if (FOREIGN.has(lower) || OWN.test(lower)) {
      return malformed(`The header ${name.slice(0, 64)} is not the caller's to set; leave it out.${lower === 'host' ? ' The host goes into `host`.' : ''}`);
    }
    if (value.length > HEADER_VALUE_BYTES_MAX)
      return malformed(`The value of ${name.slice(0, 64)} is longer than ${HEADER_VALUE_BYTES_MAX} bytes; shorten it.`);
    if (!FIELD_VALUE.test(value)) return malformed(`The value of ${name.slice(0, 64)} holds what a header cannot: a control character, or one beyond Latin-1.`);
    bytes += name.length + value.length;
  }
  return bytes > HEADERS_BYTES_MAX ? malformed(`\`headers\` are longer than ${HEADERS_BYTES_MAX} bytes in all; shorten them.`) : undefined;
}

function checkTimes({ notBeforeMs, deadline, timeout }: SubmitFields, nowMs: number): Refusal | undefined {
  if (notBeforeMs !== undefined) {
    if (!Number.isFinite(notBeforeMs)) return malformed('`not_before` is not a time; write for example `2030-01-31T08:00:00Z`.');
    if (notBeforeMs > nowMs + LATER_MAX / MILLISECOND) return malformed('`not_before` must be at most 365 days from now.');
  }
  return (
    (deadline === undefined ? undefined : checkDuration('deadline', deadline, SECOND, LATER_MAX)) ??
    (timeout === undefined ? undefined : checkDuration('timeout', timeout, TIMEOUT_MIN, TIMEOUT_MAX))
  );
}

function checkRetries(retries: SubmitFields['retries']): Refusal | undefined {
  if (retries === undefined) return undefined;
  if ('attemptsMax' in retries) {
    const { attemptsMax } = retries;
    if (Number.isInteger(attemptsMax) && attemptsMax >= 1 && attemptsMax <= ATTEMPTS_MAX) return undefined;
    return malformed(`\`attempts_max\` must be a whole number from 1 (never again) to ${ATTEMPTS_MAX}.`);
  }
  if (retries.delays.length > DELAYS_MAX) return malformed(`\`retry_delays\` has more than ${DELAYS_MAX} entries; name fewer.`);
  for (const delay of retries.delays) {
    const wrong = checkDuration('retry_delays', delay, 0, LATER_MAX);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** Refuses a callback that is no URL for one; whether its target is allowed, the deferred service decides. */
function checkCallback(callback: string): Refusal | undefined {
  if (callback === '') return undefined;
  if (callback.length > CALLBACK_URL_LENGTH_MAX) return malformed(`\`callback\` is longer than ${CALLBACK_URL_LENGTH_MAX} bytes; shorten it.`);
  const url = PRINTABLE.test(callback) && URL.canParse(callback) ? new URL(callback) : undefined;
  const good = url !== undefined && (url.protocol === 'https:' || url.protocol === 'http:') && url.username === '' && url.password === '' && url.hash === '';
  return good ? undefined : malformed('`callback` must be an http or https URL without credentials and fragment.');
}
