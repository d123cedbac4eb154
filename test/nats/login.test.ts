import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { HOUR, SECOND } from '../../src/core/time.ts';
import type { ConnectionEvent, NatsOptions } from '../../src/nats/options.ts';
import { NatsUnsupported } from '../../src/nats/options.ts';
import { openNats } from '../../src/server/nats.ts';
import { certificate } from '../support/fakes/certificate.ts';
import { folder } from '../support/fakes/folder.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { natsAccounts } from '../support/fakes/nats-accounts.ts';
import { natsOptions } from '../support/fakes/nats-options.ts';
import { startNats } from '../support/fakes/nats-server.ts';
import { freePort } from '../support/fakes/ports.ts';

showLogsOfFailures();

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function server(config: string) {
  const started = await startNats({ binary: natsBinary(), config });
  ends.push(() => started.clean());
  return started;
}

/** Opens, and shows that a register works; or why not. */
async function opened(servers: readonly string[], more: Partial<NatsOptions>): Promise<unknown> {
  const told: ConnectionEvent[] = [];
  try {
    const link = await openNats(natsOptions(servers, more), (change) => told.push(change));
    ends.push(() => link.close());
    const revision = await link.registers.change('r', new Uint8Array(1), 0);
    return revision > 0 ? 'works' : 'does not';
  } catch (cause) {
    expect(cause).toBeInstanceOf(NatsUnsupported);
    for (const said of [(cause as Error).message, JSON.stringify(told)]) expect(said).not.toContain('hunter2');
    return (cause as Error).message;
  }
}

describe('a login', () => {
  test('by name is taken, and refused at once with another password, which nobody is told', async () => {
    const { url } = await server('authorization { user: me, password: hunter2 }');
    expect(await opened([url], { login: { kind: 'user', user: 'me', password: 'hunter2' } })).toBe('works');
    const refusal = 'NATS refuses the login; correct cluster.credentials, cluster.user or cluster.token.';
    expect(await opened([url], { login: { kind: 'user', user: 'me', password: 'hunter22' }, startWithin: HOUR })).toBe(refusal);
    expect(await opened([url], { startWithin: HOUR })).toBe(refusal);
  });

  test('by token is taken', async () => {
    const { url } = await server('authorization { token: hunter2 }');
    expect(await opened([url], { login: { kind: 'token', token: 'hunter2' } })).toBe('works');
  });

  test('by credentials is taken; a file that holds none is refused without being quoted', async () => {
    const { config, credentials } = natsAccounts();
    const { url } = await server(config);
    const { path, end } = await folder();
    ends.push(end);
    const [good, bad] = [join(path, 'good.creds'), join(path, 'bad.creds')];
    writeFileSync(good, credentials);
    writeFileSync(bad, 'hunter2');
    expect(await opened([url], { login: { kind: 'credentials', file: good } })).toBe('works');
    for (const file of [bad, join(path, 'none')])
      expect(await opened([url], { login: { kind: 'credentials', file } })).toBe(
        `${file} is not there, or is no NATS credentials file; correct cluster.credentials.`,
      );
  });
});

describe('encryption', () => {
  const tls = { ca: certificate.certFile, cert: undefined, key: undefined, first: false } as const;
  const config = `tls { cert_file: "${certificate.certFile}", key_file: "${certificate.keyFile}" }`;
  const secure = (url: string): string => url.replace('nats://127.0.0.1', 'tls://localhost');

  test('is checked against the authorities that are named', async () => {
    const { url } = await server(config);
    expect(await opened([secure(url)], { tls })).toBe('works');
    expect(await opened([secure(url)], { startWithin: SECOND })).toMatch(/cannot be reached: .*self-signed certificate.*cluster.tls/);
  });

  test('before the first word works with servers that want it so', async () => {
    const { url } = await server(config.replace('}', ', handshake_first: true }'));
    expect(await opened([secure(url)], { tls: { ...tls, first: true } })).toBe('works');
  });

  test('that is asked for is never gone without', async () => {
    const { url } = await server('');
    expect(await opened([url], { tls, startWithin: SECOND })).toMatch(/cannot be reached: server does not support 'tls'/);
    expect(await opened([url.replace('nats:', 'tls:')], { startWithin: SECOND })).toMatch(/server does not support 'tls'/);
  });
});

describe('the start', () => {
  test('waits for NATS, says so, and gives up in time with what to do', async () => {
    const url = `nats://127.0.0.1:${await freePort()}`;
    const told: ConnectionEvent[] = [];
    const why = `NATS at ${url} cannot be reached: connect ECONNREFUSED ${url.slice(7)}`;
    await expect(openNats(natsOptions([url], { startWithin: SECOND }), (change) => told.push(change))).rejects.toThrow(
      `${why}; start it, correct cluster.nats or cluster.tls, or raise cluster.startWithin.`,
    );
    expect(told.length).toBeGreaterThan(0);
    expect(told).toEqual(told.map(() => ({ kind: 'waiting', why })));
  });

  test('says that JetStream is off', async () => {
    const { url } = await server('accounts { A { users: [ { user: a, password: hunter2 } ] } }');
    expect(await opened([url], { login: { kind: 'user', user: 'a', password: 'hunter2' }, startWithin: SECOND })).toBe(
      'the stream SLUICE1_REG cannot be had: JetStream not enabled for account; enable JetStream for the account.',
    );
  });

  test('goes by the servers that are there', async () => {
    const { url } = await server('');
    expect(await opened([`nats://127.0.0.1:${await freePort()}`, url], {})).toBe('works');
  });

  test('refuses a server that takes no record of the ledger in one message', async () => {
    const { url } = await server('max_payload: 65536');
    expect(await opened([url], {})).toBe('NATS server n1 takes messages of 65536 bytes only; set its max_payload to 1MB or more.');
  });
});
