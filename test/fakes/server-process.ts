import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** A line of the server's log. */
export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** `sluice serve` as a process of its own, on a configuration file of its own. */
export class ServerProcess {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly file: string;
  readonly exit: Promise<[number | null, string | null]>;
  readonly #lines: AsyncIterator<string>;

  /** `folder`: one that an earlier process left, with its store; otherwise a new one. */
  constructor(configuration: string, folder = mkdtempSync(join(tmpdir(), 'sluice-process-'))) {
    this.folder = folder;
    this.file = join(folder, 'sluice.yaml');
    writeFileSync(this.file, configuration);
    const child = spawn(process.execPath, [MAIN, 'serve', '--config', this.file], { stdio: ['ignore', 'pipe', 'inherit'], env: {}, cwd: folder });
    this.child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  }

  /** Reads the log on to the next line of this event. */
  async until(event: string): Promise<LogLine> {
    for (let next = await this.#lines.next(); next.done !== true; next = await this.#lines.next()) {
      const line = JSON.parse(next.value) as LogLine;
      if (line.event === event) return line;
    }
    throw new Error(`the process ended without ${event}`);
  }

  /** Ends it at once, by its own pid. */
  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Removes its folder, store and all. */
  clean(): void {
    this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
