import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bundleDashboard } from './bundle-dashboard.ts';
import { slowness } from './expression-linear.ts';
import { expressionsOf } from './expressions.ts';
import { arrowsOf, circleOf, DECLARED_CIRCLES, drawn, fileCirclesOf, undeclared } from './layers.ts';
import { judged, oldNamesIn, readOldNames } from './old-names.ts';

/*
 * `npm run check`: everything that can be said without running the server. Each step runs even when one before it failed,
 * so that one look shows all there is to do. `npm run check -- lint types` runs the named steps only.
 */

/** Steps named on the command line; none: all. */
const named = process.argv.slice(2);

/** What a step found: nothing, or what is wrong in words. */
type Finding = string | undefined;

const steps: Readonly<Record<string, () => Finding | Promise<Finding>>> = {
  lint: () => run('biome', ['ci', ...(process.stdout.isTTY ? [] : ['--colors=off']), '--diagnostic-level=warn', '--error-on-warnings', '--max-diagnostics=50']),
  types: () => run('tsc', ['-b']),
  'proto lint': () => run('buf', ['lint']),
  'proto breaking': breaking,
  'generated code': fresh,
  unused: () => run('knip', []),
  expressions,
  layers,
  'old names': oldNames,
  commits,
};

function run(command: string, args: readonly string[]): Finding {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error !== undefined) return `${command} does not run: ${error.message}`;
  return status === 0 ? undefined : `${command} ${args.join(' ')} ended with ${status}`;
}

function git(...args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim() : undefined;
}

/**
 * The commit to compare the protocol with: main's last one; on main itself the last one, if the protocol was changed
 * since, else the one before. undefined: there is no earlier protocol, or no git.
 */
function earlier(): string | undefined {
  const head = git('rev-parse', 'HEAD');
  const main = git('rev-parse', '--verify', 'origin/main^{commit}') ?? git('rev-parse', '--verify', 'main^{commit}') ?? head;
  const touched = git('status', '--porcelain', '--', 'proto') !== '';
  const base = main !== head ? git('merge-base', 'HEAD', main ?? 'HEAD') : undefined;
  const commit = base !== undefined && base !== head ? base : touched ? head : git('rev-parse', '--verify', 'HEAD^');
  return commit !== undefined && git('cat-file', '-e', `${commit}:proto/sluice`) !== undefined ? commit : undefined;
}

async function inFolder(use: (folder: string) => Finding | Promise<Finding>): Promise<Finding> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function breaking(): Promise<Finding> {
  const commit = earlier();
  if (commit === undefined) {
    say('no earlier protocol to compare with');
    return undefined;
  }
  return inFolder((folder) => {
    const archive = spawnSync('git', ['archive', '--format=tar', `--output=${join(folder, 'old.tar')}`, commit, 'proto', 'buf.yaml'], { stdio: 'inherit' });
    return archive.status === 0 ? run('buf', ['breaking', '--against', join(folder, 'old.tar')]) : `git archive ${commit} failed`;
  });
}

function files(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort();
}

function fresh(): Promise<Finding> {
  return inFolder(async (folder) => {
    const failed = run('buf', ['generate', '-o', folder]);
    if (failed !== undefined) return failed;
    const made = join(folder, 'src/gen');
    await bundleDashboard(join(made, 'dashboard'));
    const names = new Set([...files(made), ...files('src/gen')]);
    const stale = [...names].filter((name) => text(join(made, name)) !== text(join('src/gen', name)));
    return stale.length === 0 ? undefined : `src/gen is not what proto and dashboard say; run \`npm run gen\`: ${stale.join(', ')}`;
  });
}

/** Every regular expression of `src` is proved to take linear time. */
function expressions(): Finding {
  const slow = files('src')
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => {
      const found = expressionsOf(text(join('src', name)) ?? '');
      return found.flatMap(({ line, source, flags }) => {
        const why = slowness(source, flags);
        return why === undefined ? [] : [`src/${name}:${line}: /${source}/${flags}: ${why}`];
      });
    });
  return slow.length === 0 ? undefined : `take more than linear time, or cannot be proved not to:\n    ${slow.join('\n    ')}`;
}

/** Imports between folders go one way, and so do imports between files, but for the declared circles; drawn when asked for by name. */
function layers(): Finding {
  const arrows = arrowsOf('src');
  const circle = circleOf(arrows);
  if (circle !== undefined) return `folders of src import each other in a circle: ${circle.join(' > ')}`;
  const wrong = undeclared(fileCirclesOf('src'), DECLARED_CIRCLES);
  if (wrong.length > 0) return wrong.join('\n    ');
  if (named.includes('layers')) for (const line of drawn(arrows)) say(`  ${line}`);
  return undefined;
}

/** No file has a name that was replaced by the field's word (tools/old-names.json). */
function oldNames(): Finding {
  const list = readOldNames();
  const tracked = (git('ls-files') ?? '')
    .split('\n')
    .filter((file) => existsSync(file) && /\.(ts|[cm]?js|md|ya?ml|proto|json|sh|py|go|rs|cfg|conf|toml)$/.test(file));
  const ours = tracked.filter(
    (file) =>
      !/^(src\/gen\/|docs\/design\/|docs\/decisions\/|docs\/openapi\.json|tools\/old-names|test\/tools\/old-names)|(^|\/)package-lock\.json$/.test(file),
  );
  const { wrong, unused } = judged(
    ours.flatMap((file) => oldNamesIn(file, readFileSync(file, 'utf8'), list)),
    list,
  );
  for (const each of unused) say(`  tools/old-names.json: allowed in ${each.in}, but not there any more: ${each.names.join(', ')}`);
  const lines = wrong.map(({ file, line, name, instead }) => `${file}:${line}: ${name} (say: ${instead})`);
  return lines.length === 0 ? undefined : `${lines.length} old names:\n    ${lines.join('\n    ')}`;
}

/** The last commits are written as CONTRIBUTING.md says: `type(scope): subject`, at most 72 characters. */
function commits(): Finding {
  const wrong = (git('log', '-20', '--no-merges', '--format=%h %s') ?? '')
    .split('\n')
    .filter(
      (line) => line !== '' && !/^[0-9a-f]+ (?=.{1,72}$)(?:build|chore|ci|docs|feat|fix|perf|refactor|revert|style|test)(?:\([a-z0-9, -]+\))?!?: ./.test(line),
    );
  return wrong.length === 0 ? undefined : `not \`type(scope): subject\`: ${wrong.join('; ')}`;
}

function text(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const unknown = named.filter((name) => steps[name] === undefined);
if (unknown.length > 0) {
  say(`No such step: ${unknown.join(', ')}. There are: ${Object.keys(steps).join(', ')}.`);
  process.exit(2);
}

const findings: string[] = [];
for (const [name, step] of Object.entries(steps)) {
  if (named.length > 0 && !named.includes(name)) continue;
  say(`check: ${name}`);
  const finding = await step();
  if (finding !== undefined) findings.push(`${name}: ${finding}`);
}
say(findings.length === 0 ? 'check: all good' : `check: ${findings.length} failed\n${findings.map((line) => `  ${line}`).join('\n')}`);
process.exitCode = findings.length === 0 ? 0 : 1;
