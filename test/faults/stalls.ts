import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { monotonic } from './callers.ts';
import type { LagLine, StallLine } from './history.ts';

const EVERY_MS = 20;
const LATE_MS = 100;

/** Runs in a thread of its own, which does nothing else: called late, it was the machine. */
const TICKER = `
  const { parentPort } = require('node:worker_threads');
  let last = process.hrtime.bigint();
  setInterval(() => {
    const now = process.hrtime.bigint();
    if (now - last > ${LATE_MS + EVERY_MS}n * 1000000n) parentPort.postMessage({ from: Number(last / 1000n), until: Number(now / 1000n) });
    last = now;
  }, ${EVERY_MS});
`;

/** Writes down when the machine let nobody run for more than 100 ms. */
export function watchStalls(write: (line: StallLine) => void): { close(): Promise<unknown> } {
  const worker = new Worker(TICKER, { eval: true });
  worker.on('message', ({ from, until }: { from: number; until: number }) => write({ op: 'stall', from, until }));
  return { close: () => worker.terminate() };
}

/** Writes down when one of these took more than 100 ms to answer `/livez`, which asks nothing of it. */
export function watchLags(urls: readonly string[], write: (line: LagLine) => void): { close(): Promise<unknown> } {
  let over = false;
  const watch = async (url: string, replica: number): Promise<void> => {
    while (!over) {
      const from = monotonic();
      await fetch(`${url}/livez`, { signal: AbortSignal.timeout(1_000) }).then(
        (answer) => answer.text(),
        () => '',
      );
      const until = monotonic();
      if (until - from > LATE_MS * 1_000) write({ op: 'lag', replica, from, until });
      await wait(LATE_MS / 2);
    }
  };
  const watching = Promise.all(urls.map(watch));
  return {
    close: () => {
      over = true;
      return watching;
    },
  };
}
