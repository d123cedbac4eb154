import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { formatError } from '../src/config/errors.ts';
import { type Config, loadConfig } from '../src/config/load.ts';
import { SECOND } from '../src/core/time.ts';
import { MANIFESTS, render } from '../tools/gen-manifests.ts';

/* The files of deploy/ fit each other, the image and what the server reads. Whether pods start is not tried here. */

const root = fileURLToPath(new URL('..', import.meta.url));
const text = (file: string) => readFileSync(`${root}deploy/${file}`, 'utf8');

interface Port {
  readonly name: string;
  readonly port?: number;
  readonly targetPort?: string;
  readonly containerPort?: number;
}
interface Container {
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports: readonly Port[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}
interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}
interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec: {
    readonly ports?: readonly Port[];
    readonly replicas: number;
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly [Container];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

/** The manifest of this name, and what of it is asked about. */
function manifest(name: string) {
  const resources = parseAllDocuments(text(`kubernetes/${name}`)).map((document) => document.toJS() as Resource);
  const one = (kind: string): Resource => resources.find((each) => each.kind === kind) as Resource;
  const set = one('StatefulSet').spec;
  return { resources, one, set, container: set.template.spec.containers[0] };
}

function config(name: string): Config {
  const { one } = manifest(name);
  const env = { SLUICE_CLUSTER_NAME: 'sluice-0', NATS_PASSWORD: 'secret' };
  const loaded = loadConfig({ text: one('ConfigMap').data?.['sluice.yaml'] ?? '', name: 'sluice.yaml', env: name === 'replicas.yaml' ? env : {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

describe.each(Object.keys(MANIFESTS))('deploy/kubernetes/%s', (name) => {
  test('its configuration is a good one, and listens where the pod and its services say', () => {
    const { resources, container } = manifest(name);
    const { listen } = config(name);
    const ports = Object.fromEntries(container.ports.map(({ name: of, containerPort }) => [of, containerPort]));
    expect([listen.api.address, listen.grpc.address, listen.health.address]).toEqual(
      [ports['api'], ports['grpc'], ports['health']].map((port) => expect.objectContaining({ port }) as unknown),
    );
    const asked = resources.filter(({ kind }) => kind === 'Service').flatMap(({ spec }) => spec.ports ?? []);
    expect(asked.length).toBe(3);
    for (const { targetPort } of asked) expect(container.ports.map((port) => port.name)).toContain(targetPort);
  });

  test('the probes ask the health listener', () => {
    const { container } = manifest(name);
    expect([container.startupProbe, container.livenessProbe, container.readinessProbe].map(({ httpGet }) => httpGet)).toEqual([
      { path: '/livez', port: 'health' },
      { path: '/livez', port: 'health' },
      { path: '/readyz', port: 'health' },
    ]);
  });

  test('who is told to stop has time to give everything away', () => {
    const { delay, grace } = config(name).drain;
    expect(manifest(name).set.template.spec.terminationGracePeriodSeconds).toBeGreaterThan((delay + grace) / SECOND + 10);
  });

  test('every volume that is mounted is there', () => {
    const { set, container } = manifest(name);
    const there = [...set.template.spec.volumes, ...(set.volumeClaimTemplates ?? []).map(({ metadata }) => metadata)].map((volume) => volume.name);
    expect(container.volumeMounts.map((mount) => mount.name).toSorted()).toEqual(there.toSorted());
  });

  test('is what the chart makes', ({ skip }) => {
    const rendered = render(MANIFESTS[name] ?? []);
    if (rendered === undefined) return skip('helm is not installed (go install helm.sh/helm/v3/cmd/helm@latest)');
    expect(text(`kubernetes/${name}`)).toBe(rendered);
  });

  test('is what Kubernetes takes', ({ skip }) => {
    const { error, status, stdout, stderr } = spawnSync('kubernetes-validate', ['--strict', '--quiet', `${root}deploy/kubernetes/${name}`], {
      encoding: 'utf8',
    });
    if (error !== undefined) return skip('kubernetes-validate is not installed (pip install kubernetes-validate)');
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  });
});

test('a node keeps its store on a volume; replicas keep nothing, name themselves by their pods and share NATS', () => {
  const [single, many] = [manifest('single-node.yaml'), manifest('replicas.yaml')];
  expect(single.set.volumeClaimTemplates?.map(({ metadata }) => metadata.name)).toEqual(['data']);
  expect([config('single-node.yaml').store.path, single.set.replicas]).toEqual(['/var/lib/sluice', 1]);
  expect([many.set.volumeClaimTemplates, many.set.replicas]).toEqual([undefined, 3]);
  expect(many.container.env?.map((each) => each.name)).toEqual(['SLUICE_CLUSTER_NAME', 'NATS_PASSWORD']);
  expect(config('replicas.yaml').cluster).toMatchObject({ name: 'sluice-0', nats: ['nats://nats:4222'] });
  expect(many.resources.map(({ kind }) => kind)).toContain('PodDisruptionBudget');
  expect(single.resources.map(({ kind }) => kind)).not.toContain('PodDisruptionBudget');
});

describe('the chart', () => {
  test.each([
    [['replicas=3'], 'replicas above 1 share their limits over NATS: set nats.urls'],
    [['replicas=0'], 'replicas'],
    [['replica=2'], 'replica'],
    [['nats.urls={http://nats}'], 'nats'],
  ])('refuses values that make nothing that runs: %j', (values, why) => {
    const rendered = () => render(values);
    const isThere = spawnSync('helm', ['version']).error === undefined;
    if (isThere) expect(rendered).toThrow(why);
    else expect(rendered()).toBeUndefined();
  });

  test('has the version of the package', () => {
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };
    expect(text('helm/sluice/Chart.yaml')).toContain(`\nversion: ${version}\nappVersion: ${version}\n`);
  });
});

describe('deploy/systemd/sluice.service', () => {
  test('stops later than a drain ends, and starts the command with a file', () => {
    const unit = text('systemd/sluice.service');
    const loaded = loadConfig({ text: 'groups: { g: {} }', name: 'sluice.yaml', env: {}, flags: [] });
    if (loaded.kind !== 'config') throw new Error('the defaults are no configuration');
    const { delay, grace } = loaded.config.drain;
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan((delay + grace) / SECOND + 10);
    expect(unit).toMatch(/^ExecStart=\/usr\/local\/bin\/sluice serve --config \/etc\/sluice\/sluice.yaml --store.path=\/var\/lib\/sluice$/m);
  });

  test('is what systemd takes', ({ skip }) => {
    const { error, stderr } = spawnSync('systemd-analyze', ['verify', `${root}deploy/systemd/sluice.service`], { encoding: 'utf8' });
    if (error !== undefined) return skip('systemd-analyze is not installed');
    // The program is not installed here: that alone may be said.
    expect(stderr.split('\n').filter((line) => line.startsWith('sluice.service:') && !line.includes('is not executable'))).toEqual([]);
  });
});
