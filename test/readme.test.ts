import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../src/config/load.ts';

/* The README's commands name scripts, paths and calls that exist. */

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(`${root}README.md`, 'utf8');
const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text]) => (text ?? '').replaceAll('\\\n', ' '));
const commands = blocks.flatMap((block) => block.split('\n')).filter((line) => line.trim() !== '');
const proto = readFileSync(`${root}proto/sluice/v1/admission.proto`, 'utf8');
const scripts = (JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { scripts: Record<string, string> }).scripts;

/** Plain HTTP as docs/semantics.md lists it. */
const PATHS = [
  /^POST \/v1\/groups\/[a-z]+\/acquire$/,
  /^POST \/v1\/permits\/\$PERMIT\/(renew|release)$/,
  /^GET \/v1\/groups\/[a-z]+\/explain$/,
  /^POST \/sluice\.v1\.AdmissionService\/(Acquire|Renew|Release)$/,
];

describe('the README', () => {
  test('has commands', () => expect(commands.length).toBeGreaterThan(5));

  test.each(commands.filter((line) => line.startsWith('npm ')))('%s', (line) => {
    const [, name = '', script] = line.split(/\s+/);
    const asked = name === 'run' ? (script ?? '') : name;
    expect(asked === 'ci' || asked in scripts).toBe(true);
  });

  test.each(commands.filter((line) => line.startsWith('SLUICE_CLUSTER=')))('%s', (line) => {
    const [, cluster = '', flags = ''] = /^SLUICE_CLUSTER='([^']+)' npm start(?: --(.*))?$/.exec(line) ?? [];
    const read = [...flags.matchAll(/--([\w.]+)=(\S+)/g)].map(([, name = '', value = '']) => ({ name, value }));
    const loaded = loadConfig({ text: readFileSync(`${root}sluice.yaml`, 'utf8'), name: 'sluice.yaml', env: { SLUICE_CLUSTER: cluster }, flags: read });
    expect(loaded).toMatchObject({ kind: 'config', config: { cluster: { nats: ['nats://127.0.0.1:4222'] } } });
  });

  test.each(commands.filter((line) => line.includes('curl ') && !line.includes('grpcurl')))('%s', (line) => {
    const url = new URL(/http:\/\/[^\s'"]+/.exec(line)?.[0].replace('$port', '8080') ?? '');
    const method = /-X (\w+)/.exec(line)?.[1] ?? 'GET';
    expect(url.host).toBe('127.0.0.1:8080');
    expect(PATHS.some((path) => path.test(`${method} ${url.pathname}`))).toBe(true);
    expect([...url.searchParams.keys()].filter((name) => !/^(ttl|lease|key|priority|cost(\.\w+)?)$/.test(name))).toEqual([]);
  });

  test.each(commands.filter((line) => line.includes('grpcurl')))('%s', (line) => {
    const [, service, method] = /sluice\.v1\.(\w+)\/(\w+)/.exec(line) ?? [];
    expect(proto).toContain(`service ${service} {`);
    expect(proto).toContain(`rpc ${method}(`);
  });

  test.each(commands.filter((line) => line.includes("-d '{")))('its body is JSON: %s', (line) => {
    expect(() => JSON.parse(/-d '([^']+)'/.exec(line)?.[1] ?? '')).not.toThrow();
  });
});
