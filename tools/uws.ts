import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/*
 * uWebSockets.js is published on GitHub only; for tests and benches this fetches a republish of it from npm, one exact
 * version pinned by its integrity, under the vendor's name and without a trace in package.json or the lockfile.
 *
 *   node tools/uws.ts install          into node_modules/uWebSockets.js
 *   node tools/uws.ts run FILE ...     runs a script with a C library the binary can use (Debian 13's, where ours is older)
 *   node tools/uws.ts test ARG ...     runs vitest so, for everything that has to do with engines and front ends
 */

const SOURCE = '@btc-vision/uwebsockets.js@20.57.0';
const INTEGRITY = 'sha512-SuPpEjSKZ7P58L/27BXXsrGsMwLmPupfYny8oJsOmFZ4+zX7Ca97nBPtZ3ngKbfeDZzTyi7rXri74INGerhugg==';
const TARGET = 'node_modules/uWebSockets.js';
const GLIBC_MIN = 38;
const LIBRARIES = resolve('.cache/debian13');
/** Files of tests that meet the engine. */
const TESTS = ['api', 'http', 'proxy', 'engine', 'protocol', 'uws', 'serve'];

function stop(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(1);
}

function run(command: string, args: readonly string[], cwd?: string): void {
  const { status, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) stop(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr.trim()}`);
}

function install(): void {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-uws-'));
  try {
    run('npm', ['pack', SOURCE, '--pack-destination', folder, '--silent']);
    const [archive] = globSync(join(folder, '*.tgz'));
    if (archive === undefined) stop(`npm pack ${SOURCE} left no archive.`);
    const integrity = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
    if (integrity !== INTEGRITY) stop(`${SOURCE} is not the archive that was looked at: ${integrity} instead of ${INTEGRITY}. Nothing was installed.`);
    rmSync(TARGET, { recursive: true, force: true });
    mkdirSync(TARGET, { recursive: true });
    run('tar', ['-xzf', archive, '-C', TARGET, '--strip-components=1']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(`${SOURCE} is in ${TARGET}.\n`);
}

/** Minor version of glibc 2; undefined on other C libraries and systems. */
function glibc(): number | undefined {
  const { glibcVersionRuntime: version } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  return version === undefined ? undefined : Number(version.split('.')[1]);
}

/** Unpacks Debian 13's C library beside ours, without installing anything. */
function fetchLibraries(): void {
  const advice = `uWebSockets.js needs glibc 2.${GLIBC_MIN} (Debian 13, Ubuntu 24.04). Run this there, or in a debian:13 container`;
  if (process.arch !== 'x64' || spawnSync('dpkg', ['--version']).status !== 0) stop(`${advice}.`);
  const folder = mkdtempSync(join(tmpdir(), 'sluice-debian13-'));
  for (const name of ['lists/partial', 'archives/partial', 'etc']) mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, 'sources.list'), 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n');
  writeFileSync(join(folder, 'status'), '');
  const options = {
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': join(folder, 'status'),
    'Dir::Cache': folder,
    'APT::Sandbox::User': '',
  };
  const set = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  run('apt-get', [...set, 'update']);
  run('apt-get', [...set, 'download', 'libc6', 'libstdc++6', 'libgcc-s1'], folder);
  mkdirSync(LIBRARIES, { recursive: true });
  for (const archive of globSync(join(folder, '*.deb'))) run('dpkg', ['-x', archive, LIBRARIES]);
  rmSync(folder, { recursive: true, force: true });
}

/**
 * A Node that can load the binary: this one, or a script that starts it through Debian 13's loader. Under a loader
 * `process.execPath` is the loader; tools/exec-path.cjs puts the script there instead, so that children start the same way.
 */
function capableNode(): string {
  const have = glibc();
  if (have === undefined || have >= GLIBC_MIN) return process.execPath;
  const loader = join(LIBRARIES, 'usr/lib64/ld-linux-x86-64.so.2');
  if (!existsSync(loader)) fetchLibraries();
  const script = join(LIBRARIES, 'node');
  const library = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'].map((path) => join(LIBRARIES, path)).join(':');
  const node = realpathSync(process.execPath);
  writeFileSync(
    script,
    `#!/bin/sh\nSLUICE_NODE="$0" exec ${quote(loader)} --library-path ${quote(library)} ${quote(node)} --require ${quote(resolve('tools/exec-path.cjs'))} "$@"\n`,
  );
  chmodSync(script, 0o755);
  return script;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function ensure(): string {
  if (!existsSync(join(TARGET, 'package.json'))) install();
  const node = capableNode();
  const probe = spawnSync(node, ['-e', 'require("uWebSockets.js").App()'], { encoding: 'utf8' });
  if (probe.status !== 0) stop(`uWebSockets.js does not load on ${process.platform} ${process.arch}, Node ${process.version}:\n${probe.stderr}`);
  return node;
}

function start(node: string, args: readonly string[]): void {
  const { status, signal, error } = spawnSync(node, args, { stdio: 'inherit', env: { ...process.env, SLUICE_UWS: 'required' } });
  if (status === null) stop(`It was ended by ${signal ?? error?.message}: uWebSockets.js ends the process where it is used wrongly.`);
  process.exitCode = status;
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'install') install();
else if (command === 'run') start(ensure(), rest);
else if (command === 'test') {
  const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '../vitest.mjs');
  start(ensure(), [vitest, 'run', ...(rest.length > 0 ? rest : TESTS)]);
} else stop('Say `install`, `run FILE ...` or `test`.');
