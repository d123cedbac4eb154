import { describe, expect, test } from 'vitest';
import { addResponseHeaders, allHeaders, firstHeader, type RequestAdditions, requestHeaders, responseHeaders } from '../../src/proxy/headers.ts';
import type { RequestContext } from '../../src/proxy/route.ts';
import { createTraceparents } from '../../src/proxy/trace-context.ts';

const FACTS: RequestContext = { params: new Map(), caller: '', clientIp: '192.0.2.7', peerIp: '192.0.2.7', peerTrusted: false, scheme: 'http' };

const additions = (more: Partial<RequestContext> = {}, rest: Partial<RequestAdditions> = {}): RequestAdditions => ({
  facts: { ...FACTS, ...more },
  attempt: 1,
  fence: undefined,
  traceparent: createTraceparents((count) => new Uint8Array(count).fill(0xab)),
  ...rest,
});

/** What is left of headers when what Sluice adds is taken away. */
function crossing(headers: readonly string[]): readonly string[] | undefined {
  const sent = requestHeaders(['Host', 'shop', ...headers], additions());
  const at = sent?.indexOf('traceparent') ?? -1;
  return sent?.slice(2, at < 0 ? undefined : at);
}

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('an answer that is to be read is asked for as identity, whatever the caller accepts', () => {
  const came = ['Host', 'shop', 'Accept-Encoding', 'gzip', 'accept-encoding', 'br'];
  expect(allHeaders(requestHeaders(came, additions({}, { identity: true })) ?? [], 'accept-encoding')).toEqual(['identity']);
  expect(allHeaders(requestHeaders(came, additions()) ?? [], 'accept-encoding')).toEqual(['gzip', 'br']);
});

test('fields that its route drops do not cross, by name or beginning, whatever their case; those that frame it always do', () => {
  const drops = { names: new Set(['x-tenant', 'host', 'content-length']), prefixes: ['x-internal-'] };
  const came = ['Host', 'shop', 'X-Tenant', 'a', 'X-INTERNAL-Tag', 'b', 'x-internal', 'c', 'Accept', 'd'];
  const sent = requestHeaders(came, additions({}, { drops })) ?? [];
  expect(sent.slice(0, 6)).toEqual(['Host', 'shop', 'x-internal', 'c', 'Accept', 'd']);
});

