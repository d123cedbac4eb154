import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * `npm run conformance`: the public suite of Connect, gRPC-Web and gRPC (https://github.com/connectrpc/conformance) against
 * the front ends as they are shipped. Needs Go, which builds the suite once into .cache/conformance. Arguments go to it:
 *
 *   npm run conformance -- --run 'Errors/**' --trace
 *
 * Fails where a case fails that is not in the list of known ones (docs/clients.md says why each is), or one of those passes.
 */

const VERSION = 'v1.0.7';
const MODULE = 'connectrpc.com/conformance';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const cache = join(root, '.cache/conformance');
const suite = join(cache, `connectconformance-${VERSION}`);
const protos = join(cache, `protos-${VERSION}.binpb`);

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const { status, stdout, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
    cwd: cache,
  });
  if (error !== undefined) throw new Error(`${command} does not run; install it, or put it on the PATH.`, { cause: error });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  return stdout;
}

function prepare(): void {
  mkdirSync(cache, { recursive: true });
  if (!existsSync(suite)) {
    run('go', ['install', `${MODULE}/cmd/connectconformance@${VERSION}`], { GOBIN: cache });
    run('mv', [join(cache, 'connectconformance'), suite]);
  }
  if (existsSync(protos)) return;
  const { Dir: folder } = JSON.parse(run('go', ['mod', 'download', '-json', `${MODULE}@${VERSION}`])) as { Dir: string };
  run(join(root, 'node_modules/.bin/buf'), ['build', join(folder, 'proto'), '-o', protos]);
}

prepare();
let failed = false;
for (const name of ['connect', 'grpc']) {
  console.log(`\n${name}:`);
  const known = join(here, `${name}-known.txt`);
  const list = existsSync(known) ? ['--known-failing', `@${known}`] : [];
  const server = [process.execPath, join(here, 'server.ts'), protos];
  const args = ['--conf', join(here, `${name}.yaml`), '--mode', 'server', '--max-servers', '1', ...list, ...process.argv.slice(2), '--', ...server];
  failed = spawnSync(suite, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status !== 0 || failed;
}
process.exitCode = failed ? 1 : 0;
