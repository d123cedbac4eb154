import { readFileSync } from 'node:fs';

/**
 * Milliseconds that this thread was ready to run and had no processor, since it began (Linux: the second figure of
 * `/proc/thread-self/schedstat`); 0 where the system does not tell. What a busy machine takes is no lateness of the server.
 */
export function processorTakenMs(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1] ?? 0) / 1e6;
  } catch {
    return 0;
  }
}
