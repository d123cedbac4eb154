import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/*
 * What is published works where nothing else is: the project is packed and installed into an empty folder, as `npm install sluice`
 * would. The packages come from npm's cache, which `npm ci` has filled, else from the registry; where neither has them, the tests fail.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sluice-packed-'));
const project = join(folder, 'project');
/** The Node of these tests first: the Node of the machine may be too old for Sluice. */
const env = { ...process.env, PATH: [dirname(process.execPath), join(root, 'node_modules/.bin'), process.env['PATH']].join(delimiter) };
const QUIET = ['--no-audit', '--no-fund', '--no-update-notifier'];
const started: ChildProcess[] = [];

/** Runs a command to its end; returns its exit code and its output. */
async function run(command: string, args: readonly string[], cwd: string) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

async function mustRun(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, out, err } = await run(command, args, cwd);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${out}${err}`);
  return out;
}

beforeAll(async () => {
  mkdirSync(project);
  // Else npm takes the next package above, if some folder above has one.
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
  await mustRun('npm', ['pack', '--pack-destination', folder, ...QUIET], root);
  const [archive = ''] = globSync('*.tgz', { cwd: folder });
  const install = ['install', join(folder, archive), ...QUIET];
  const offline = await run('npm', [...install, '--offline'], project);
  if (offline.code !== 0) await mustRun('npm', install, project);
}, 300_000);

afterAll(() => {
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

describe('the package in an empty project', () => {
  test('has the client under sluice/client, for programs and for TypeScript', async () => {
    writeFileSync(
      join(project, 'client.mjs'),
      "import { createSluice } from 'sluice/client';\nconsole.log(typeof createSluice({ address: 'http://localhost' }).acquire);\n",
    );
    expect(await mustRun('node', ['client.mjs'], project)).toBe('function\n');
    const lines = [
      "import { createSluice, type Permit, SluiceRefused } from 'sluice/client';",
      "const permit: Permit = await createSluice({ address: 'http://localhost' }).acquire('demo', { ttl: '1s' });",
      'export const fence: string | undefined = permit.fence?.toString();',
      'export const refused = (cause: unknown): boolean => cause instanceof SluiceRefused && cause.isPassing;',
    ];
    writeFileSync(join(project, 'client.mts'), `${lines.join('\n')}\n`);
    for (const [module, resolution] of [
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ] as const) {
      const flags = ['--noEmit', '--strict', '--target', 'es2023', '--module', module, '--moduleResolution', resolution];
      await mustRun(join(root, 'node_modules/.bin/tsc'), [...flags, 'client.mts'], project);
    }
  });

  test('has the command: npx sluice check tells the mistakes of sluice.yaml, and that it is good', async () => {
    writeFileSync(join(project, 'sluice.yaml'), 'groups: { demo: { limit: [] } }\n');
    const bad = await run('npx', ['--no-install', 'sluice', 'check'], project);
    expect({ code: bad.code, err: bad.err }).toEqual({
      code: 1,
      err: expect.stringContaining('sluice.yaml:1:19: groups.demo: there is no option "limit" here.') as string,
    });
    writeFileSync(join(project, 'sluice.yaml'), 'groups: { demo: { limits: [ { name: pace, spacing: 5s } ] } }\n');
    expect(await mustRun('npx', ['--no-install', 'sluice', 'check'], project)).toBe('sluice.yaml is good: revision 0, 1 group\n  demo: pace (spacing)\n');
  });

  test('serves, with its store on disk, its client is admitted, and the dashboard is there', async () => {
    writeFileSync(join(project, 'sluice.yaml'), 'groups: { demo: { limits: [ { name: pace, spacing: 5s } ] } }\n');
    const listen = ['api', 'grpc', 'health', 'admin'].map((name) => `--listen.${name}=127.0.0.1:0`);
    // The program itself, not npx: it is ended by its own id.
    const server = spawn(process.execPath, ['node_modules/.bin/sluice', 'serve', ...listen], { cwd: project, env, stdio: ['ignore', 'pipe', 'inherit'] });
    started.push(server);
    const lines: string[] = [];
    for await (const line of createInterface({ input: server.stdout })) {
      lines.push(line);
      if (line.includes('"event":"serving"')) break;
    }
    const { api, admin } = JSON.parse(lines.at(-1) ?? '{}') as { readonly api?: string; readonly admin?: string };
    const text = `import { createSluice } from 'sluice/client';\nconst permit = await createSluice({ address: 'http://${api}' }).acquire('demo');\nconsole.log(permit.id);\n`;
    writeFileSync(join(project, 'acquire.mjs'), text);
    expect(await mustRun('node', ['acquire.mjs'], project), lines.join('\n')).toMatch(/^demo~\S+\n$/);
    for (const file of ['', 'app.js', 'chart.js', 'style.css', 'licenses.txt']) expect((await fetch(`http://${admin}/${file}`)).status, file).toBe(200);
  });
});
