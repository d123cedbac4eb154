import { PassThrough, Readable, type Writable } from 'node:stream';
import type { CliContext, Signal } from '../../src/cli/command.ts';

/** A world of its own for a command: what it wrote, and signals by hand. */
export interface FakeWorld extends CliContext {
  readonly out: () => string;
  readonly err: () => string;
  readonly signal: (signal: Signal) => void;
  readonly exits: number[];
}

/** Makes a world with these variables. */
export function fakeWorld(env: Readonly<Record<string, string>> = {}): FakeWorld {
  const [stdout, out] = sink();
  const [stderr, err] = sink();
  const listeners = new Map<Signal, Set<() => void>>();
  const exits: number[] = [];
  return {
    version: '1.2.3',
    nodeVersion: process.versions.node,
    pid: process.pid,
    env,
    stdin: Readable.from([]),
    stdout,
    stderr,
    interactive: false,
    clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' },
    onSignal: (signal, act) => {
      const all = listeners.get(signal) ?? new Set();
      listeners.set(signal, all.add(act));
      return () => all.delete(act);
    },
    exit: (code) => exits.push(code),
    out,
    err,
    signal: (signal) => {
      for (const act of listeners.get(signal) ?? []) act();
    },
    exits,
  };
}

function sink(): readonly [Writable, () => string] {
  const stream = new PassThrough();
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return [stream, () => text];
}
