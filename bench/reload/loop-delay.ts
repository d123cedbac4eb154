import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Preloaded into a server: SIGUSR2 writes how long its event loop stood still at most since the last one, in milliseconds, to stderr. */
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on('SIGUSR2', () => {
  process.stderr.write(`loop-delay ${(delay.max / 1e6).toFixed(1)}\n`);
  delay.reset();
});
