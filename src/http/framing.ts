/**
 * What both engines refuse before any handler runs, and how such a refusal looks on the wire. A request whose end is
 * not beyond doubt is answered and its connection closed (RFC 9112 section 6.3).
 */

import { STATUS_CODES } from 'node:http';
import { isIP } from 'node:net';
import { RETRY_UNKNOWN_SECONDS } from './retry-after.ts';

/** An engine's own refusal. */
export interface FramingError {
  readonly status: number;
  /** For people: what is wrong and what to do. */
  readonly detail: string;
  /** Retry-After; undefined: none is sent. */
  readonly retrySeconds?: number;
}

/** Body of an engine's refusal, made by {@link EngineOptions.problem}. */
export interface FaultBody {
  readonly contentType: string;
  readonly body: string | Uint8Array;
  /** Left out: the status of the refusal itself. */
  readonly status?: number;
}

/** What a refused request was for; undefined where that was not read. */
export interface Refused {
  readonly path: string;
  readonly contentType: string;
}

/** Methods that reach a handler, upper case. */
export const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** {@link METHODS} as an Allow field. */
export const METHODS_ALLOWED = [...METHODS].join(', ');

/** How long a refused connection is still read from, so that its client sees the answer and not a reset. */
export const LINGER_MS = 2_000;

/** Time for a request's head to arrive, unless the whole request has less. */
export const HEAD_MS_MAX = 10_000;

const BAD_METHOD: FramingError = { status: 405, detail: `Use one of ${METHODS_ALLOWED}.` };
const BAD_TARGET: FramingError = {
  status: 400,
  detail: 'The request target must be a path in visible ASCII (percent-encode the rest), without a fragment, and agree with the Host field.',
};
const NO_HOST: FramingError = { status: 400, detail: 'HTTP/1.1 needs a Host field.' };
const TWO_HOSTS: FramingError = { status: 400, detail: 'Send exactly one Host field.' };
const BAD_HOST: FramingError = {
  status: 400,
  detail: 'The Host field must be a name or an address, and a port from 0 to 65535 if any; nothing else (RFC 3986 3.2).',
};
const BAD_LENGTH: FramingError = { status: 400, detail: 'Send exactly one Content-Length, a decimal number.' };

/** Visible ASCII without '#': everything a request target may hold. */
const TARGET = /^[!"$-~]*$/;
const SCHEME = /^https?:\/\//i;
/** Nothing that ends or hides a field: controls other than tab. */
const FIELD_BREAKER = /[^\t\x20-\x7e\x80-\xff]/;
const DIGITS = /^[0-9]{1,15}$/;
const HOST_CHARS_MAX = 254;
const PORT = /^[0-9]{0,5}$/;
const LABEL = /^[A-Za-z0-9_-]{1,63}$/;
const NUMBER = /^(?:[0-9]+|0[xX][0-9A-Fa-f]*)$/;

/** What is wrong with a method, if anything. */
export function checkMethod(method: string): FramingError | undefined {
  return METHODS.has(method) ? undefined : BAD_METHOD;
}

/**
 * The target in origin form ('/path?query', or '*' for OPTIONS), or what is wrong with it. Absolute form is taken as
 * RFC 9112 3.2.2 wants it, but only where its authority is the Host field's: two answers to "which host" are one too many.
 */
export function originForm(target: string, method: string, host: string | undefined): string | FramingError {
  if (!TARGET.test(target)) return BAD_TARGET;
  if (target.charCodeAt(0) === 0x2f) return target;
  if (target === '*') return method === 'OPTIONS' ? target : BAD_TARGET;
  const scheme = SCHEME.exec(target)?.[0].length;
  if (scheme === undefined) return BAD_TARGET;
  const end = target.slice(scheme).search(/[/?]/);
  const authority = end < 0 ? target.slice(scheme) : target.slice(scheme, scheme + end);
  if (authority === '' || authority.toLowerCase() !== host?.toLowerCase()) return BAD_TARGET;
  const rest = target.slice(scheme + authority.length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** What is wrong with the Host field of an HTTP/1.1 request, if anything; repeated ones come joined by a comma. An empty one is none (RFC 9112 3.2). */
export function checkHost(host: string | undefined): FramingError | undefined {
  if (host === lastHost) return undefined;
  if (host === undefined) return NO_HOST;
  if (host.includes(',')) return TWO_HOSTS;
  if (host !== '' && !isHost(host)) return BAD_HOST;
  lastHost = host;
  return undefined;
}

/** The last well-formed one: most callers name the same. */
let lastHost = '';

/** A host as routes and backends read it alike: an address, or labels of letters, digits, `-` and `_`; with a port or without. */
function isHost(host: string): boolean {
  const cut = host.endsWith(']') ? -1 : host.lastIndexOf(':');
  const port = cut < 0 ? '' : host.slice(cut + 1);
  const name = cut < 0 ? host : host.slice(0, cut);
  if (!PORT.test(port) || Number(port) > 65_535 || name.length > HOST_CHARS_MAX) return false;
  if (name.startsWith('[')) return name.endsWith(']') && !name.includes('%') && isIP(name.slice(1, -1)) === 6;
  const labels = (name.endsWith('.') ? name.slice(0, -1) : name).split('.');
  if (!labels.every((label) => LABEL.test(label))) return false;
  // `127.1` and `0x7f000001` are addresses to some, and names to others.
  return !NUMBER.test(labels.at(-1) ?? '') || isIP(labels.join('.')) === 4;
}

/** Bytes announced by a Content-Length, or what is wrong with it; repeated ones come joined by a comma. */
export function lengthOf(value: string): number | FramingError {
  return DIGITS.test(value) ? Number(value) : BAD_LENGTH;
}

/** 413, saying the bound. */
export function tooLarge(bodyBytesMax: number): FramingError {
  return { status: 413, detail: `A request body may be at most ${bodyBytesMax} bytes.` };
}

/** 503: bodies of other requests take all the room there is for long ones. */
export const NO_ROOM: FramingError = {
  status: 503,
  detail: 'Too many long bodies are on their way; send this one again after a pause.',
  retrySeconds: RETRY_UNKNOWN_SECONDS,
};

/** Fields of a refusal beside the usual ones. */
export function faultFields({ retrySeconds }: FramingError): readonly (readonly [name: string, value: string])[] {
  return retrySeconds === undefined ? [] : [['Retry-After', String(retrySeconds)]];
}

/** 408, saying the bound. */
export function tooSlow(receiveMsMax: number): FramingError {
  return { status: 408, detail: `A request must arrive whole within ${receiveMsMax / 1000} seconds.` };
}

/** Throws where a field of a response would break out of its line: a bug of the code that wrote it. */
export function assertField(name: string, value: string): void {
  if (FIELD_BREAKER.test(value)) throw new Error(`The value of ${name} holds a control or a character beyond Latin-1.`);
}

/** A whole refusal as bytes for a socket, closing it; `more` are fields beside the usual ones. */
export function rawRefusal(status: number, made: FaultBody, more: readonly (readonly [name: string, value: string])[] = []): Buffer {
  const allow = status === 405 && !more.some(([name]) => name === 'Allow') ? `Allow: ${METHODS_ALLOWED}\r\n` : '';
  let fields = '';
  for (const [name, value] of more) {
    assertField(name, value);
    fields += `${name}: ${value}\r\n`;
  }
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\n${allow}${fields}Content-Type: ${made.contentType}\r\nContent-Length: ${Buffer.byteLength(made.body)}\r\nConnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(made.body)]);
}
