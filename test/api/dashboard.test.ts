import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Dashboard } from '../../src/api/dashboard.ts';
import { underBasePath } from '../../src/http/base-path.ts';
import type { EngineReply, EngineRequest } from '../../src/http/engine.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const FILES = [
  { name: 'index.html', bytes: bytes('<!doctype html>') },
  { name: 'app.js', bytes: bytes('render();'.repeat(100)) },
];

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

/** Asks the dashboard below a base path, as its listener would. */
function ask(base: string, path: string, method = 'GET', fields: Readonly<Record<string, string>> = {}): Answer | undefined {
  const dashboard = new Dashboard(base, FILES);
  let answer: Answer | undefined;
  const reply = {
    send(status: number, headers: readonly (readonly [string, string])[], body: string | Uint8Array) {
      answer = { status, headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])), body };
      return true;
    },
  } as unknown as EngineReply;
  const request: EngineRequest = { method, path, query: '', header: (name) => fields[name], body: bytes(''), remoteAddress: '127.0.0.1' };
  underBasePath(base, (seen) => {
    if (dashboard.takes(seen.path)) dashboard.handle(seen, reply);
  })(request, reply);
  return answer;
}

describe('the files of the dashboard', () => {
  test('come with a policy that lets only files and calls of this address in', () => {
    for (const answer of [ask('/', '/'), ask('/', '/app.js'), ask('/', '/app.js', 'POST')]) {
      expect(answer?.headers['content-security-policy']).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      );
      expect(answer?.headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cache-control': 'no-cache' });
    }
    expect(ask('/', '/')?.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(ask('/', '/app.js')?.headers['content-type']).toBe('text/javascript; charset=utf-8');
  });

  test('are compressed for who takes gzip, and only then', () => {
    const zipped = ask('/', '/app.js', 'GET', { 'accept-encoding': 'br, gzip;q=0.8' });
    expect(zipped?.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(zipped?.body as Uint8Array).toString()).toBe('render();'.repeat(100));
    for (const accepted of ['', 'br', 'gzip;q=0', 'gzip; q=0.000']) {
      const plain = ask('/', '/app.js', 'GET', { 'accept-encoding': accepted });
      expect(plain?.headers['content-encoding']).toBeUndefined();
      expect(Buffer.from(plain?.body as Uint8Array).toString()).toBe('render();'.repeat(100));
    }
  });

  test('are not sent again to who has them', () => {
    const { etag = '' } = ask('/', '/app.js')?.headers ?? {};
    expect(ask('/', '/app.js', 'GET', { 'if-none-match': etag })).toMatchObject({ status: 304, body: '' });
    expect(ask('/', '/app.js', 'GET', { 'if-none-match': 'W/"other"' })?.status).toBe(200);
  });

  test('are only read: other methods are 405', () => {
    expect(ask('/', '/', 'POST')).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
    expect(ask('/', '/', 'HEAD')?.status).toBe(200);
  });

  test('lie below a path of their own where one is set, whose name without a slash leads there', () => {
    expect(ask('/sluice', '/sluice/')?.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(ask('/sluice', '/sluice/app.js')?.status).toBe(200);
    expect(ask('/sluice', '/sluice')).toMatchObject({ status: 308, headers: { location: '/sluice/' } });
    expect(ask('/sluice', '/sluice-other/app.js')).toBeUndefined();
    expect(ask('/', '/nothing.js')).toBeUndefined();
  });
});
