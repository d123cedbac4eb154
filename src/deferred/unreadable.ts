import type { Clock } from '../admission/clock.ts';
import type { Refusal } from '../core/refusal.ts';
import { plus, SECOND } from '../core/time.ts';
import { StoreUnavailable } from './store.ts';

/** A store that could not be read may be read again after this long. */
const AGAIN = 2 * SECOND;

/** What reads are reported to. */
interface Reader {
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
}

/**
 * Does what reads the store of this process. Where it cannot be read, or a record in it is damaged, returns the refusal and reports the fault;
 * rejects with anything else.
 */
export async function orUnreadable<T>({ clock, onError }: Reader, work: () => Promise<T>): Promise<T | Refusal> {
  try {
    return await work();
  } catch (cause) {
    if (!isOfStore(cause)) throw cause;
    onError(cause);
    const record = damagedRecordOf(cause);
    const why = record === undefined ? 'it does not answer' : `${record} is damaged`;
    return { reason: 'unstored', detail: `The store of deferred requests cannot be read: ${why}.`, retryAt: plus(clock.now(), AGAIN) };
  }
}

/** Whether a fault is one of disk or store: LMDB's have numbers, the system's have names. */
function isOfStore(cause: unknown): boolean {
  if (damagedRecordOf(cause) !== undefined || cause instanceof StoreUnavailable) return true;
  const code = (cause as { readonly code?: unknown } | undefined)?.code;
  return typeof code === 'number' || (typeof code === 'string' && /^E[A-Z]+$/.test(code));
}

/** The record that a store found damaged, by name; undefined: the fault is another. */
function damagedRecordOf(cause: unknown): string | undefined {
  const { name, record } = cause as { readonly name?: unknown; readonly record?: unknown };
  return name === 'CorruptRecord' && typeof record === 'string' ? record : undefined;
}
