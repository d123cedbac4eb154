import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/*
 * `node tools/gen-manifests.ts`: renders deploy/kubernetes/*.yaml from the chart, for those who use no Helm; needs helm on the PATH.
 */

const root = fileURLToPath(new URL('..', import.meta.url));

/** The manifests that are kept in the repository, and the values that make them. */
export const MANIFESTS: Readonly<Record<string, readonly string[]>> = {
  'single-node.yaml': [],
  'replicas.yaml': ['replicas=3', 'nats.urls={nats://nats:4222}', 'nats.passwordSecret.name=sluice-nats'],
};

/** The oldest that the chart is for: what it takes, later ones take, too. */
const KUBERNETES = '1.27.0';

/** Renders one manifest. Returns undefined where helm is not installed; throws what it says when it fails. */
export function render(values: readonly string[]): string | undefined {
  const args = [
    'template',
    'sluice',
    `${root}deploy/helm/sluice`,
    '--namespace',
    'sluice',
    '--kube-version',
    KUBERNETES,
    ...values.flatMap((value) => ['--set', value]),
  ];
  const { error, status, stdout, stderr } = spawnSync('helm', args, { encoding: 'utf8' });
  if (error !== undefined) return undefined;
  if (status !== 0) throw new Error(stderr);
  const how = [`helm template sluice deploy/helm/sluice --namespace sluice --kube-version ${KUBERNETES}`, ...values.map((value) => `--set '${value}'`)].join(
    ' ',
  );
  return `# Made by \`${how}\`; node tools/gen-manifests.ts makes it anew.\n${stdout}`;
}

if (import.meta.main) {
  for (const [name, values] of Object.entries(MANIFESTS)) {
    const text = render(values);
    if (text === undefined) throw new Error('helm is not installed: go install helm.sh/helm/v3/cmd/helm@latest');
    writeFileSync(`${root}deploy/kubernetes/${name}`, text);
  }
}
