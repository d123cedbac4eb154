import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** Lines kept for who reads late. */
const LINES_MAX = 500;
/** Characters of its standard error kept. */
const SAID_MAX = 16_384;

const MAIN = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

/** A line of the server's log. */
export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** What a process is started with beside its configuration. */
export interface ServerProcessOptions {
  /** Its environment; default empty. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The command and its arguments; default: `serve` with the configuration as a file. */
  readonly args?: readonly string[] | undefined;
  /** The file that is run in the place of `src/main.ts`. */
  readonly main?: string | undefined;
  /** Where its log is kept, each line with CLOCK_MONOTONIC in seconds before it. */
  readonly logFile?: string | undefined;
  /** Keeps what it writes to its standard error, for {@link ServerProcess.said}; else it is shown. */
  readonly keepsErrors?: boolean | undefined;
  /** A command that starts it, as strace does; it must leave the server the process that it was started as. */
  readonly through?: ((folder: string) => readonly string[]) | undefined;
}

/** `sluice serve` as a process of its own, on a configuration file of its own. */
export class ServerProcess {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly file: string;
  readonly exit: Promise<[number | null, string | null]>;
  /** Read and not yet asked for; the oldest are forgotten, so that a process never waits for its reader. */
  readonly #lines: string[] = [];
  #read = (): void => {};
  #ended = false;
  #last: string[] = [];
  #said = '';

  /** `folder`: one that an earlier process left, with its store; otherwise a new one. */
  constructor(
    configuration: string,
    folder = mkdtempSync(join(tmpdir(), 'sluice-process-')),
    { env = {}, main = MAIN, logFile, args, through, keepsErrors = false }: ServerProcessOptions = {},
  ) {
    this.folder = folder;
    this.file = join(folder, 'sluice.yaml');
    writeFileSync(this.file, configuration);
    const [command = '', ...rest] = [...(through?.(this.folder) ?? []), process.execPath, main, ...(args ?? ['serve', '--config', this.file])];
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', keepsErrors ? 'pipe' : 'inherit'], env, cwd: folder });
    this.child = child;
    child.stderr?.on('data', (piece: Buffer) => {
      this.#said = (this.#said + piece.toString()).slice(-SAID_MAX);
    });
    const reader = createInterface({ input: child.stdout as Readable });
    reader.on('line', (line) => {
      if (logFile !== undefined) appendFileSync(logFile, `${(Number(process.hrtime.bigint() / 1_000_000n) / 1_000).toFixed(3)} ${line}\n`);
      this.#lines.push(line);
      if (this.#lines.length > LINES_MAX) this.#lines.shift();
      this.#read();
    });
    reader.on('close', () => {
      this.#ended = true;
      this.#read();
    });
    this.exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  }

  /** Reads the log on to the next line of one of these events. */
  async until(...events: readonly string[]): Promise<LogLine> {
    for (;;) {
      for (let next = this.#lines.shift(); next !== undefined; next = this.#lines.shift()) {
        this.#last = [...this.#last.slice(-19), next];
        const line = JSON.parse(next) as LogLine;
        if (events.includes(line.event)) return line;
      }
      if (this.#ended) throw new Error(`the process ended without ${events.join(' or ')}; it said:\n${this.#last.join('\n')}`);
      await new Promise<void>((resolve) => {
        this.#read = resolve;
      });
    }
  }

  /** The last lines of its log that nobody has read. */
  get unread(): readonly string[] {
    return this.#lines;
  }

  /** The end of what it wrote to its standard error. */
  get said(): string {
    return this.#said;
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