describe('a request', () => {
  test('end-to-end fields cross in order, with repeats, spelling and bytes', () => {
    const headers = ['Accept', 'a/b', 'X-One', '1', 'COOKIE', 'a=1; b=2', 'x-one', '2', 'X-Empty', '', 'X-Latin', 'caf\u00e9 \tend', 'cookie', 'c=3'];
    expect(crossing(headers)).toEqual(headers);
  });

  test.each([
    ['Connection', 'keep-alive'],
    ['connection', 'close'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['Proxy-Authorization', 'Basic eA=='],
    ['Proxy-Authenticate', 'Basic'],
    ['TE', 'trailers'],
    ['Trailer', 'Expires'],
    ['Transfer-Encoding', 'chunked'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'AAMAAABkAAQAAP__'],
    ['Content-Length', '5'],
    ['Expect', '100-continue'],
    ['Sluice-Fence', '9'],
    ['sluice-fence-floor', '9'],
    ['Sluice_Fence', '9'],
    ['Sluice-Anything', 'x'],
    ['Forwarded', 'for=6.6.6.6'],
    ['X-Forwarded-For', '6.6.6.6'],
    ['X-Forwarded-Proto', 'https'],
    ['X-Forwarded-Host', 'evil'],
    ['X-Forwarded-Port', '1'],
    ['x_forwarded_for', '6.6.6.6'],
  ])('%s does not cross', (name, value) => {
    expect(crossing(['A', '1', name, value, 'B', '2'])).toEqual(['A', '1', 'B', '2']);
  });

  test('what Connection names does not cross either, in every line and spelling', () => {
    expect(crossing(['X-Hop', '1', 'Connection', 'x-hop,  CLOSE', 'Connection', 'X-Other', 'x-other', '2', 'Keep', '3'])).toEqual(['Keep', '3']);
  });

  test('Connection cannot take away what Sluice itself says, nor Host', () => {
    const sent = requestHeaders(['Host', 'shop', 'Connection', 'host, via, sluice-fence, x-forwarded-for'], additions({}, { fence: { fence: 7n, floor: 5n } }));
    for (const name of ['host', 'via', 'sluice-fence', 'x-forwarded-for']) expect(allHeaders(sent ?? [], name)).toHaveLength(1);
  });

  test.each([
    ['X', 'a\r\nEvil: 1'],
    ['X', 'a\nb'],
    ['X', 'a\0'],
    ['X', 'a\rb'],
    ['X', 'beyond \u0100'],
    ['X', '\x7f'],
    ['X Y', '1'],
    ['', '1'],
    ['X:', '1'],
    ['X\r\n', '1'],
  ])('%j: %j is refused', (name, value) => expect(requestHeaders([name, value], additions())).toBeUndefined());

  test('who sent it is told by Forwarded and X-Forwarded-*', () => {
    const sent = requestHeaders(['Host', 'shop:80'], additions()) ?? [];
    expect(allHeaders(sent, 'forwarded')).toEqual(['for=192.0.2.7;host="shop:80";proto=http']);
    expect(allHeaders(sent, 'x-forwarded-for')).toEqual(['192.0.2.7']);
    expect(allHeaders(sent, 'x-forwarded-proto')).toEqual(['http']);
    expect(allHeaders(sent, 'x-forwarded-host')).toEqual(['shop:80']);
    expect(allHeaders(requestHeaders([], additions({ peerIp: '2001:db8::1' })) ?? [], 'forwarded')).toEqual(['for="[2001:db8::1]";proto=http']);
  });

  test('a trusted proxy is added to', () => {
    const came = ['Host', 'in', 'Forwarded', 'for=1.1.1.1', 'X-Forwarded-For', '1.1.1.1', 'X-Forwarded-For', '2.2.2.2'];
    const sent =
      requestHeaders([...came, 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'out', 'X-Forwarded-Port', '443'], additions({ peerTrusted: true })) ?? [];
    expect(allHeaders(sent, 'forwarded')).toEqual(['for=1.1.1.1, for=192.0.2.7;host=in;proto=http']);
    expect(allHeaders(sent, 'x-forwarded-for')).toEqual(['1.1.1.1, 2.2.2.2, 192.0.2.7']);
    expect(allHeaders(sent, 'x-forwarded-proto')).toEqual(['https']);
    expect(allHeaders(sent, 'x-forwarded-host')).toEqual(['out']);
    expect(allHeaders(sent, 'x-forwarded-port')).toEqual(['443']);
  });

  test('Via is added to those before; attempt, fence and floor are told', () => {
    const sent = requestHeaders(['Via', '1.0 edge'], additions({}, { attempt: 3, fence: { fence: 1_099_511_627_777n, floor: 1_099_511_627_776n } })) ?? [];
    expect(allHeaders(sent, 'via')).toEqual(['1.0 edge', '1.1 sluice']);
    expect(firstHeader(sent, 'sluice-attempt')).toBe('3');
    expect(firstHeader(sent, 'sluice-fence')).toBe('1099511627777');
    expect(firstHeader(sent, 'sluice-fence-floor')).toBe('1099511627776');
    expect(firstHeader(requestHeaders([], additions()) ?? [], 'sluice-fence')).toBeUndefined();
  });

  test.each([
    ['is passed on', [TRACE], TRACE],
    ['of a later version is passed on', [`01${TRACE.slice(2)}-more`], `01${TRACE.slice(2)}-more`],
    ['is made where there is none', [], undefined],
    ['is made anew where it is none', ['00-xyz'], undefined],
    ['of zeros is none', [`00-${'0'.repeat(32)}-00f067aa0ba902b7-01`], undefined],
    ['of version ff is none', [`ff${TRACE.slice(2)}`], undefined],
  ])('traceparent %s', (_what, came, sent) => {
    const found = allHeaders(
      requestHeaders(
        came.flatMap((value) => ['traceparent', value]),
        additions(),
      ) ?? [],
      'traceparent',
    );
    expect(found).toEqual([sent ?? `00-${'ab'.repeat(16)}-${'ab'.repeat(8)}-00`]);
  });
});

test('no two requests get the same trace', () => {
  let byte = 0;
  const next = createTraceparents((count) => Uint8Array.from({ length: count }, () => byte++ % 251));
  const made = Array.from({ length: 200 }, next);
  expect(new Set(made).size).toBe(200);
  for (const each of made) expect(each).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});

describe('an answer', () => {
  test('end-to-end fields cross as they came; hop-by-hop ones, those Connection names, and our own do not', () => {
    const kept = ['Set-Cookie', 'a=1', 'set-cookie', 'b=2', 'Content-Length', '5', 'X-Empty', '', 'Date', 'x'];
    const hop = ['Connection', 'close, X-Hop, content-length', 'X-Hop', '1', 'Keep-Alive', 'timeout=5', 'Transfer-Encoding', 'chunked', 'Trailer', 'Expires'];
    expect(responseHeaders([...hop, ...kept, 'Upgrade', 'h2c', 'Sluice-Fence', '7', 'Proxy-Authenticate', 'Basic'])).toEqual(kept);
  });

  test('one that breaks out of its line is not passed on', () => expect(responseHeaders(['X', 'a\nb'])).toBeUndefined());

  test('says how long it was queued, and how often sent', () => {
    expect(addResponseHeaders([], 12.3456, 1, undefined)).toEqual(['Via', '1.1 sluice', 'Server-Timing', 'queue;dur=12.346']);
    expect(addResponseHeaders([], undefined, 2, { permit: { shadow: { limit: 'rpm' } }, degraded: 'share' })).toEqual([
      'Via',
      '1.1 sluice',
      'Sluice-Attempts',
      '2',
      'Sluice-Shadow',
      'rpm',
      'Sluice-Degraded',
      'share',
    ]);
  });
});
