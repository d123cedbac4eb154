import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { EngineReply, EngineRequest } from '../http/engine.ts';
import type { HttpHandler } from '../http/listener.ts';
import { refusesMethod } from './problem.ts';

/** A file of the dashboard. */
export interface DashboardFile {
  /** File name without folders. `index.html` is also served at the base path itself. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
};

/** Scripts, styles and calls of this address only; no frames, no forms, no inline code. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: readonly (readonly [string, string])[] = [
  ['Content-Security-Policy', CONTENT_SECURITY_POLICY],
  ['X-Content-Type-Options', 'nosniff'],
  ['Referrer-Policy', 'no-referrer'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  // Always asked for again: a page must not run beside a server of another version.
  ['Cache-Control', 'no-cache'],
  ['Vary', 'Accept-Encoding'],
];

interface Served {
  readonly type: string;
  readonly etag: string;
  readonly plain: Uint8Array;
  readonly gzipped: Uint8Array;
}

/**
 * Serves the files of the dashboard, from memory and compressed once. They hold no data and need no credential; what the page shows
 * comes from the API, which does.
 */
export class Dashboard implements HttpHandler {
  readonly #base: string;
  readonly #files: ReadonlyMap<string, Served>;

  /** @param base `/`, or a path that begins with a slash and ends without one. The handler itself sees paths as if it were the root. */
  constructor(base: string, files: readonly DashboardFile[]) {
    this.#base = base;
    const served = new Map(files.map((file) => [`/${file.name}`, servedOf(file)]));
    const index = served.get('/index.html');
    if (index !== undefined) served.set('/', index);
    this.#files = served;
  }

  takes(path: string): boolean {
    return this.#files.has(path) || path === this.#base;
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    if (refusesMethod(request, reply, HEADERS)) return;
    const file = this.#files.get(request.path);
    // The page names its files relative to itself, so its address has to end with a slash.
    if (file === undefined) return void reply.send(308, [...HEADERS, ['Location', `${this.#base}/`]], '');
    const { etag, type, plain, gzipped } = file;
    if (request.header('if-none-match')?.includes(etag) === true) return void reply.send(304, [...HEADERS, ['ETag', etag]], '');
    const compressed = acceptsGzip(request.header('accept-encoding') ?? '');
    const coding: readonly (readonly [string, string])[] = compressed ? [['Content-Encoding', 'gzip']] : [];
    reply.send(200, [...HEADERS, ['Content-Type', type], ['ETag', etag], ...coding], compressed ? gzipped : plain);
  }
}

function servedOf({ name, bytes }: DashboardFile): Served {
  const extension = name.slice(name.lastIndexOf('.') + 1);
  return {
    type: TYPES[extension] ?? 'application/octet-stream',
    // Weak: the same for both codings.
    etag: `W/"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
    plain: bytes,
    gzipped: gzipSync(bytes, { level: 9 }),
  };
}

/** RFC 9110 12.5.3, for the one coding there is. */
function acceptsGzip(field: string): boolean {
  return field.split(',').some((part) => {
    const [coding = '', ...parameters] = part.split(';').map((each) => each.trim().toLowerCase());
    return coding === 'gzip' && !parameters.some((each) => /^q=0(?:\.0{0,3})?$/.test(each));
  });
}
