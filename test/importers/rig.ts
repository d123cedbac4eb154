import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dispatch } from '../../src/cli/cli.ts';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Finding } from '../../src/importers/importer.ts';
import { fakeWorld } from '../cli/world.ts';
import { type Answered, type Asked, ask } from '../proxy/listener/rig.ts';
import { Recorder, type Respond } from '../support/fakes/recorder.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';

/** What a command wrote, and its exit code. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the real command. */
export async function sluice(...args: readonly string[]): Promise<Ran> {
  const world = fakeWorld();
  const code = await dispatch(args, world);
  return { code, out: world.out(), err: world.err() };
}

/** What `sluice import --json` writes. */
export interface Report {
  readonly config: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  readonly notes: readonly string[];
}

/** Imports by the real command; throws what it wrote if it fails. */
export async function imported(...args: readonly string[]): Promise<Report> {
  const { code, out, err } = await sluice('import', ...args, '--json');
  if (code !== 0) throw new Error(err);
  return JSON.parse(out) as Report;
}

/** The verdict and the explanation of each key, by its path. */
export function verdicts({ findings }: Report): Readonly<Record<string, string>> {
  return Object.fromEntries(findings.map(({ path, verdict, how }) => [path, `${verdict}: ${how}`]));
}

/** A server that runs what was imported, as a process of its own, before a backend that records. */
export interface Imported {
  readonly port: number;
  readonly admin: string;
  readonly backend: Recorder;
  ask(parts: Asked): Promise<Answered>;
  /** Ends the process by SIGKILL and starts it again over the same store. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts what was imported. Only its listeners are others; every URL of a backend becomes that of the recorder. */
export async function serveImported(config: string, respond?: Respond): Promise<Imported> {
  const backend = await Recorder.start(respond);
  const text = config.replaceAll(/urls: \[ [^\]]+ \]/g, `urls: [ ${backend.url} ]`);
  const folder = mkdtempSync(join(tmpdir(), 'sluice-imported-'));
  const env = { SLUICE_LISTEN_PROXY: '127.0.0.1:0', SLUICE_LISTEN_ADMIN: '127.0.0.1:0', SLUICE_LISTEN_HEALTH: 'none', SLUICE_DRAIN_DELAY: '0' };
  const loaded = loadConfig({ text, name: 'imported.yaml', env, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const state = { server: new ServerProcess(text, folder, { env }), port: 0, admin: '' };
  const serving = async (): Promise<void> => {
    const line = await state.server.until('serving');
    state.port = Number(String(line['proxy']).split(':').at(-1));
    state.admin = `http://${String(line['admin'])}`;
  };
  await serving();
  return {
    get port() {
      return state.port;
    },
    get admin() {
      return state.admin;
    },
    backend,
    ask: (parts) => ask(state.port, parts),
    crash: async () => {
      state.server.kill();
      await state.server.exit;
      state.server = new ServerProcess(text, folder, { env });
      await serving();
    },
    stop: async () => {
      state.server.kill();
      await state.server.exit;
      await backend.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
