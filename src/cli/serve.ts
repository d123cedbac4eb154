import { watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { loadInBackground, ThreadUnavailable } from '../config/background-load.ts';
import { formatError } from '../config/errors.ts';
import { type Config, type Loaded, loadConfig } from '../config/load.ts';
import type { Flag } from '../config/overlay.ts';
import { ConfigWatch } from '../config/watch.ts';
import { type Micros, SECOND } from '../core/time.ts';
import { type RunningServer, serve } from '../server/serve.ts';
import { type CliContext, type Command, EXIT, exitCodeOf, type Signal, writeLine } from './command.ts';
import { configArguments } from './config-flags.ts';

/** `sluice serve`: serves until a signal. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP and a change of the file reload. */
export const serveCommand: Command = {
  name: 'serve',
  usage: '[--config FILE] [--path.to.option=value ...]',
  summary: 'serves the groups of FILE (SLUICE_CONFIG, or sluice.yaml here); SIGHUP reloads it, SIGTERM drains',
  async run(args, world) {
    const { config, flags, positionals, help, bare } = configArguments(args, true);
    if (help || positionals.length > 0 || bare.length > 0) {
      writeLine(help ? world.stdout : world.stderr, `Usage: sluice serve ${this.usage}`);
      return help ? EXIT.ok : EXIT.usage;
    }
    const name = config ?? world.env['SLUICE_CONFIG'] ?? 'sluice.yaml';
    return serveConfig({ name, flags, world, read: () => readFile(name, 'utf8'), watched: true });
  },
};

/** Where a configuration comes from. */
export interface ConfigFile {
  readonly name: string;
  readonly flags: readonly Flag[];
  readonly world: CliContext;
  readonly read: () => Promise<string>;
  /** It is a file: a change of it, and SIGHUP, reload it. */
  readonly watched: boolean;
}

/** Serves a configuration until a signal. Returns the exit code. */
export async function serveConfig(file: ConfigFile): Promise<number> {
  const { name, world } = file;
  const read = await file.read().catch((cause: Error) => cause);
  if (read instanceof Error) {
    writeLine(world.stderr, `${name}: cannot be read: ${read.message}`);
    return EXIT.failed;
  }
  const loaded = load(file, read);
  if (loaded.kind === 'config') return keep(file, read, loaded.config);
  for (const mistake of loaded.mistakes) writeLine(world.stderr, formatError(mistake));
  return EXIT.failed;
}

function load({ name, flags, world }: ConfigFile, text: string) {
  return loadConfig({ text, name, env: world.env, flags });
}

/**
 * Garbage, collected for a server. Every group's first callers make state that stays, from which V8 concludes that whatever is
 * made there stays, and allocates it in the old generation: with 1,000 groups 40 % of all requests then outlived each scavenge,
 * which took 23 ms instead of 2, and a request a third more CPU (bench/README.md, B1). And on one processor a scavenge that is shared
 * among threads only waits for them: of refusals under overload the slowest in a hundred took three times as long (B12).
 */
function collectAsServer(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
  if (availableParallelism() === 1) setFlagsFromString('--no-parallel-scavenge');
}

/** Serves until a signal, or until the server cannot go on. */
async function keep(file: ConfigFile, text: string, config: Config): Promise<number> {
  const { world } = file;
  collectAsServer();
  const stop = stopped(world);
  const running = await started(config, world, stop.asked);
  if (!('drain' in running)) {
    stop.forget();
    if (running.why === undefined) return EXIT.ok;
    writeLine(world.stderr, `sluice cannot start: ${reasons(running.why)}`);
    return EXIT.failed;
  }
  const watching = file.watched ? watchFile(file, text, config, running) : undefined;
  const forget = watching && world.onSignal('SIGHUP', () => void watching.reload());
  const why = await Promise.race([stop.asked, running.lost]);
  forget?.();
  if (world.interactive && !(why instanceof Error)) writeLine(world.stderr, drainLine(config));
  await watching?.stop();
  // Who has lost the store has nothing to decide: its callers are better off elsewhere.
  await running.drain(why instanceof Error);
  stop.forget();
  return why instanceof Error ? EXIT.failed : EXIT.ok;
}

/** A start that was given up has this long to close what it had opened. */
const GIVE_UP_MS = 2_000;

/** A server that serves, or why there is none: undefined if a signal came first. */
async function started(config: Config, world: CliContext, asked: Promise<Signal>): Promise<RunningServer | { readonly why: unknown }> {
  const { env, clocks, version, nodeVersion, pid, stdout: logTo } = world;
  const abort = new AbortController();
  const starting = serve(config, { env, clocks, logTo, version, nodeVersion, pid, stopping: abort.signal }).catch((why: unknown) => ({ why }));
  const first = await Promise.race([starting, asked]);
  if (typeof first !== 'string') return first;
  abort.abort();
  const timer = setTimeout(() => world.exit(EXIT.ok), GIVE_UP_MS);
  const came = await starting;
  clearTimeout(timer);
  // A server that came up at the same moment receives the signal as always.
  return 'drain' in came ? came : { why: undefined };
}

/** Printed for a person at a terminal, who would else see nothing for as long. */
function drainLine({ drain: { delay, grace } }: Config): string {
  const seconds = (time: Micros): string => `${time / SECOND} s`;
  return (
    `Stopping: serves on for ${seconds(delay)} while balancers learn of it (drain.delay), then waits up to ${seconds(grace)} ` +
    'for callers that are held (drain.grace). Press Ctrl-C again to end at once.'
  );
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process, whatever it is doing. */
function stopped(world: CliContext): { readonly asked: Promise<Signal>; forget(): void } {
  const forgets: (() => void)[] = [];
  let first = true;
  const asked = new Promise<Signal>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const act = (): void => {
        if (!first) world.exit(exitCodeOf(signal));
        first = false;
        resolve(signal);
      };
      forgets.push(world.onSignal(signal, act));
    }
  });
  return { asked, forget: () => forgets.forEach((forget) => void forget()) };
}

/** Reads the file in a thread of its own; where none starts, in this one. */
async function loadAside(file: ConfigFile, text: string, inForce: Config, running: RunningServer): Promise<Loaded> {
  const { name, flags, world } = file;
  try {
    return await loadInBackground({ text, name, env: world.env, flags }, inForce, { pace: running.pace });
  } catch (cause) {
    if (!(cause instanceof ThreadUnavailable)) throw cause;
    running.onReload({ kind: 'unthreaded', cause });
    return load(file, text);
  }
}

function watchFile(file: ConfigFile, text: string, config: Config, running: RunningServer): ConfigWatch {
  const watching = new ConfigWatch({
    config,
    text,
    read: file.read,
    load: (next, inForce) => loadAside(file, next, inForce, running),
    apply: (next) => running.reload(next),
    onEvent: (event) => running.onReload(event),
    notify: (changed) => notify(file.name, changed),
    later: (ms, wake) => {
      const timer = setTimeout(wake, ms);
      return () => clearTimeout(timer);
    },
  });
  watching.start();
  return watching;
}

/** Editors and Kubernetes put another file in the place of the old one: only the folder sees that. */
function notify(name: string, changed: () => void): () => void {
  try {
    const watcher = watch(dirname(name), (_event, which) => {
      if (which === null || which === basename(name) || which.startsWith('..')) changed();
    });
    // What cannot be watched is looked at again and again all the same.
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  } catch {
    return () => {};
  }
}

function reasons(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause === undefined ? cause.message : `${cause.message} (${reasons(cause.cause)})`;
}
