import { isTraceparent, type TraceContext } from '../admission/tracing.ts';
import type { DroppedHeaders, RequestContext } from './route.ts';
import type { RawHeaders } from './upstream/forwarder.ts';

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

/** What a request gets beside its own fields. */
export interface RequestAdditions {
  readonly facts: RequestContext;
  /** 1 for the first; undefined: it is stored, not sent. */
  readonly attempt: number | undefined;
  /** Where a lease was given. */
  readonly fence: { readonly fence: bigint; readonly floor: bigint } | undefined;
  /** A new `traceparent`, requested only where the caller sent none: see trace-context.ts. undefined: it is sent without one. */
  readonly traceparent: (() => string) | undefined;
  /** A span of this process, in place of what the caller sent; undefined: none. */
  readonly span?: TraceContext | undefined;
  /** Requests a response that is not compressed, in place of what the caller accepts: the proxy reads in it what the request cost. */
  readonly identity?: boolean;
  /** Fields of the caller that end here; undefined: all pass that may. */
  readonly drops?: DroppedHeaders | undefined;
  /** Id of a request that was stored: what a proxy adds was added before, and is left as it is. */
  readonly requestId?: string | undefined;
}

/** Fields that a request is sent with beside its own, and their values, at most. */
const ADDED_MAX = 2 * 11;

/** The fields a backend sees; undefined: one of them would break out of its line, and the request must be refused. */
export function requestHeaders(raw: RawHeaders, additions: RequestAdditions): string[] | undefined {
  const { facts, fence, requestId, drops } = additions;
  const wasStored = requestId !== undefined;
  const named = connectionNames(raw);
  const out = new Array<string>(raw.length + ADDED_MAX);
  let n = 0;
  let came: Came | undefined;
  let host = '';
  let traced = false;
  let passed = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const field = fieldOf(name);
    if (field === undefined || BREAKER.test(value)) return undefined;
    switch (field.kind) {
      case 'host':
        host = value;
        break;
      case 'hop':
      case 'length':
      case 'expect':
        continue;
      case 'encoding':
        if (additions.identity) continue;
        if (named?.has(field.lower)) continue;
        break;
      case 'forwarding':
        if (wasStored) break;
        if (!facts.peerTrusted) continue;
        came ??= { forwarded: [], for: [], proto: undefined, host: undefined };
        if (keep(came, field.lower, value)) continue;
        break;
      default:
        if (named?.has(field.lower)) continue;
        if (drops !== undefined && isDropped(drops, field.lower)) continue;
        if (wasStored && field.lower === 'via') passed = true;
        if (field.kind !== 'trace') break;
        if (traced || additions.span !== undefined || !isTraceparent(value)) continue;
        traced = true;
    }
    out[n++] = name;
    out[n++] = value;
  }
  if (additions.identity) n = put(out, n, 'Accept-Encoding', 'identity');
  if (additions.span !== undefined) n = put(out, n, 'traceparent', additions.span.traceparent);
  else if (!traced && additions.traceparent !== undefined) n = put(out, n, 'traceparent', additions.traceparent());
  if (!wasStored) n = forwarding(out, n, came, host, facts);
  if (!passed) n = put(out, n, 'Via', VIA);
  if (additions.attempt !== undefined) n = put(out, n, 'Sluice-Attempt', String(additions.attempt));
  if (wasStored) n = put(out, n, 'Sluice-Request-Id', requestId);
  if (fence !== undefined) {
    n = put(out, n, 'Sluice-Fence', String(fence.fence));
    n = put(out, n, 'Sluice-Fence-Floor', String(fence.floor));
  }
  out.length = n;
  return out;
}

function isDropped({ names, prefixes }: DroppedHeaders, lower: string): boolean {
  return names.has(lower) || prefixes.some((prefix) => lower.startsWith(prefix));
}

/** Writes a field at `n`; answers where the next one goes. */
function put(out: string[], n: number, name: string, value: string): number {
  out[n] = name;
  out[n + 1] = value;
  return n + 2;
}

/** The fields a caller sees of an answer; undefined: the backend sent one that breaks out of its line. */
export function responseHeaders(raw: RawHeaders): string[] | undefined {
  const named = connectionNames(raw);
  const out: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const field = fieldOf(name);
    if (field === undefined || BREAKER.test(value)) return undefined;
    if (field.kind === 'hop') continue;
    // A length is never hop-by-hop, whatever a backend lists.
    if (named?.has(field.lower) && field.kind !== 'length') continue;
    out.push(name, value);
  }
  return out;
}

/** The trailers a caller sees of an answer: as its headers, and nothing that would frame, route or rule what was already read (RFC 9110 6.5.1); none where one breaks out of its line. */
export function responseTrailers(raw: RawHeaders): string[] {
  const kept = responseHeaders(raw) ?? [];
  return kept.filter((_each, i) => !NOT_LATE.has((kept[i - (i % 2)] as string).toLowerCase()));
}

