import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/* What neither linter nor compiler can say. A rule without a test is not kept. */

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string) => readFileSync(root + file, 'utf8');
const tree = (pattern: string) =>
  globSync(pattern, { cwd: root })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => !file.includes('node_modules/'));
const source = tree('src/**/*.ts').filter((file) => !file.startsWith('src/gen/'));
const code = [...source, ...tree('{test,bench,tools,examples}/**/*.{ts,js,cjs,mjs}'), 'vitest.config.ts'];
const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((file) => file !== '' && existsSync(root + file));

/** Files of a list in which `wrong` finds something, with what it found. */
function offenders(files: readonly string[], wrong: (text: string, file: string) => string | undefined): readonly string[] {
  return files.flatMap((file) => {
    const found = wrong(read(file), file);
    return found === undefined ? [] : [`${file}: ${found}`];
  });
}

const match = (pattern: RegExp) => (text: string) => pattern.exec(text)?.[0].trim().slice(0, 100);

describe('files', () => {
  test('no file of the source has more than 600 lines', () => {
    expect(offenders(source, (text) => (text.split('\n').length - 1 > 600 ? `${text.split('\n').length - 1} lines` : undefined))).toEqual([]);
  });

  test('no file is named for nothing: utils, common, helpers, types, index', () => {
    expect(source.filter((file) => /\/(utils?|common|helpers?|types|index|misc|shared)(\/|\.ts$)/.test(file))).toEqual([]);
  });

  test('names of files are lower case with hyphens', () => {
    expect(code.filter((file) => !/^[a-z0-9/.-]+$/.test(file.replace(/^.*\//, '')))).toEqual([]);
  });

  test('no marker of unfinished work is left behind', () => {
    const marker = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`);
    expect(offenders(code, match(marker))).toEqual([]);
  });

  test('no tracked text has the markers of an unfinished merge', () => {
    const texts = tracked.filter((file) => /\.(ts|js|cjs|mjs|md|ya?ml|proto|json|sh|py|go|rs)$/.test(file));
    expect(texts.length).toBeGreaterThan(100);
    expect(offenders(texts, match(/^(<{7}|>{7}) .*$/m))).toEqual([]);
  });

  test('no test is left focused, and none sleeps', () => {
    const tests = tree('test/**/*.ts');
    expect(offenders(tests, match(/\b(test|it|describe)\.only\(/))).toEqual([]);
    // What hurts processes, and who asks them meanwhile, live in real time: faults last.
    const fakable = tests.filter((file) => (!file.startsWith('test/faults/') && !file.startsWith('test/ordeals/')) || file.endsWith('.test.ts'));
    expect(offenders(fakable, match(/\b(await sleep\(|setTimeout\b.*timers\/promises)/))).toEqual([]);
  });
});

describe('the source', () => {
  test('every export has a doc comment', () => {
    expect(offenders(source, bareExport)).toEqual([]);
  });

  test('the core has no randomness', () => {
    expect(
      offenders(
        source.filter((file) => file.startsWith('src/core/')),
        match(/Math\.random|randomUUID|getRandomValues/),
      ),
    ).toEqual([]);
  });

  test('only main.ts imports process', () => {
    expect(
      offenders(
        source.filter((file) => file !== 'src/main.ts'),
        match(/from '(node:)?process'/),
      ),
    ).toEqual([]);
  });

  test('the client of NATS is loaded with replicas only', () => {
    const loadsNats = (start: string): boolean => {
      const seen = new Set([start]);
      for (const file of seen) {
        for (const [, name = ''] of read(file).matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';$/gm)) {
          if (name.startsWith('@nats-io/')) return true;
          if (name.startsWith('.')) seen.add(posix.join(posix.dirname(file), name));
        }
      }
      return false;
    };
    expect(['src/server/cluster.ts', 'src/main.ts', 'src/cli/serve.ts', 'src/server/serve.ts'].filter(loadsNats)).toEqual(['src/server/cluster.ts']);
  });

  test('no linter rule is switched off without a reason', () => {
    expect(offenders(code, match(/biome-ignore-(all|start)|biome-ignore [^:\n]*(: *$|: <|\n)/m))).toEqual([]);
  });
});

describe('the repository', () => {
  test('the lockfile names no registry', () => {
    expect(match(/"resolved": "(https?|git)[^"]*"/)(read('package-lock.json'))).toBeUndefined();
  });

  test('every version is exact', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(([, version]) => !/^(\d+\.\d+\.\d+|file:tools\/node)$/.test(version));
    expect(loose).toEqual([]);
  });

  test('every package with an install script is named in allowScripts', () => {
    const { allowScripts } = JSON.parse(read('package.json')) as { allowScripts: Record<string, boolean> };
    const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { hasInstallScript?: boolean }> };
    const scripted = Object.entries(packages).filter(([, entry]) => entry.hasInstallScript === true);
    expect(scripted.map(([path]) => path.replace(/^.*node_modules\//, '')).filter((name) => !(name in allowScripts))).toEqual([]);
  });

  test('the lockfile names the binaries of every platform; `npm run lock` adds them', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
    };
    const wanted = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
    expect(wanted.filter((name) => packages[`node_modules/${name}`]?.version === undefined)).toEqual([]);
  });

  test('no path of a single machine is committed', () => {
    const texts = tracked.filter((file) => /\.(ts|cjs|js|mjs|json|md|yaml|yml|proto|toml|py|go|rs|sh)$|Dockerfile|\.ci\/run$/.test(file));
    const own = new RegExp(`(?<![\\w.])/(${['home', 'root', 'work', 'Users'].join('|')})/[a-z]`);
    expect(offenders(texts, match(own))).toEqual([]);
  });

  test('every document that a comment or a page names can be opened', () => {
    const texts = tracked.filter(
      (file) => /\.(ts|cjs|mjs|proto|md|yaml)$|Dockerfile$/.test(file) && !file.startsWith('src/gen/') && !file.startsWith('proto/grpc/'),
    );
    const missing = texts.flatMap((file) =>
      [...read(file).matchAll(/(?<![\w/.:-])((?:\.{1,2}\/|[\w-]+\/)*[\w-]+\.md)\b/g)]
        .map(([, name = '']) => name)
        .filter((name) => ![name, join(dirname(file), name), join('docs', name)].some((path) => existsSync(root + path)))
        .map((name) => `${file}: ${name}`),
    );
    expect(missing).toEqual([]);
  });

  test('links between our own documents lead somewhere', () => {
    const dead = tree('{*.md,docs/**/*.md,bench/**/*.md,examples/**/*.md}').flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)/g)]
        .map(([, link]) => new URL(link ?? '', `file:///${file}`).pathname.slice(1))
        .filter((target) => !existsSync(root + target))
        .map((target) => `${file}: ${target}`),
    );
    expect(dead).toEqual([]);
  });
});

/** The first export without a doc comment right above it; members of a run of constants share the first one's. */
function bareExport(text: string): string | undefined {
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    if (!/^export (declare |abstract |async )*(function|class|interface|type|const)\b/.test(line) || /^export type \{/.test(line)) continue;
    let above = index - 1;
    while (/^export const .*;$/.test(line) && /^export const .*;$/.test(lines[above] ?? '')) above -= 1;
    // The further signatures of an overloaded function belong to the first one's comment.
    const name = /function (\w+)/.exec(line)?.[1];
    while (name !== undefined && (lines[above] ?? '').startsWith(`export function ${name}`)) above -= 1;
    if ((lines[above] ?? '').startsWith('// biome-'.concat('ignore'))) above -= 1;
    if (!(lines[above] ?? '').trim().endsWith('*/')) return line.slice(0, 100);
  }
  return undefined;
}
