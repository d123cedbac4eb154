import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compare, findNatsServer, objection } from './nats-binary.ts';
import { sources } from './nats-fetch.ts';

/* The programs that are looked for are small scripts here: nothing is fetched. */

let folder: string;
let env: Record<string, string>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-find-'));
  // Nothing of the machine's but what the scripts need.
  mkdirSync(join(folder, 'bin'));
  for (const name of ['sh', 'cat', 'chmod', 'cp', 'mkdir']) symlinkSync(join('/bin', name), join(folder, 'bin', name));
  env = { PATH: `${folder}/bin`, XDG_CACHE_HOME: `${folder}/cache`, GOROOT: `${folder}/no-go`, HOME: folder };
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function script(path: string, lines: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

const server = (path: string, version: string) => script(path, `echo 'nats-server: v${version}'`);
/** Lines of a script that leaves a server of this version somewhere; both are read by the shell. */
const leaves = (where: string, version: string) =>
  `mkdir -p "${where}"; printf '#!/bin/sh\\necho nats-server: v%s\\n' "${version}" > "${where}/nats-server"; chmod +x "${where}/nats-server"`;

function debian(versions: { readonly sid?: string; readonly trixie?: string }): void {
  const parts = `for option; do case "$option" in Dir::Etc::sourceparts=*) parts="\${option#*=}";; *) verb="$option"; esac; done`;
  const one = (suite: string, version: string | undefined) =>
    version === undefined ? '' : `*${suite}*) [ "$verb" = update ] || echo ${version} > nats-server_1_amd64.deb; exit 0;;`;
  script(
    join(folder, 'bin/apt-get'),
    `${parts}\ncase "$(cat "$parts"/*)" in ${one('sid', versions.sid)} ${one('trixie', versions.trixie)} esac\necho "E: no such suite" >&2; exit 100`,
  );
  script(join(folder, 'bin/dpkg-deb'), leaves('$3/usr/sbin', '$(cat "$2")'));
}

describe('which nats-server the tests run with', () => {
  test('the one on the PATH, where it is new enough', async () => {
    const path = server(join(folder, 'bin/nats-server'), '2.10.27');
    expect(await findNatsServer('newest', env)).toEqual({ path, version: '2.10.27', why: 'on the PATH' });
  });

  test.each(['2.9.10', '2.10.26', '2.12.0', '2.12.2'])('%s on the PATH is passed over, and named', async (version) => {
    server(join(folder, 'bin/nats-server'), version);
    server(join(folder, 'cache/sluice-tests/nats-server/2.14.1/nats-server'), '2.14.1');
    const found = await findNatsServer('newest', env);
    expect(found).toMatchObject({ version: '2.14.1', why: expect.stringMatching(/^fetched earlier \(on the PATH: nats-server /) });
    expect(found.why).toContain(version);
  });

  test('one behind another that is too old on the PATH is found', async () => {
    server(join(folder, 'old/nats-server'), '2.9.10');
    const path = server(join(folder, 'bin/nats-server'), '2.12.3');
    expect(await findNatsServer('newest', { ...env, PATH: `${folder}/old:${env['PATH']}` })).toMatchObject({ path, version: '2.12.3' });
  });

  test('without one, Go builds it; the next time it is in the cache', async () => {
    script(join(folder, 'bin/go'), leaves('$GOBIN', '2.15.2'));
    const path = join(folder, 'cache/sluice-tests/nats-server/2.15.2/nats-server');
    expect(await findNatsServer('newest', env)).toMatchObject({ path, why: expect.stringContaining('built by Go') });
    rmSync(join(folder, 'bin/go'));
    expect(await findNatsServer('newest', env)).toMatchObject({ path, why: expect.stringContaining('fetched earlier') });
  });

  test('two processes may fetch at once, and leave one server and nothing else', async () => {
    script(join(folder, 'bin/go'), leaves('$GOBIN', '2.15.2'));
    const found = await Promise.all([1, 2, 3].map(() => findNatsServer('newest', env)));
    expect(new Set(found.map(({ path }) => path)).size).toBe(1);
    expect(readdirSync(join(folder, 'cache/sluice-tests/nats-server'))).toEqual(['2.15.2']);
  });

  test("without Go, or where Go fails, Debian's newer package", async () => {
    script(join(folder, 'bin/go'), 'echo "dial tcp: no route to host" >&2; exit 1');
    debian({ sid: '2.15.1', trixie: '2.10.27' });
    const found = await findNatsServer('newest', env);
    expect(found).toMatchObject({ version: '2.15.1', why: expect.stringMatching(/^Debian sid .*no route to host/) });
  });

  test('the least version serves as the newest only where nothing newer is to be had', async () => {
    server(join(folder, 'cache/sluice-tests/nats-server/2.10.27/nats-server'), '2.10.27');
    debian({ sid: '2.15.1' });
    expect(await findNatsServer('newest', env)).toMatchObject({ version: '2.15.1' });
    rmSync(join(folder, 'cache/sluice-tests/nats-server/2.15.1'), { recursive: true });
    debian({});
    expect(await findNatsServer('newest', env)).toMatchObject({ version: '2.10.27', why: expect.stringContaining('no such suite') });
  });

  test('where the least version is wanted, no other will do', async () => {
    server(join(folder, 'bin/nats-server'), '2.12.3');
    server(join(folder, 'cache/sluice-tests/nats-server/2.15.2/nats-server'), '2.15.2');
    debian({ sid: '2.15.1', trixie: '2.10.27' });
    expect(await findNatsServer('least', env)).toMatchObject({ version: '2.10.27', why: expect.stringContaining('Debian trixie') });
  });

  test('where none is to be had, the error says of every way why', async () => {
    server(join(folder, 'bin/nats-server'), '2.9.10');
    const told = await findNatsServer('newest', env).catch((cause: Error) => cause.message);
    for (const word of ['2.9.10 is older than 2.10.27', 'there is no go', 'there is no apt-get']) expect(told).toContain(word);
  });

  test('a file that is no nats-server is passed over', async () => {
    script(join(folder, 'bin/nats-server'), 'echo hello');
    const told = await findNatsServer('newest', env).catch((cause: Error) => cause.message);
    expect(told).toContain('--version says "hello"');
  });
});

describe('versions', () => {
  test('are ordered by their numbers', () => {
    expect(['2.12.10', '2.9.10', '2.12.3', '2.10.27'].sort(compare)).toEqual(['2.9.10', '2.10.27', '2.12.3', '2.12.10']);
  });

  test('that Sluice does not work with are refused, those beside them not', () => {
    const refused = ['2.10.26', '2.10.27', '2.11.15', '2.12.0', '2.12.2', '2.12.3'].filter((version) => objection(version) !== undefined);
    expect(refused).toEqual(['2.10.26', '2.12.0', '2.12.2']);
  });
});

describe("apt's sources, pointed at another suite", () => {
  const write = (name: string, text: string) => {
    mkdirSync(join(folder, 'apt/sources.list.d'), { recursive: true });
    writeFileSync(join(folder, 'apt', name), text);
  };

  test('keep mirror, keys and options; deb.debian.org comes last', () => {
    write(
      'sources.list',
      '# deb http://old bookworm main\ndeb [trusted=yes] http://mirror.test/deb bookworm main contrib\ndeb http://mirror.test/sec bookworm-security main\n',
    );
    write(
      'sources.list.d/own.sources',
      'Types: deb deb-src\nURIs: http://mirror2.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys/own.gpg\n',
    );
    const texts = sources('sid', join(folder, 'apt')).map(({ text }) => text);
    expect(texts.slice(0, 2)).toEqual([
      'deb [trusted=yes] http://mirror.test/deb sid main\n',
      'Types: deb\nURIs: http://mirror2.test/debian\nSuites: sid\nComponents: main\nSigned-By: /keys/own.gpg\n',
    ]);
    expect(texts[2]).toMatch(/^deb .*http:\/\/deb\.debian\.org\/debian sid main\n$/);
    expect(texts).toHaveLength(3);
  });

  test("of other vendors and of Debian's security are left out", () => {
    write('sources.list.d/vendor.list', 'deb https://vendor.test/apt cloud-sdk-bookworm main\n');
    write('sources.list.d/debian.sources', 'Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\nComponents: main\n');
    expect(sources('trixie', join(folder, 'apt'))).toHaveLength(1);
  });
});
