import type { RawHeaders } from './forwarder.ts';
import type { RequestFacts } from './route.ts';

/**
 * What crosses a proxy and what does not: RFC 9110 7.6 (hop-by-hop, Via), RFC 7239 (Forwarded), W3C Trace Context. Every
 * other field crosses as it came: same spelling, order, repeats and bytes.
 */

/** Fields for one connection only, whether `Connection` names them or not (RFC 9110 7.6.1, 11.7; RFC 9112; RFC 9113 8.2.2). */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-authentication-info',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Fields that mean nothing, or harm, when they come after what they speak of. */
const NOT_LATE: ReadonlySet<string> = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'host',
  'location',
  'set-cookie',
  'authorization',
  'www-authenticate',
  'cache-control',
  'age',
  'expires',
  'vary',
  'retry-after',
]);

/** Who this is, in Via. */
const VIA = '1.1 sluice';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Anything that ends or hides a field: controls other than tab, and what is beyond Latin-1. */
const BREAKER = /[^\t\x20-\x7e\x80-\xff]/;
/** Version 00, or a later one that may go on; no identifier of zeros only (Trace Context 3.2). */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/;

/** What a request gets beside its own fields. */
export interface RequestAdditions {
  readonly facts: RequestFacts;
  /** 1 for the first. */
  readonly attempt: number;
  /** Where a lease was given. */
  readonly fence: { readonly fence: bigint; readonly floor: bigint } | undefined;
  /** 24 bytes nobody can guess, asked only where the caller sent no `traceparent`. */
  readonly random: (bytes: number) => Uint8Array;
}

/** The fields a backend sees; undefined: one of them would break out of its line, and the request must be refused. */
export function requestHeaders(raw: RawHeaders, additions: RequestAdditions): string[] | undefined {
  const { facts } = additions;
  const named = connectionNames(raw);
  const out: string[] = [];
  const came: Came = { forwarded: [], for: [], proto: undefined, host: undefined, hostField: undefined };
  let traced: string | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (!TOKEN.test(name) || BREAKER.test(value)) return undefined;
    const lower = name.toLowerCase();
    if (lower === 'host') came.hostField = value;
    // What frames is written anew; `Expect` was for us.
    else if (HOP_BY_HOP.has(lower) || lower === 'content-length' || lower === 'expect' || isInternal(lower)) continue;
    else if (isForwarding(lower)) {
      if (!facts.peerTrusted || keep(came, lower, value)) continue;
    } else if (named?.has(lower)) continue;
    else if (lower === 'traceparent') {
      if (traced !== undefined || !TRACEPARENT.test(value)) continue;
      traced = value;
    }
    out.push(name, value);
  }
  if (traced === undefined) trace(out, additions.random);
  forwarding(out, came, facts);
  out.push('Via', VIA, 'Sluice-Attempt', String(additions.attempt));
  if (additions.fence !== undefined) out.push('Sluice-Fence', String(additions.fence.fence), 'Sluice-Fence-Floor', String(additions.fence.floor));
  return out;
}

/** The fields a caller sees of an answer; undefined: the backend sent one that breaks out of its line. */
export function answerHeaders(raw: RawHeaders): string[] | undefined {
  const named = connectionNames(raw);
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (!TOKEN.test(name) || BREAKER.test(value)) return undefined;
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || isInternal(lower)) continue;
    // A length is never hop-by-hop, whatever a backend says of it.
    if (named?.has(lower) && lower !== 'content-length') continue;
    out.push(name, value);
  }
  return out;
}

/** The trailers a caller sees of an answer: as its headers, and nothing that would frame, route or rule what was already read (RFC 9110 6.5.1); none where one breaks out of its line. */
export function answerTrailers(raw: RawHeaders): string[] {
  const kept = answerHeaders(raw) ?? [];
  return kept.filter((_each, i) => !NOT_LATE.has((kept[i - (i % 2)] as string).toLowerCase()));
}

/** What every answer of a backend gets: Via, the time in the queue (Server Timing), the attempts where there were several, the limit that would have held it where limits are in shadow. */
export function answerAdditions(queuedMs: number | undefined, attempts: number, shadow: string | undefined): string[] {
  const out = ['Via', VIA];
  if (queuedMs !== undefined) out.push('Server-Timing', `queue;dur=${Math.max(0, Math.round(queuedMs * 1000) / 1000)}`);
  if (attempts > 1) out.push('Sluice-Attempts', String(attempts));
  if (shadow !== undefined) out.push('Sluice-Shadow', shadow);
  return out;
}

/** The first value of a field by lower-case name. */
export function headerOf(raw: RawHeaders, name: string): string | undefined {
  for (let i = 0; i < raw.length; i += 2) {
    const each = raw[i] as string;
    if (each.length === name.length && each.toLowerCase() === name) return raw[i + 1];
  }
  return undefined;
}

/** All values of a field by lower-case name, in order. */
export function headersOf(raw: RawHeaders, name: string): readonly string[] {
  const found: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const each = raw[i] as string;
    if (each.length === name.length && each.toLowerCase() === name) found.push(raw[i + 1] as string);
  }
  return found;
}

/** Lower-case names that `Connection` lists; undefined: it lists none. */
function connectionNames(raw: RawHeaders): ReadonlySet<string> | undefined {
  let names: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    for (const part of (raw[i + 1] as string).split(',')) {
      const token = part.trim().toLowerCase();
      if (token === '' || token === 'keep-alive' || token === 'close') continue;
      names ??= new Set();
      names.add(token);
    }
  }
  return names;
}

/** Sluice's own; also as servers that turn '-' into '_' would read them. */
function isInternal(lower: string): boolean {
  return lower.startsWith('sluice-') || lower.startsWith('sluice_');
}

function isForwarding(lower: string): boolean {
  return lower === 'forwarded' || lower.startsWith('x-forwarded-') || lower.startsWith('x_forwarded_');
}

interface Came {
  readonly forwarded: string[];
  readonly for: string[];
  proto: string | undefined;
  host: string | undefined;
  hostField: string | undefined;
}

/** What a trusted proxy said of those before it. False: a field we have nothing to add to, to be passed on. */
function keep(came: Came, lower: string, value: string): boolean {
  if (lower === 'forwarded') came.forwarded.push(value);
  else if (lower === 'x-forwarded-for') came.for.push(value);
  else if (lower === 'x-forwarded-proto') came.proto ??= value;
  else if (lower === 'x-forwarded-host') came.host ??= value;
  else return false;
  return true;
}

function forwarding(out: string[], came: Came, facts: RequestFacts): void {
  const { peerIp, scheme } = facts;
  const host = came.hostField ?? '';
  const node = peerIp.includes(':') ? `"[${peerIp}]"` : peerIp;
  const own = `for=${node === '' ? 'unknown' : node}${host === '' ? '' : `;host=${quoted(host)}`};proto=${scheme}`;
  out.push('Forwarded', [...came.forwarded, own].join(', '));
  out.push('X-Forwarded-For', [...came.for, peerIp === '' ? 'unknown' : peerIp].join(', '));
  out.push('X-Forwarded-Proto', came.proto ?? scheme);
  const shown = came.host ?? host;
  if (shown !== '') out.push('X-Forwarded-Host', shown);
}

/** A token, or a quoted string (RFC 9110 5.6.4). */
function quoted(text: string): string {
  return TOKEN.test(text) ? text : `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}

function trace(out: string[], random: RequestAdditions['random']): void {
  const bytes = Buffer.from(random(24));
  out.push('traceparent', `00-${bytes.toString('hex', 0, 16)}-${bytes.toString('hex', 16, 24)}-00`);
}
