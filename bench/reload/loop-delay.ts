import { monitorEventLoopDelay } from 'node:perf_hooks';

/*
 * Preloaded into a server: SIGUSR2 writes to stderr how long its event loop stood still at most since the last one, in milliseconds: as the clock
 * goes, and in processor time of its thread, which a busy machine does not lengthen.
 */

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();

const used = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

let last = used();
let most = 0;
setInterval(() => {
  const now = used();
  most = Math.max(most, now - last);
  last = now;
}, 1).unref();

process.on('SIGUSR2', () => {
  process.stderr.write(`loop-delay ${(delay.max / 1e6).toFixed(1)} ${most.toFixed(1)}\n`);
  delay.reset();
  most = 0;
});
