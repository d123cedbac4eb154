import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { natsBinary } from '../support/fakes/nats.ts';
import { freePort } from '../support/fakes/ports.ts';
import { findGrpcurl, type Grpcurl } from './grpcurl.ts';
import type { Place } from './terminal.ts';

/** Ports that documents name; each stands for a free one while its commands run. */
const PORTS = ['8080', '8081', '8082', '9090', '9091', '9092', '8000', '8030', '7780', '4222'];
/** Of npm's variables only those that say where packages come from: a reader's shell has no others. */
const KEPT = /^npm_config_(registry|cache|userconfig|globalconfig|cafile)$/i;

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A copy of the repository, as a reader has it who just cloned it. */
export interface Clone {
  readonly place: Place;
  readonly grpcurl: Grpcurl;
  /** The same text with the ports of this clone. */
  ported(text: string): string;
  remove(): void;
}

/** Copies what git knows, or would, into an empty folder; the clone's own packages come by `npm ci`, as the README says. */
export async function makeClone(): Promise<Clone> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-clone-'));
  const cwd = join(folder, 'sluice');
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' }).split('\0');
  for (const file of files.filter((name) => name !== '' && existsSync(join(root, name)))) {
    mkdirSync(dirname(join(cwd, file)), { recursive: true });
    cpSync(join(root, file), join(cwd, file));
  }
  const ports = new Map<string, string>();
  for (const port of PORTS) ports.set(port, String(await freePort()));
  const ported = (text: string) => text.replaceAll(/\b\d{4}\b/g, (port) => ports.get(port) ?? port);
  const config = join(cwd, 'sluice.yaml');
  writeFileSync(config, ported(readFileSync(config, 'utf8')));

  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const grpcurl = await findGrpcurl(bin);
  // nats-server listens on 4222 unless it is told another port, which the document does not.
  writeFileSync(join(bin, 'nats-server'), `#!/bin/sh\nexec '${natsBinary()}' --addr 127.0.0.1 --port ${ports.get('4222')} "$@"\n`, { mode: 0o755 });
  const own = (process.env['PATH'] ?? '').split(delimiter).filter((each) => basename(each) !== '.bin' && !each.includes('node-gyp-bin'));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT.test(name) || !/^(npm_|VITEST|NODE_|INIT_CWD|SLUICE_|CI$)/.test(name)));
  const quiet = { npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_update_notifier: 'false', npm_config_fund: 'false' };
  const PATH = [bin, dirname(grpcurl.path), ...own].join(delimiter);
  return { place: { cwd, env: { ...env, ...quiet, PATH } }, grpcurl, ported, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
