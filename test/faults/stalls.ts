import { Worker } from 'node:worker_threads';
import type { StallLine } from './history.ts';

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
