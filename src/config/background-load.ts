import { Worker } from 'node:worker_threads';
import type { GroupSettings } from '../admission/admission.ts';
import type { Pace } from '../admission/pace.ts';
import type { Config, ConfigSources, Loaded } from './load.ts';
import type { LoadMessage, LoadTask } from './load-thread.ts';

/** A thread that takes longer than this, in milliseconds, is ended. 4 MiB take it a second of processor time, of which a busy machine leaves it one part in a hundred. */
const DEADLINE_MS = 300_000;

/** Beside this file, whether Node runs the sources or what was built from them. */
const THREAD = new URL(import.meta.url.endsWith('.ts') ? './load-thread.ts' : './load-thread.js', import.meta.url);

/** No worker thread could be started; nothing was read. */
export class ThreadUnavailable extends Error {}

/** How it goes; `thread` and `deadlineMs` are replaced by tests. */
export interface BackgroundLoadOptions {
  /** Groups are taken from the thread at this pace; absent: as fast as they come. */
  readonly pace?: Pace | undefined;
  readonly thread?: URL;
  readonly deadlineMs?: number;
}

/**
 * Reads a configuration as {@link loadConfig} does, in a worker thread of its own, which gives way to all others (Linux), so that the event loop
 * never stands still for longer than one message takes. Groups whose settings are as in `inForce` are the same objects as there. Rejects with
 * {@link ThreadUnavailable} if no thread starts, and with another error if it fails or takes longer than five minutes.
 */
export async function loadInBackground(sources: ConfigSources, inForce: Config, options: BackgroundLoadOptions = {}): Promise<Loaded> {
  const { thread = THREAD, deadlineMs = DEADLINE_MS, pace } = options;
  const env = Object.fromEntries(Object.entries(sources.env).filter(([name]) => name.startsWith('SLUICE_')));
  const task: LoadTask = { sources: { ...sources, env }, digests: inForce.digests };
  const worker = begin(thread, task);
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Loaded>((resolve, reject) => {
      const receiver = new Receiver(inForce.groups, () => void (pace?.turn() ?? Promise.resolve()).then(() => worker.postMessage(undefined)), resolve);
      const failed = (why: string, cause?: unknown): void => {
        if (receiver.started) reject(new Error(`the thread that reads the configuration failed: ${why}`, { cause }));
        else reject(new ThreadUnavailable(why, { cause }));
      };
      timer = setTimeout(() => failed(`it took longer than ${deadlineMs / 1000} s`), deadlineMs);
      worker.on('message', (message: LoadMessage) => {
        try {
          receiver.take(message);
        } catch (cause) {
          failed(cause instanceof Error ? cause.message : String(cause), cause);
        }
      });
      worker.once('messageerror', (cause) => failed(cause.message, cause));
      worker.once('error', (cause: unknown) => failed(cause instanceof Error ? cause.message : String(cause), cause));
      worker.once('exit', (code) => failed(`it ended with code ${code}`));
    });
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}

function begin(thread: URL, workerData: LoadTask): Worker {
  try {
    return new Worker(thread, { workerData, execArgv: [], name: 'configuration' });
  } catch (cause) {
    throw new ThreadUnavailable(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Puts together what the thread sends. */
class Receiver {
  readonly #inForce: readonly GroupSettings[];
  readonly #more: () => void;
  readonly #done: (loaded: Loaded) => void;
  readonly #groups: GroupSettings[] = [];
  #config: Omit<Config, 'groups'> | undefined;
  #count = 0;
  started = false;

  constructor(inForce: readonly GroupSettings[], more: () => void, done: (loaded: Loaded) => void) {
    this.#inForce = inForce;
    this.#more = more;
    this.#done = done;
  }

  take(message: LoadMessage): void {
    switch (message.kind) {
      case 'started':
        this.started = true;
        return;
      case 'mistakes':
        return this.#done(message);
      case 'config':
        this.#config = message.config;
        this.#count = message.groups;
        break;
      case 'groups':
        for (const sent of message.groups) this.#groups.push(typeof sent === 'number' ? this.#known(sent) : sent);
    }
    if (this.#groups.length < this.#count) this.#more();
    else if (this.#config !== undefined) this.#done({ kind: 'config', config: { ...this.#config, groups: this.#groups } });
  }

  #known(at: number): GroupSettings {
    const group = this.#inForce[at];
    if (group === undefined) throw new RangeError(`no group ${at} is in force`);
    return group;
  }
}
