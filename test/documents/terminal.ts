import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '../support/fakes/until.ts';

/** What a document's commands run in. */
export interface Place {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A terminal in which a command runs on: a process group of its own, so that Ctrl-C reaches all of it. */
export class Terminal {
  readonly command: string;
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #output = '';

  constructor(command: string, { cwd, env }: Place) {
    this.command = command;
    const child = spawn('bash', ['-e', '-c', command], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
      });
    }
    this.#child = child;
    this.#exit = once(child, 'close');
  }

  get output(): string {
    return this.#output;
  }

  /** Waits until it has written this; rejects with all it wrote when it ends before, or takes too long. */
  async ready(line: RegExp, msMax: number): Promise<void> {
    try {
      await until(`${line} of ${this.command}`, () => line.test(this.#output) || this.#child.exitCode !== null, msMax);
    } catch (cause) {
      throw new Error(`${this.command}\nwrote:\n${this.#output}`, { cause });
    }
    if (!line.test(this.#output)) throw new Error(`${this.command}\nended with ${this.#child.exitCode}, and wrote:\n${this.#output}`);
  }

  /** Ctrl-C, and once more for those who wait for their callers; settles when all of it has ended. */
  async stop(): Promise<void> {
    this.#signal('SIGINT');
    this.#signal('SIGINT');
    await this.#exit;
  }

  /** Ends all of it at once. */
  kill(): void {
    this.#signal('SIGKILL');
  }

  #signal(signal: 'SIGINT' | 'SIGKILL'): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined) return;
    process.kill(-this.#child.pid, signal);
  }
}

/** The shell that a reader pastes the other blocks into, one after the other; what one sets the next one has. */
export class Shell {
  readonly #child: ChildProcess;
  #output = '';

  constructor({ cwd, env }: Place) {
    const child = spawn('bash', ['--norc'], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
      });
    }
    child.stdin.write(`trap 'echo "<$? from $BASH_COMMAND>"' ERR\n`);
    this.#child = child;
  }

  /** Runs a block to its end; returns what it wrote. Rejects when a command fails, or it takes too long. */
  async run(text: string, msMax: number): Promise<string> {
    this.#output = '';
    this.#child.stdin?.write(`${text}\necho '<end>'\n`);
    await until(`the end of ${text}`, () => this.#output.includes('<end>\n'), msMax).catch((cause: unknown) => {
      throw new Error(`${text}\nwrote:\n${this.#output}`, { cause });
    });
    const output = this.#output.replace('<end>\n', '');
    const failed = /^<\d+ from .*>$/m.exec(output)?.[0];
    if (failed !== undefined) throw new Error(`${failed} in\n${text}\nwhich wrote:\n${output}`);
    return output;
  }

  /** Ends it, and what it left running. */
  kill(): void {
    if (this.#child.exitCode === null && this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL');
  }
}
