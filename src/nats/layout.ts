import type { StreamConfig } from '@nats-io/jetstream';

/** Streams that the ledger is spread over, so that several can be synced at once; fixed for layout 1. */
export const LEDGER_STREAMS = 8;

/** Of a stream of registers: thousands of sessions, each a few kB. */
const REGISTER_BYTES = 64 << 20;

const RACE_BYTES = 1 << 20;

/** A name in a stream. */
export interface StreamSubject {
  readonly stream: string;
  readonly subject: string;
}

/** What a stream must be; the rest is the server's. */
export type WantedStream = Pick<StreamConfig, 'name' | 'subjects' | 'max_msgs_per_subject' | 'max_bytes' | 'deny_purge'> &
  Partial<Pick<StreamConfig, 'allow_msg_ttl' | 'allow_atomic'>>;

/**
 * Names and subjects of everything that is kept in NATS, versioned: what changes in a way that an older Sluice cannot read
 * gets a new number. A stream is never made again under its name with another storage (docs/design/coordination.md, 7).
 */
export interface Layout {
  readonly registers: string;
  /** Registers of sessions, in a stream of their own: only they are ever forgotten. */
  readonly sessions: string;
  readonly ledger: readonly string[];
  /** Where compare-and-set is tried out at the start. */
  readonly race: string;
  readonly inboxPrefix: string;
  readonly raceSubject: string;
  /** Where a register is. */
  register(name: string): StreamSubject;
  /** All registers of sessions. */
  readonly everySession: StreamSubject;
  /** The name of the session's register at a subject; undefined: there is none. */
  sessionAt(subject: string): string | undefined;
  /** Where a log of the ledger is. */
  log(subject: string): StreamSubject;
  /** The subject of a core message. */
  message(subject: string): string;
  wanted(ledgerBytes: number): readonly WantedStream[];
}

/** The first token of the names of sessions' registers. */
const SESSION = 'session.';

/** The layout below a prefix (`cluster.prefix`). */
export function createLayout(prefix: string): Layout {
  const stream = (name: string): string => `${prefix.toUpperCase()}1_${name}`;
  const root = `${prefix}.1`;
  const registers = stream('REG');
  const sessions = stream('SES');
  const race = stream('RACE');
  const ledger = Array.from({ length: LEDGER_STREAMS }, (_, index) => stream(`LEDGER_${index}`));
  return {
    registers,
    sessions,
    ledger,
    race,
    inboxPrefix: `_INBOX_${prefix}`,
    raceSubject: `${root}.race`,
    register: (name) =>
      name.startsWith(SESSION)
        ? { stream: sessions, subject: `${root}.ses.${tokens(name.slice(SESSION.length))}` }
        : { stream: registers, subject: `${root}.reg.${tokens(name)}` },
    everySession: { stream: sessions, subject: `${root}.ses.>` },
    sessionAt(subject) {
      const name = subject.startsWith(`${root}.ses.`) ? untokens(subject.slice(root.length + 5)) : undefined;
      return name === undefined ? undefined : SESSION + name;
    },
    log(subject) {
      const index = streamOf(subject);
      return { stream: ledger[index] ?? '', subject: `${root}.led.${index}.${tokens(subject, /[\w-]/)}` };
    },
    message: (subject) => `${root}.${subject}`,
    wanted: (ledgerBytes) => [
      { name: registers, subjects: [`${root}.reg.>`], max_msgs_per_subject: 1, max_bytes: REGISTER_BYTES, deny_purge: true },
      { name: sessions, subjects: [`${root}.ses.>`], max_msgs_per_subject: 1, max_bytes: REGISTER_BYTES, deny_purge: false },
      { name: race, subjects: [`${root}.race`, `${root}.race.>`], max_msgs_per_subject: 1, max_bytes: RACE_BYTES, deny_purge: true },
      ...ledger.map((name, index) => ({
        name,
        subjects: [`${root}.led.${index}.>`],
        max_msgs_per_subject: -1,
        max_bytes: Math.floor(ledgerBytes / LEDGER_STREAMS),
        deny_purge: false,
      })),
    ],
  };
}

/** All trees of a shard are in one stream (ledger/subjects.ts begins with its number). */
function streamOf(subject: string): number {
  const [, shard] = /^ledger\.(\d+)\./.exec(subject) ?? [];
  if (shard !== undefined) return Number(shard) % LEDGER_STREAMS;
  let sum = 0;
  for (const byte of new TextEncoder().encode(subject)) sum += byte;
  return sum % LEDGER_STREAMS;
}

/** Any text as tokens of a subject, no two texts as the same: other bytes are `_` and two hex digits, nothing is `~`. */
function tokens(text: string, plain = /[A-Za-z0-9-]/): string {
  return text
    .split('.')
    .map((part) => token(part, plain))
    .join('.');
}

function token(text: string, plain: RegExp): string {
  const letters = [...new TextEncoder().encode(text)].map((byte) => {
    const char = String.fromCharCode(byte);
    return plain.test(char) ? char : `_${byte.toString(16).padStart(2, '0')}`;
  });
  return letters.length === 0 ? '~' : letters.join('');
}

/** The text that {@link tokens} made these of; undefined: it made none. */
function untokens(made: string): string | undefined {
  const percent = made.replace(/(^|\.)~(?=\.|$)/g, '$1').replace(/_([0-9a-f]{2})/g, '%$1');
  try {
    return decodeURIComponent(percent);
  } catch {
    return undefined;
  }
}

/**
 * The rights that an account needs if it is not one of its own, as subjects of `publish`; it subscribes to the prefix and to
 * its inboxes. `docs/nats.md` shows them, and a test works with nothing else.
 */
export function requiredPermissions(prefix: string): { readonly publish: readonly string[]; readonly subscribe: readonly string[] } {
  const layout = createLayout(prefix);
  const streams = layout.wanted(0);
  const publish = streams.flatMap(({ name, deny_purge: kept }) => [
    `$JS.API.STREAM.INFO.${name}`,
    `$JS.API.STREAM.CREATE.${name}`,
    `$JS.API.DIRECT.GET.${name}`,
    `$JS.API.DIRECT.GET.${name}.>`,
    ...(kept ? [] : [`$JS.API.STREAM.PURGE.${name}`]),
  ]);
  return { publish: [`${prefix}.1.>`, ...publish], subscribe: [`${prefix}.1.>`, `${layout.inboxPrefix}.>`] };
}
