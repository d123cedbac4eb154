import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { formatError } from '../src/config/errors.ts';
import { type Config, loadConfig } from '../src/config/load.ts';
import { SECOND } from '../src/core/time.ts';
import { natsVersions } from './support/fakes/nats.ts';

/* The files of examples/compose fit each other and what reads them. Whether containers start is not tried here. */

interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly networks: readonly string[];
  readonly stop_grace_period: string;
  readonly healthcheck?: object;
}

const folder = fileURLToPath(new URL('../examples/compose/', import.meta.url));
const text = (file: string) => readFileSync(folder + file, 'utf8');
const compose = parse(text('compose.yaml'), { merge: true }) as { readonly services: Record<string, Service>; readonly volumes: object };
const of = (kind: string) => Object.entries(compose.services).filter(([name]) => name.startsWith(kind));
const nodes = of('nats-');
const replicas = of('sluice-');
const balancer = text('haproxy.cfg');
const seconds = (period: string) => Number(/^(\d+)s$/.exec(period)?.[1]);

function config({ environment = {} }: Service): Config {
  const loaded = loadConfig({ text: text('sluice.yaml'), name: 'sluice.yaml', env: environment, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

const configs = replicas.map(([, service]) => config(service));

describe('compose.yaml', () => {
  test('three servers, three replicas and a balancer, each of a version that is pinned', () => {
    expect([nodes.length, replicas.length, Object.keys(compose.services).length]).toEqual([3, 3, 7]);
    for (const { image } of Object.values(compose.services)) expect(image).toMatch(/:\d+\.\d+\.\d+(-alpine)?$/);
  });

  test('every file that is mounted is there, and each server of NATS keeps its own volume', () => {
    const mounted = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes);
    for (const [file = ''] of mounted.map((each) => each.split(':'))) if (file.startsWith('./')) expect(existsSync(join(folder, file))).toBe(true);
    const kept = nodes.map(([name, { volumes = [] }]) => volumes.filter((each) => each === `${name}:/data`).length);
    expect(kept).toEqual([1, 1, 1]);
    expect(Object.keys(compose.volumes)).toEqual(nodes.map(([name]) => name));
  });

  test('who is told to stop has time to give everything away', () => {
    for (const [index, [, { stop_grace_period: period }]] of replicas.entries()) {
      const { delay, grace } = (configs[index] as Config).drain;
      expect(seconds(period)).toBeGreaterThan((delay + grace) / SECOND + 10);
    }
    const [, lameDuck] = /lame_duck_duration: "(\d+)s"/.exec(text('nats.conf')) ?? [];
    for (const [, { stop_grace_period: period }] of nodes) expect(seconds(period)).toBeGreaterThan(Number(lameDuck));
    expect(seconds(compose.services['balancer']?.stop_grace_period ?? '')).toBeGreaterThan(Number(/hard-stop-after (\d+)s/.exec(balancer)?.[1]));
  });

  test('only replicas reach NATS, and callers come from this machine only', () => {
    for (const [, { networks, ports }] of nodes) expect({ networks, ports }).toEqual({ networks: ['nats'], ports: undefined });
    expect(compose.services['balancer']?.networks).not.toContain('nats');
    for (const port of Object.values(compose.services).flatMap(({ ports = [] }) => ports)) expect(port).toMatch(/^127\.0\.0\.1:/);
  });
});

describe('sluice.yaml', () => {
  test('is a good one for each replica, under a name of its own', () => {
    expect(configs.map(({ cluster }) => cluster?.name)).toEqual(replicas.map(([name]) => name));
    expect(text('sluice.yaml')).toMatch(/^# yaml-language-server: \$schema=\.\.\/\.\.\/docs\/sluice\.schema\.json\n/);
  });

  test('names every server of NATS, its login, and less room than each of them has', () => {
    const nats = text('nats.conf');
    for (const { cluster } of configs) {
      expect(cluster?.nats).toEqual(nodes.map(([name]) => `nats://${name}:4222`));
      expect([cluster?.user, cluster?.password]).toEqual([/user: (\w+)/.exec(nats)?.[1], { from: 'env', env: 'NATS_PASSWORD' }]);
      expect(cluster?.ledgerBytes).toBeLessThan(Number(/max_file_store: (\d+)GB/.exec(nats)?.[1]) * 2 ** 30 - 129 * 2 ** 20);
    }
  });
});

describe('nats.conf', () => {
  test.each(natsVersions())('is understood by nats-server $version', ({ binary }) => {
    for (const [, { environment = {} }] of nodes) {
      const { status, stdout, stderr } = spawnSync(binary(), ['-t', '-c', 'nats.conf'], {
        cwd: folder,
        env: { ...environment, NATS_PASSWORD: 'secret' },
        encoding: 'utf8',
      });
      expect({ status, said: stdout + stderr }).toEqual({ status: 0, said: expect.stringContaining('is valid') as string });
    }
  });

  test('has a route to each server, and acknowledges what is on the disk', () => {
    const nats = text('nats.conf');
    expect([...nats.matchAll(/nats:\/\/([\w-]+):6222/g)].map(([, name]) => name)).toEqual(nodes.map(([name]) => name));
    expect(nats).toMatch(/^ {2}sync_interval: always/m);
  });
});

describe('haproxy.cfg', () => {
  const program = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'].map((each) => join(each, 'haproxy')).find(existsSync);

  test('is understood by haproxy', ({ skip }) => {
    if (program === undefined) return skip('haproxy is not installed (apt-get install haproxy)');
    const empty = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'));
    try {
      const { status, stdout, stderr } = spawnSync(program, ['-c', '-f', join(folder, 'haproxy.cfg')], { cwd: empty, encoding: 'utf8' });
      const said = `${stdout}${stderr}`.split('\n').filter((line) => /\[(WARNING|ALERT)\]/.test(line) && !line.includes('could not resolve address'));
      expect({ status, said }).toEqual({ status: 0, said: [] });
    } finally {
      rmSync(empty, { recursive: true });
    }
  });

  test('has every replica for HTTP and gRPC, asks where it is ready, and waits longer than any caller', () => {
    const servers = [...balancer.matchAll(/^ {2}server ([\w-]+) ([\w-]+):(\d+)( proto h2 track api\/\2)?$/gm)].map(([, name, host, port, h2]) => [
      name,
      host,
      port,
      h2,
    ]);
    const expected = (port: number, h2?: string) => replicas.map(([name]) => [name, name, String(port), h2 && `${h2} track api/${name}`]);
    const { api, grpc, health } = (configs[0] as Config).listen;
    const at = (listener: typeof api) => (listener.address === 'none' ? 0 : listener.address.port);
    expect(servers).toEqual([...expected(at(api)), ...expected(at(grpc), ' proto h2')]);
    expect(balancer).toContain(`check port ${at(health)} `);
    const longest = Math.max(...(configs[0] as Config).groups.map(({ wait }) => wait.max)) / SECOND;
    for (const side of ['client', 'server']) expect(Number(new RegExp(`^ {2}timeout ${side} (\\d+)m$`, 'm').exec(balancer)?.[1]) * 60).toBeGreaterThan(longest);
  });

  test('takes a replica out before it stops serving new callers', () => {
    const [, inter, fall] = /inter (\d+)s fall (\d+)/.exec(balancer) ?? [];
    for (const { drain } of configs) expect(Number(inter) * Number(fall)).toBeLessThan(drain.delay / SECOND);
  });
});
