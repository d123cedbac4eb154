import { setInterval } from 'node:timers/promises';

/**
 * Looks every 25 ms until the answer is true, for processes and servers, which no fake clock moves. A look that rejects is
 * one that found nothing yet. Rejects after this long, default 60 s, with the last look's error.
 */
export async function until(what: string, look: () => boolean | Promise<boolean>, msMax = 60_000): Promise<void> {
  const start = performance.now();
  let cause: unknown;
  const found = async () => {
    try {
      return await look();
    } catch (error) {
      cause = error;
      return false;
    }
  };
  if (await found()) return;
  for await (const _ of setInterval(25)) {
    if (await found()) return;
    if (performance.now() - start > msMax) throw new Error(`Waited ${msMax} ms for ${what}.`, { cause });
  }
}
