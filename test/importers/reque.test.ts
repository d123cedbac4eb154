import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { imported, sluice, verdicts } from './rig.ts';

/* What becomes of reQue's Settings.toml. */

const SETTINGS = fileURLToPath(new URL('reque/Settings.toml', import.meta.url));
const shipped = readFileSync(SETTINGS, 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'sluice-reque-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('X16: sluice import reque', () => {
  test('makes one route for any method and path, answered 200 without a body, sent one at a time at the interval', async () => {
    const { config } = await imported('reque', SETTINGS);
    expect(config).toContain('listen: { api: none, grpc: none, proxy: 8030 }');
    expect(config).toContain('urls: [ http://localhost:7780 ]');
    expect(config).toContain('limits: [ { name: interval, spacing: 3s }, { name: one, concurrency: 1 } ]');
    expect(config).toContain('answer: { status: 200, shape: empty }');
    expect(config).not.toContain('match');
  });

  test('reports every key once, with its line, and keeps secrets to itself', async () => {
    const report = await imported('reque', SETTINGS);
    expect(report.counts).toEqual({ understood: 4, changed: 2, ignored: 4 });
    expect(report.findings.map(({ line, path, verdict }) => [line, path, verdict])).toEqual([
      [2, 'database_url', 'ignored'],
      [3, 'database_name', 'ignored'],
      [4, 'api_key', 'ignored'],
      [5, 'log_path', 'ignored'],
      [6, 'reque_service_port', 'understood'],
      [7, 'remove_from_queue_on_failure', 'changed'],
      [9, 'http_proto', 'understood'],
      [10, 'http_dest', 'understood'],
      [11, 'reque_interval', 'understood'],
      [12, 'require_success', 'changed'],
    ]);
    const told = JSON.stringify(report) + (await sluice('import', 'reque', SETTINGS)).err;
    expect(told).not.toContain('password@');
    expect(told).not.toContain('yourapikey');
  });

  test.each([
    ['false', 'false', 'success: any', 'order: key', 'retry: { for: 1h'],
    ['false', 'true', 'success: 2xx', 'retry: { for: 0 }', ''],
    ['true', 'false', 'success: 2xx', 'order: key', 'retry: { for: 1h'],
    ['true', 'true', 'success: 2xx', 'retry: { for: 0 }', ''],
  ])('RQ-5: require_success %s with remove_from_queue_on_failure %s has a meaning of its own', async (requires, removes, ...parts) => {
    const text = shipped
      .replace('require_success = "false"', `require_success = "${requires}"`)
      .replace('remove_from_queue_on_failure = "true"', `remove_from_queue_on_failure = "${removes}"`);
    const report = await imported('reque', file('pair.toml', text));
    for (const part of parts) expect(report.config).toContain(part);
    expect(verdicts(report)['require_success']).toMatch(/^changed: success: /);
  });

  test('takes numbers and truths that are not in quotes, and fractions of a second', async () => {
    const text = shipped.replaceAll(/= "(\d+|true|false)"/g, '= $1').replace('reque_interval = 3', 'reque_interval = 0.05');
    expect((await imported('reque', file('bare.toml', text))).config).toContain('spacing: 50ms');
  });

  test('ignores keys and tables that it does not know, each by its path', async () => {
    const report = await imported('reque', file('more.toml', `${shipped}\nextra = [ 1, 2 ]\n[table]\ninner = 5\n`));
    expect(verdicts(report)).toMatchObject({
      'extra[0]': 'ignored: the importer does not know this key',
      'extra[1]': 'ignored: the importer does not know this key',
      'table.inner': 'ignored: the importer does not know this key',
    });
    expect(report.findings.find(({ path }) => path === 'extra[0]')?.line).toBe(14);
  });

  test.each([
    ['no TOML', 'a = \n', /bad\.toml:1:5: not TOML: /],
    ['the same key twice', `${shipped}require_success = "true"\n`, /bad\.toml:13:1: not TOML: /],
    ['a key that is missing', shipped.replace(/^reque_interval.*$/m, ''), /bad\.toml:1:1: reque_interval is missing/],
    ['a port that is none', shipped.replace('8030', '80300'), /bad\.toml:6:1: reque_service_port: "80300" is not a whole number from 1 to 65535/],
    ['RQ-D8: an interval of 0', shipped.replace('"3"', '"0"'), /bad\.toml:11:1: reque_interval: an interval of 0 sends nothing/],
    ['an interval that is no number', shipped.replace('"3"', '"soon"'), /bad\.toml:11:1: reque_interval: "soon" is not a number above 0, up to 864000\./],
    ['an interval below 0', shipped.replace('"3"', '"-1"'), /bad\.toml:11:1: reque_interval: "-1" is not a number above 0, up to 864000\./],
    ['a protocol that is none', shipped.replace('"http"', '"ftp"'), /bad\.toml:9:1: http_proto: requests are sent by http or https/],
    ['a destination with a path', shipped.replace(':7780', ':7780/base'), /bad\.toml:10:1: http_dest: this is not a host and a port/],
    ['a switch that is neither', shipped.replace('"false"', '"maybe"'), /bad\.toml:12:1: require_success: "maybe" is neither true nor false/],
  ])('tells where a bad file is wrong, and writes nothing: %s', async (_what, text, told) => {
    const out = join(folder, 'never.yaml');
    const ran = await sluice('import', 'reque', file('bad.toml', text), '--out', out);
    expect(ran).toMatchObject({ code: 1, out: '' });
    expect(ran.err).toMatch(told);
    expect(ran.err).toContain('nothing was written');
    expect(() => readFileSync(out)).toThrow('ENOENT');
  });

  test('writes a file that `sluice check` passes, and never over another', async () => {
    const out = join(folder, 'made.yaml');
    expect(await sluice('import', 'reque', SETTINGS, '--out', out)).toMatchObject({ code: 0, err: '', out: expect.stringContaining(`wrote ${out}`) as string });
    expect(await sluice('check', out)).toMatchObject({ code: 0, err: '' });
    const before = readFileSync(out, 'utf8');
    expect(await sluice('import', 'reque', SETTINGS, '--out', out)).toMatchObject({ code: 1, err: expect.stringContaining('is there already') as string });
    expect(readFileSync(out, 'utf8')).toBe(before);
  });

  test.each([[['reque']], [[]], [['reque', 'a', 'b']], [['requeue', 'a']], [['reque', 'a', '--outt', 'x']]])('is called wrongly: import %j', async (args) => {
    expect(await sluice('import', ...args)).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage: sluice import') as string });
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['UTF-16 with its mark', Buffer.from(`\ufeff${shipped}`, 'utf16le'), /^\S+bytes\.toml:1:1: the file is UTF-16 or UTF-32, not UTF-8\./],
    ['UTF-16 without its mark', Buffer.from('a = "b"', 'utf16le'), /^\S+bytes\.toml:1:2: the file has a NUL byte: it is not text in UTF-8\./],
    ['a NUL byte', Buffer.from('a = "b"\nc = "é\0"\n'), /^\S+bytes\.toml:2:7: the file has a NUL byte/],
    ['Latin-1', Buffer.from('a = "b"\nc = "é"\n', 'latin1'), /^\S+bytes\.toml:2:6: the file is not UTF-8 from here on\./],
    ['a character cut off', Buffer.concat([Buffer.from('a = "é'), Buffer.from('\ufffd').subarray(0, 2)]), /^\S+bytes\.toml:1:7: the file is not UTF-8/],
  ])('refuses what is not text in UTF-8, with its place: %s', async (_what, bytes, told) => {
    const ran = await sluice('import', 'reque', file('bytes.toml', bytes));
    expect(ran).toMatchObject({ code: 1, out: '' });
    expect(ran.err).toMatch(told);
    expect(ran.err).toContain('1 mistake; nothing was written');
  });

  test('reads a file that begins with the mark of UTF-8', async () => {
    expect((await imported('reque', file('mark.toml', `\ufeff${shipped}`))).config).toContain('spacing: 3s');
  });

  test('refuses what is not a regular file, by its name, without opening it', async () => {
    const fifo = join(folder, 'fifo.toml');
    execFileSync('mkfifo', [fifo]);
    const link = join(folder, 'zero.toml');
    symlinkSync('/dev/zero', link);
    const inner = join(folder, 'folder.toml');
    mkdirSync(inner);
    for (const [path, kind] of [
      [fifo, 'a FIFO'],
      [link, 'a device'],
      ['/dev/zero', 'a device'],
      [inner, 'a folder'],
    ] as const)
      expect(await sluice('import', 'reque', path)).toEqual({ code: 1, out: '', err: `${path}: cannot be read: it is ${kind}, not a regular file\n` });
  });

  test('refuses a file above the limit, and takes one of exactly that', async () => {
    const limit = 1024 * 1024;
    const path = file('large.toml', shipped + '#'.repeat(limit + 1 - shipped.length));
    expect(await sluice('import', 'reque', path)).toEqual({ code: 1, out: '', err: `${path}: cannot be read: it has more than ${limit} bytes\n` });
    expect(await sluice('import', 'reque', file('large.toml', shipped + '#'.repeat(limit - shipped.length)))).toMatchObject({ code: 0 });
  });

  test('says that a file is not there', async () => {
    expect(await sluice('import', 'reque', join(folder, 'none.toml'))).toMatchObject({
      code: 1,
      err: expect.stringContaining('cannot be read: ENOENT') as string,
    });
  });
});
