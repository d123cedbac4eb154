import { isDeepStrictEqual } from 'node:util';
import { formatError } from './errors.ts';
import type { Config, Loaded } from './load.ts';

/** Events of reloads, for the log. */
export type ReloadEvent =
  | {
      readonly kind: 'reloaded';
      readonly revision: number;
      readonly groups: number /** Options that differ and wait for a restart. */;
      readonly needRestart: readonly string[];
    }
  /** Nothing was changed: the file, or what it refers to, is wrong. Each mistake contains its position. */
  | { readonly kind: 'refused'; readonly mistakes: readonly string[] }
  /** No worker thread could be started: the file is read in the thread that answers callers, who wait meanwhile. */
  | { readonly kind: 'unthreaded'; readonly cause: Error };

/** What a watch is made of; times in milliseconds. */
export interface ConfigWatchOptions {
  /** The configuration that is in force. */
  readonly config: Config;
  /** The text it was read from. */
  readonly text: string;
  /** Reads the file now; rejects when it cannot be read. */
  readonly read: () => Promise<string>;
  /** Reads a text as a configuration, under the same environment and flags as at the start. Groups that are as in `inForce` are best the same objects. */
  readonly load: (text: string, inForce: Config) => Loaded | Promise<Loaded>;
  /** Puts a configuration in force, wholly or not at all; answers what cannot be done. */
  readonly apply: (next: Config) => Promise<readonly string[]>;
  readonly onEvent: (event: ReloadEvent) => void;
  /** Calls back at changes of the file or of its folder, maybe too often or not at all; answers how to stop. Polling stands behind it. */
  readonly notify: (changed: () => void) => () => void;
  /** Calls back once after so many milliseconds; answers how to prevent it. */
  readonly later: (ms: number, wake: () => void) => () => void;
}

/** Editors write a file in steps: it is read this long after the last sign of a change, and taken when a second reading this much later is the same. */
export const SETTLE_MS = 200;

/** Where the file system reports nothing (network mounts, some containers), a change is seen within this time. */
export const POLL_MS = 5_000;

/** Readings of a file that is different each time: then it is reported once, and looked at again at the next poll. */
const READINGS_MAX = 25;

/** Keeps a configuration as its file is. One reload at a time; one that fails leaves everything as it was. */
export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  #config: Config;
  /** The last text that was looked at, good or bad: a bad one is reported once, not at each poll. */
  #text: string;
  #running: Promise<void> = Promise.resolve();
  #settle: (() => void) | undefined;
  #poll: (() => void) | undefined;
  #unwatch: (() => void) | undefined;
  /** Ends the wait between two readings. */
  #hurry: (() => void) | undefined;
  #unstable = false;
  #stopped = false;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#text = options.text;
  }

  /** Begins to look for changes. */
  start(): void {
    this.#unwatch = this.#options.notify(() => this.#changed());
    this.#arm();
  }

  /** Reads and applies the file now, changed or not, and reports the outcome: for SIGHUP. Files it refers to are read anew. */
  reload(): Promise<void> {
    this.#hurry?.();
    return this.#queue(true);
  }

  /** Looks no more; a reload under way still ends. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#settle?.();
    this.#poll?.();
    this.#unwatch?.();
    this.#hurry?.();
    return this.#running;
  }

  #arm(): void {
    this.#poll = this.#options.later(POLL_MS, () => {
      // A look never rejects: failures are reported.
      void this.#queue(false).then(() => {
        if (!this.#stopped) this.#arm();
      });
    });
  }

  #changed(): void {
    this.#settle?.();
    this.#settle = this.#options.later(SETTLE_MS, () => {
      void this.#queue(false);
    });
  }

  #queue(asked: boolean): Promise<void> {
    this.#running = this.#running.then(() => this.#look(asked)).catch((cause: unknown) => this.#refuse([`the reload failed: ${sentenceOf(cause)}`]));
    return this.#running;
  }

  async #look(asked: boolean): Promise<void> {
    const text = asked ? await this.#read() : await this.#readStable();
    if (text === undefined) return;
    // A file that is away for a moment is being replaced; only the caller of `reload` gets the outcome.
    if (text instanceof Error) return asked ? this.#refuse([`the file cannot be read: ${text.message}`]) : undefined;
    if (text === this.#text && !asked) return;
    this.#text = text;
    const loaded = await this.#options.load(text, this.#config);
    if (loaded.kind === 'mistakes') return this.#refuse(loaded.mistakes.map(formatError));
    const refused = await this.#options.apply(loaded.config);
    if (refused.length > 0) return this.#refuse(refused);
    const waiting = restartRequired(this.#config, loaded.config);
    const { groups, digests, revision, auth, log } = loaded.config;
    this.#config = { ...this.#config, groups, digests, revision, auth, log };
    this.#options.onEvent({ kind: 'reloaded', revision, groups: groups.length, needRestart: waiting });
  }

  #read(): Promise<string | Error> {
    return this.#options.read().catch((cause: unknown) => new Error(sentenceOf(cause)));
  }

  /** Reads until two readings, {@link SETTLE_MS} apart, are the same. Returns undefined if the file is as before, cannot be read, or never comes to rest. */
  async #readStable(): Promise<string | undefined> {
    let last = await this.#read();
    for (let readings = 1; readings < READINGS_MAX && !this.#stopped; readings++) {
      if (last === this.#text || last instanceof Error) {
        this.#unstable = false;
        return undefined;
      }
      await this.#pause();
      const next = await this.#read();
      if (next === last) {
        this.#unstable = false;
        return next;
      }
      last = next;
    }
    if (this.#stopped || this.#unstable) return undefined;
    this.#unstable = true;
    this.#refuse([`the file was different at each of ${READINGS_MAX} readings: write it beside its place, and rename it`]);
    return undefined;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.later(SETTLE_MS, resolve);
      this.#hurry = () => {
        this.#hurry = undefined;
        cancel();
        resolve();
      };
    });
  }

  #refuse(mistakes: readonly string[]): void {
    this.#options.onEvent({ kind: 'refused', mistakes });
  }
}

function sentenceOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** What a reload takes of the gateway queue: what its group is made of, and its buckets. */
const GATEWAY_QUEUE = ['maxConcurrency', 'period', 'slack', 'backlog'].map((name) => `gatewayQueue.${name}`);

/** What a reload takes as it is; everything else waits for a restart. */
export const RELOADABLE: readonly string[] = [
  'groups',
  'backends',
  'routes',
  'envoy',
  'deferred.floor',
  'revision',
  'auth.keys',
  'log.level',
  ...GATEWAY_QUEUE,
];

/** Paths of the options that differ between two configurations and cannot be taken without a restart, as in the file. */
export function restartRequired(before: Config, after: Config): readonly string[] {
  // Not the whole at once: the groups, which need no restart, can be thousands.
  const { digests: _before, ...old } = before;
  const { digests: _after, ...next } = after;
  return within(old, next, '');
}

function differences(before: unknown, after: unknown, path: string): readonly string[] {
  if (RELOADABLE.includes(path) || isDeepStrictEqual(before, after)) return [];
  return isPlain(before) && isPlain(after) ? within(before, after, path) : [path];
}

function within(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) => differences(before[name], after[name], path === '' ? name : `${path}.${name}`));
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
