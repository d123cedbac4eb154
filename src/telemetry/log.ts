import type { Writable } from 'node:stream';
import { pino } from 'pino';

/** How much weight a line has. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** What is logged with an event; no secrets, no bodies. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The log: one JSON line per event, `{"level":"info","time":"...","event":"listening",...,"msg":"..."}`. */
export interface Log {
  /** `event` is a name that stays the same, `msg` a sentence for people; what differs is also in the fields. An Error goes under `err`. */
  write(level: LogLevel, event: string, msg: string, fields?: LogFields): void;
  /** Lines below this are dropped from now on; silent: all of them. */
  setLevel(level: LogLevel | 'silent'): void;
}

/** Writes to a stream, usually stdout. */
export function createLog(level: LogLevel | 'silent', to: Writable): Log {
  const logger = pino(
    {
      level,
      // No process id or host: the collector of the lines knows them.
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    to,
  );
  return {
    write: (weight, event, msg, fields = {}) => logger[weight]({ event, ...fields }, msg),
    setLevel: (next) => {
      logger.level = next;
    },
  };
}
