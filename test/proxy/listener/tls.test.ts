import { readFileSync } from 'node:fs';
import { createServer as createTlsServer, request } from 'node:https';
import { afterEach, expect, test } from 'vitest';
import { certificate } from '../../support/fakes/certificate.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* TLS on both sides of the proxy. */

const { certFile: cert, keyFile: key } = certificate;

let rig: ProxyRig;
afterEach(() => rig?.stop());

test('a backend with a certificate of an authority of its own is believed by that, and by no other', async () => {
  const secure = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_request, response) => response.end('over tls'));
  await new Promise<void>((resolve) => secure.listen(0, 'localhost', resolve));
  const { port } = secure.address() as { port: number };
  rig = await proxyRig(`allowEmpty: true
backends: { known: { urls: [ "https://localhost:${port}" ], ca: ${cert} }, unknown: { urls: [ "https://localhost:${port}" ] } }
routes: [ { match: { path: /known }, backend: known }, { match: { path: /unknown }, backend: unknown } ]
`);
  expect(await rig.ask({ path: '/known' })).toMatchObject({ status: 200, body: 'over tls' });
  expect(await rig.ask({ path: '/unknown' })).toMatchObject({ status: 503, headers: { 'sluice-reason': 'backend_unreachable' } });
  secure.closeAllConnections();
  await new Promise((resolve) => secure.close(resolve));
});

test('a listener with TLS tells its backend so', async () => {
  rig = await proxyRig(
    'allowEmpty: true\nbackends: { shop: { urls: [ BACKEND ] } }\nroutes: [ { backend: shop } ]\n',
    undefined,
    `{ address: "127.0.0.1:0", tls: { cert: ${cert}, key: ${key} } }`,
  );
  const status = await new Promise<number>((resolve, reject) => {
    request({ host: '127.0.0.1', port: rig.port, path: '/x', servername: 'localhost', ca: readFileSync(cert), agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
  expect(status).toBe(200);
  expect(rig.backend.seen[0]?.head).toContain('X-Forwarded-Proto: https');
});