/** What the permit of a request adds to its response. */
export interface Permitted {
  /** Limits in shadow would have held it. */
  readonly permit: { readonly shadow: { readonly limit: string } | undefined };
  /** Admitted outside the promises. */
  readonly degraded: string | undefined;
}

/** What every answer of a backend gets: Via, the time in the queue (Server Timing), the attempts where there were several, and what its permit adds, where it had one. */
export function addResponseHeaders(out: string[], queuedMs: number | undefined, attempts: number, by: Permitted | undefined): string[] {
  out.push('Via', VIA);
  if (queuedMs !== undefined) out.push('Server-Timing', `queue;dur=${Math.max(0, Math.round(queuedMs * 1000) / 1000)}`);
  if (attempts > 1) out.push('Sluice-Attempts', String(attempts));
  if (by?.permit.shadow !== undefined) out.push('Sluice-Shadow', by.permit.shadow.limit);
  if (by?.degraded !== undefined) out.push('Sluice-Degraded', by.degraded);
  return out;
}

/** The first value of a field by lower-case name. */
export function firstHeader(raw: RawHeaders, name: string): string | undefined {
  for (let i = 0; i < raw.length; i += 2) {
    const each = raw[i] as string;
    if (each.length === name.length && each.toLowerCase() === name) return raw[i + 1];
  }
  return undefined;
}

/** All values of a field by lower-case name, in order. */
export function allHeaders(raw: RawHeaders, name: string): readonly string[] {
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

/** What a field is, by its name. `hop`: for one connection, or Sluice's own; `length` and `expect` are written anew, or were for us. */
interface Field {
  readonly lower: string;
  readonly kind: 'plain' | 'host' | 'hop' | 'length' | 'expect' | 'encoding' | 'forwarding' | 'trace';
}

/** Names come again and again; what they are is looked up. Unknown names do not fill it for good. */
const known = new Map<string, Field>();
const KNOWN_MAX = 1_000;
const KNOWN_CHARS_MAX = 64;

/** undefined: not the name of a field. */
function fieldOf(name: string): Field | undefined {
  const found = known.get(name);
  if (found !== undefined) return found;
  if (!TOKEN.test(name)) return undefined;
  const lower = name.toLowerCase();
  const field: Field = { lower, kind: kindOf(lower) };
  if (known.size >= KNOWN_MAX) known.clear();
  if (name.length <= KNOWN_CHARS_MAX) known.set(name, field);
  return field;
}

function kindOf(lower: string): Field['kind'] {
  if (lower === 'host') return 'host';
  // Sluice's own, also as servers that turn '-' into '_' would read them.
  if (HOP_BY_HOP.has(lower) || lower.startsWith('sluice-') || lower.startsWith('sluice_')) return 'hop';
  if (lower === 'content-length') return 'length';
  if (lower === 'expect') return 'expect';
  if (lower === 'accept-encoding') return 'encoding';
  if (lower === 'forwarded' || lower.startsWith('x-forwarded-') || lower.startsWith('x_forwarded_')) return 'forwarding';
  return lower === 'traceparent' ? 'trace' : 'plain';
}

interface Came {
  readonly forwarded: string[];
  readonly for: string[];
  proto: string | undefined;
  host: string | undefined;
}

/** What a trusted proxy sent of those before it. False: a field we have nothing to add to, to be passed on. */
function keep(came: Came, lower: string, value: string): boolean {
  if (lower === 'forwarded') came.forwarded.push(value);
  else if (lower === 'x-forwarded-for') came.for.push(value);
  else if (lower === 'x-forwarded-proto') came.proto ??= value;
  else if (lower === 'x-forwarded-host') came.host ??= value;
  else return false;
  return true;
}

function forwarding(out: string[], from: number, came: Came | undefined, host: string, { peerIp, scheme }: RequestContext): number {
  const own = ownForwarded(peerIp, host, scheme);
  const peer = peerIp === '' ? 'unknown' : peerIp;
  const shown = came?.host ?? host;
  let n = put(out, from, 'Forwarded', came === undefined ? own : [...came.forwarded, own].join(', '));
  n = put(out, n, 'X-Forwarded-For', came === undefined ? peer : [...came.for, peer].join(', '));
  n = put(out, n, 'X-Forwarded-Proto', came?.proto ?? scheme);
  return shown === '' ? n : put(out, n, 'X-Forwarded-Host', shown);
}

/** The last of them: callers behind one balancer, and of one host, are described in the same words. */
let last = { peerIp: '', host: '', scheme: '', own: '' };

/** What this hop adds to Forwarded. */
function ownForwarded(peerIp: string, host: string, scheme: string): string {
  if (last.peerIp === peerIp && last.host === host && last.scheme === scheme) return last.own;
  const node = peerIp.includes(':') ? `"[${peerIp}]"` : peerIp;
  const own = `for=${node === '' ? 'unknown' : node}${host === '' ? '' : `;host=${quoted(host)}`};proto=${scheme}`;
  last = { peerIp, host, scheme, own };
  return own;
}

/** A token, or a quoted string (RFC 9110 5.6.4). */
function quoted(text: string): string {
  return TOKEN.test(text) ? text : `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}
