import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import type { GroupSettings } from '../admission/admission.ts';
import { DIGEST_LENGTH, digestAt } from './digest.ts';
import type { ConfigError } from './errors.ts';
import { type Config, type ConfigSources, loadConfig } from './load.ts';

/* Reads a configuration in a worker thread, for background-load.ts. */

/** What the thread is given. */
export interface LoadTask {
  readonly sources: ConfigSources;
  /** Digests of the groups in force, in their order. */
  readonly digests: string;
}

/** A group as it is sent: the place of one in force that has the same settings, or other settings. */
export type SentGroup = number | GroupSettings;

/** Messages of the thread, in this order: `started`, then mistakes; or the configuration, and on each request some more of its groups, until all are sent. */
export type LoadMessage =
  | { readonly kind: 'started' }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly ConfigError[] }
  | { readonly kind: 'config'; readonly config: Omit<Config, 'groups'>; readonly groups: number }
  | { readonly kind: 'groups'; readonly groups: readonly SentGroup[] };

/** Groups of one message at most: receiving it takes the other side about a millisecond. */
const GROUPS_MAX = 2_000;
const CHANGED_MAX = 50;

function* chunks(groups: readonly GroupSettings[], digests: string, inForce: string): Generator<readonly SentGroup[]> {
  const places = new Map<string, number>();
  for (let at = 0; at * DIGEST_LENGTH < inForce.length; at++) places.set(digestAt(inForce, at), at);
  let chunk: SentGroup[] = [];
  let changed = 0;
  for (const [at, group] of groups.entries()) {
    const place = places.get(digestAt(digests, at));
    if (place === undefined) changed++;
    chunk.push(place ?? group);
    if (chunk.length < GROUPS_MAX && changed < CHANGED_MAX) continue;
    yield chunk;
    chunk = [];
    changed = 0;
  }
  if (chunk.length > 0) yield chunk;
}

function say(message: LoadMessage): void {
  parentPort?.postMessage(message);
}

/** A third of the processor time of a thread that answers callers, where both want all of it. Lower, and a machine that is busy for minutes would not read the file for minutes. */
const NICE = 5;

/**
 * Lowers the priority of this thread alone, so that it gets what threads that answer callers leave: on a busy machine it would otherwise take the
 * event loop's processor. Linux has a priority for each thread; elsewhere, and where it is refused, the thread runs like any other.
 */
function giveWay(): void {
  try {
    const thread = Number(/\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1]);
    // 0 would be the whole process on some systems.
    if (thread > 0) setPriority(thread, NICE);
  } catch {
    // As before, only less considerate.
  }
}

function run({ sources, digests }: LoadTask): void {
  say({ kind: 'started' });
  const loaded = loadConfig(sources);
  if (loaded.kind === 'mistakes') return say(loaded);
  const { groups, ...config } = loaded.config;
  const left = chunks(groups, config.digests, digests);
  parentPort?.on('message', () => {
    const next = left.next();
    if (next.done !== true) say({ kind: 'groups', groups: next.value });
  });
  say({ kind: 'config', config, groups: groups.length });
}

giveWay();
run(workerData as LoadTask);
