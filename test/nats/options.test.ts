import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { natsOptionsOf } from '../../src/server/nats.ts';

test('the options of a file become those of NATS', () => {
  const text = 'cluster: { nats: [ "tls://a", b:4223 ], tls: { ca: ca.pem }, ledgerBytes: 1GiB, dialWithin: 1s }\ngroups: { a: {} }\n';
  const loaded = loadConfig({ text, name: 'sluice.yaml', env: {}, flags: [] });
  expect(loaded.kind === 'config' && loaded.config.cluster && natsOptionsOf(loaded.config.cluster, { kind: 'none' }, 'host:8080')).toEqual({
    servers: ['tls://a', 'b:4223'],
    login: { kind: 'none' },
    tls: { ca: 'ca.pem', first: false },
    prefix: 'sluice',
    name: 'sluice host:8080',
    replicas: 'auto',
    ledgerBytes: 2 ** 30,
    startWithin: 30_000_000,
    dialWithin: 1_000_000,
    answerWithin: 250_000,
  });
});
