/** Preloaded into a server: SIGUSR2 writes how long its event loop stood still since the last one, to stderr: `loop-stalls LONGEST_MS COUNT`. */
const EVERY_MS = 10;
/** Shorter ones are not counted. */
const COUNTED_MS = 100;

let [longest, count, due] = [0, 0, performance.now() + EVERY_MS];

function look(): void {
  const late = performance.now() - due;
  longest = Math.max(longest, late);
  if (late >= COUNTED_MS) count++;
  due = performance.now() + EVERY_MS;
  setTimeout(look, EVERY_MS).unref();
}

look();
process.on('SIGUSR2', () => {
  process.stderr.write(`loop-stalls ${longest.toFixed(0)} ${count}\n`);
  [longest, count] = [0, 0];
});
