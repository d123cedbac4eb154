import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

/*
 * A rule that was never seen to fail proves nothing: every line the linter is to hold is broken here once, in a tree of its own, and
 * must be caught there; what is allowed must pass.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const take = (from: string) => `import { thing } from '${from}';\nthing();\n`;
const body = (lines: number) => `export function long(): number {\n  let sum = 0;\n${'  sum += 1;\n'.repeat(lines - 2)}  return sum;\n}\n`;

type Case = readonly [file: string, text: string, rule: string | undefined];

const imports: readonly Case[] = [
  ['src/core/up.ts', take('../admission/admission.ts'), 'noRestrictedImports'],
  ['src/core/limits/up.ts', take('../../ledger/ledger.ts'), 'noRestrictedImports'],
  ['src/core/tree/group-node.ts', take('node:fs'), 'noRestrictedImports'],
  ['src/core/package.ts', take('yaml'), 'noRestrictedImports'],
  ['src/core/limits/sibling.ts', take('../time.ts'), undefined],
  ['src/ledger/side.ts', take('../coordination/coordinator.ts'), 'noRestrictedImports'],
  ['src/ledger/up.ts', take('../admission/admission.ts'), 'noRestrictedImports'],
  ['src/ledger/down.ts', take('../core/time.ts'), undefined],
  ['src/coordination/side.ts', take('../ledger/ledger.ts'), 'noRestrictedImports'],
  ['src/coordination/up.ts', take('../admission/admission.ts'), 'noRestrictedImports'],
  ['src/admission/up.ts', take('../proxy/forwarding-service.ts'), 'noRestrictedImports'],
  ['src/admission/front.ts', take('../api/validation.ts'), 'noRestrictedImports'],
  ['src/admission/technology.ts', take('../ledger/stores/lmdb.ts'), 'noRestrictedImports'],
  ['src/admission/options.ts', take('../config/schema.ts'), 'noRestrictedImports'],
  ['src/admission/numbers.ts', take('../telemetry/metrics.ts'), 'noRestrictedImports'],
  ['src/admission/down.ts', take('../ledger/ledger.ts'), undefined],
  ['src/relay/up.ts', take('../proxy/forwarding-service.ts'), 'noRestrictedImports'],
  ['src/relay/records.ts', take('../ledger/ledger.ts'), 'noRestrictedImports'],
  ['src/relay/messages.ts', take('../nats/messages.ts'), 'noRestrictedImports'],
  ['src/relay/down.ts', take('../admission/local-admission.ts'), undefined],
  ['src/admission/relay.ts', take('../relay/relay.ts'), 'noRestrictedImports'],
  ['src/coordination/relay.ts', take('../relay/relay.ts'), 'noRestrictedImports'],
  ['src/api/relay.ts', take('../relay/relay.ts'), 'noRestrictedImports'],
  ['src/proxy/up.ts', take('../deferred/deferred.ts'), 'noRestrictedImports'],
  ['src/deferred/up.ts', take('../api/validation.ts'), 'noRestrictedImports'],
  ['src/deferred/disk.ts', take('../storage/lmdb.ts'), 'noRestrictedImports'],
  ['src/deferred/stores/disk.ts', take('../../storage/lmdb.ts'), undefined],
  ['src/deferred/stores/up.ts', take('../../api/validation.ts'), 'noRestrictedImports'],
  ['src/deferred/down.ts', take('../proxy/forwarding-service.ts'), undefined],
  ['src/gateway-queue/up.ts', take('../api/validation.ts'), 'noRestrictedImports'],
  ['src/gateway-queue/side.ts', take('../deferred/deferred.ts'), 'noRestrictedImports'],
  ['src/gateway-queue/options.ts', take('../config/schema.ts'), 'noRestrictedImports'],
  ['src/gateway-queue/down.ts', take('../admission/admission.ts'), undefined],
  ['src/admission/gateway-queue.ts', take('../gateway-queue/gateway-queue.ts'), 'noRestrictedImports'],
  ['src/api/up.ts', take('../server/serve.ts'), 'noRestrictedImports'],
  ['src/api/technology.ts', take('../http/node/engine.ts'), 'noRestrictedImports'],
  ['src/api/down.ts', take('../admission/admission.ts'), undefined],
  ['src/config/up.ts', take('../server/serve.ts'), 'noRestrictedImports'],
  ['src/telemetry/up.ts', take('../api/validation.ts'), 'noRestrictedImports'],
  ['src/telemetry/side.ts', take('../proxy/route.ts'), 'noRestrictedImports'],
  ['src/telemetry/contract.ts', take('../proxy/forwarding.ts'), undefined],
  ['src/client/server.ts', take('../core/time.ts'), 'noRestrictedImports'],
  ['src/storage/up.ts', take('../ledger/ledger.ts'), 'noRestrictedImports'],
  ['src/ledger/stores/disk.ts', take('../../storage/lmdb.ts'), undefined],
  ['src/admission/disk.ts', take('../storage/lmdb.ts'), 'noRestrictedImports'],
  ['src/nats/up.ts', take('../coordination/coordinator.ts'), 'noRestrictedImports'],
  ['src/nats/side.ts', take('../storage/lmdb.ts'), 'noRestrictedImports'],
  ['src/nats/down.ts', take('../core/time.ts'), undefined],
  ['src/storage/side.ts', take('../nats/line.ts'), 'noRestrictedImports'],
  ['src/ledger/stores/nats.ts', take('../../nats/line.ts'), undefined],
  ['src/coordination/registers/nats.ts', take('../../nats/line.ts'), undefined],
  ['src/core/nats.ts', take('../nats/line.ts'), 'noRestrictedImports'],
  ['src/admission/nats.ts', take('../nats/line.ts'), 'noRestrictedImports'],
  ['src/api/nats.ts', take('../nats/line.ts'), 'noRestrictedImports'],
  ['src/config/nats.ts', take('../nats/line.ts'), 'noRestrictedImports'],
  ['src/importers/up.ts', take('../cli/import.ts'), 'noRestrictedImports'],
  ['src/importers/lunar/server.ts', take('../../proxy/forwarding-service.ts'), 'noRestrictedImports'],
  ['src/importers/down.ts', take('../config/yaml.ts'), undefined],
  ['src/simulate/up.ts', take('../cli/simulate.ts'), 'noRestrictedImports'],
  ['src/simulate/side.ts', take('../importers/reque.ts'), 'noRestrictedImports'],
  ['src/simulate/down.ts', take('../admission/units.ts'), undefined],
  ['src/config/simulate.ts', take('../simulate/trace.ts'), 'noRestrictedImports'],
  ['src/config/importers.ts', take('../importers/reque.ts'), 'noRestrictedImports'],
  ['src/cli/up.ts', take('../main.ts'), 'noRestrictedImports'],
  ['src/cli/down.ts', take('../server/serve.ts'), undefined],
  ['src/server/serve.ts', take('./main.ts'), 'noRestrictedImports'],
];

const habits: readonly Case[] = [
  ['src/core/clock.ts', 'export const at = new Date();\n', 'noRestrictedGlobals'],
  ['src/core/later.ts', 'export const soon = Promise.resolve(1);\n', 'noRestrictedGlobals'],
  ['src/core/timer.ts', 'setTimeout(() => {}, 1);\n', 'noRestrictedGlobals'],
  ['src/admission/process.ts', 'export const pid = process.pid;\n', 'noRestrictedGlobals'],
  ['src/admission/environment.ts', 'export const home = process.env.HOME;\n', 'noProcessEnv'],
  ['src/admission/console.ts', 'console.log(1);\n', 'noConsole'],
  ['src/admission/default.ts', 'export default 1;\n', 'noDefaultExport'],
  ['src/admission/enum.ts', 'export enum Colour {\n  Red,\n}\n', 'noEnum'],
  ['src/admission/barrel.ts', "export * from './enum.ts';\nexport * from './default.ts';\n", 'noBarrelFile'],
  ['src/admission/floating.ts', 'async function go(): Promise<number> {\n  return 1;\n}\nexport function start(): void {\n  go();\n}\n', 'noFloatingPromises'],
  // Beside a store a promise may not be thrown away by `void` either: one that rejects ends the process.
  ...['storage', 'ledger', 'ledger/stores', 'coordination/registers'].map(
    (folder): Case => [`src/${folder}/thrown-away.ts`, 'export function start(work: () => Promise<void>): void {\n  void work();\n}\n', 'noVoid'],
  ),
  [
    'src/admission/switch.ts',
    "type Kind = 'a' | 'b';\nexport function name(kind: Kind): string {\n  switch (kind) {\n    case 'a':\n      return 'A';\n  }\n  return '';\n}\n",
    'useExhaustiveSwitchCases',
  ],
  ['src/admission/cycle-a.ts', "import type { B } from './cycle-b.ts';\nexport interface A {\n  b: B;\n}\n", 'noImportCycles'],
  ['src/admission/cycle-b.ts', "import type { A } from './cycle-a.ts';\nexport interface B {\n  a: A;\n}\n", 'noImportCycles'],
  // In core/tree alone types may form cycles (docs/decisions/0005), values never.
  ['src/core/tree/type-a.ts', "import type { B } from './type-b.ts';\nexport interface A {\n  b: B;\n}\n", undefined],
  ['src/core/tree/type-b.ts', "import type { A } from './type-a.ts';\nexport interface B {\n  a: A;\n}\n", undefined],
  ['src/core/leases/type-a.ts', "import type { B } from './type-b.ts';\nexport interface A {\n  b: B;\n}\n", 'noImportCycles'],
  ['src/core/leases/type-b.ts', "import type { A } from './type-a.ts';\nexport interface B {\n  a: A;\n}\n", 'noImportCycles'],
  ['src/core/tree/value-a.ts', "import { b } from './value-b.ts';\nexport const a = () => b;\n", 'noImportCycles'],
  ['src/core/tree/value-b.ts', "import { a } from './value-a.ts';\nexport const b = () => a;\n", 'noImportCycles'],
  ['src/admission/extension.ts', take('./cycle-a'), 'useImportExtensions'],
  ['src/admission/long-60.ts', body(60), undefined],
  ['src/admission/long-61.ts', body(61), 'noExcessiveLinesPerFunction'],
  ['src/admission/file-601.ts', `${'export {};\n'.repeat(601)}`, 'noExcessiveLinesPerFile'],
  ['src/main.ts', 'export const pid = process.env.HOME;\n', undefined],
];

let tree = '';
const found = new Map<string, Set<string>>();

/** Rules reported as errors, by file. */
function lint(): void {
  tree = mkdtempSync(join(tmpdir(), 'sluice-layers-'));
  for (const name of ['biome.json', '.gitignore']) copyFileSync(join(root, name), join(tree, name));
  for (const [file, text] of [...imports, ...habits]) {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), text);
  }
  const args = [join(root, 'node_modules/@biomejs/biome/bin/biome'), 'lint', '--reporter=json', '--max-diagnostics=none'];
  let out = '';
  try {
    out = execFileSync(process.execPath, args, { cwd: tree, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch (error) {
    out = (error as { stdout: string }).stdout;
  }
  const report = JSON.parse(out) as { diagnostics: { category: string; severity: string; location: { path: string | { file: string } } }[] };
  for (const { category, severity, location } of report.diagnostics) {
    if (severity !== 'error') continue;
    const file = (typeof location.path === 'string' ? location.path : location.path.file).replaceAll('\\', '/');
    const rules = found.get(file) ?? new Set();
    found.set(file, rules.add(category.slice(category.lastIndexOf('/') + 1)));
  }
}

beforeAll(lint);
afterAll(() => rmSync(tree, { recursive: true, force: true }));

const watched = new Set(['noRestrictedImports', ...habits.flatMap(([, , rule]) => rule ?? [])]);

for (const [file, text, rule] of [...imports, ...habits]) {
  const first = text.split('\n', 1)[0];
  test(rule === undefined ? `allowed: ${file}: ${first}` : `caught by ${rule}: ${file}: ${first}`, () => {
    const rules = [...(found.get(file) ?? [])].filter((name) => watched.has(name));
    if (rule === undefined) expect(rules).toEqual([]);
    else expect(rules).toContain(rule);
  });
}
