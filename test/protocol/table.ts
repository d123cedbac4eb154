import { LEASE_MAX, TTL_MAX, UNITS_MAX } from '../../src/core/bounds.ts';
import { SECOND } from '../../src/core/time.ts';

/**
 * One table of asks and the answers expected of every protocol. A case is made of steps; what a step answers is there for
 * the steps after it. Each case has a key of its own, and all groups limit by key, so that cases can share one server.
 */

/** Fields of a request as proto3 JSON has them: `ttl: '0s'`, `requestId`, costs as numbers. */
export type Fields = Readonly<Record<string, unknown>>;

/** What came back, in words that all protocols share. */
export type Answer =
  | { readonly ok: true; readonly fields: Readonly<Record<string, unknown>> }
  | {
      readonly ok: false;
      /** In Connect's spelling; plain HTTP derives it from reason and status. undefined: HTTP answered before any protocol did. */
      readonly code: string | undefined;
      /** ErrorInfo.reason, or the problem's reason in upper case; undefined: the transport itself refused. */
      readonly reason: string | undefined;
      readonly limit: string | undefined;
      /** Retry info was there. */
      readonly retry: boolean;
      readonly message: string;
      readonly http: number | undefined;
    };

/** Requests that no client library would send; each runner has its own way to write them. */
export type Badness =
  /** Bytes that are no message; no JSON. */
  | 'malformed'
  /** `ttl` is a boolean, on the wire of this protocol. */
  | 'wrong_type'
  /** A field that no Acquire has, besides a good ask of the group `open`. */
  | 'unknown_field'
  /** A body of 300 KB. */
  | 'oversized'
  /** A body said to be of a type no protocol has. */
  | 'content_type';

/** One protocol's way to call. */
export interface Runner {
  readonly name: string;
  /** `method` as in the protocol: `Acquire`, `ListGroups`. */
  call(method: string, fields: Fields): Promise<Answer>;
  bad(badness: Badness): Promise<Answer>;
  close(): Promise<void>;
}

/** What is expected: a message with at least these members, or a refusal. A function looks closer, and throws. */
export type Expected = { readonly ok: Fields } | { readonly reason: string; readonly code: string; readonly limit?: string; readonly retry?: boolean };

export interface Step {
  readonly method: string;
  readonly fields: Fields | ((before: readonly Answer[], key: string) => Fields);
  readonly expect: Expected;
}

export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** Groups the table needs, for a real server; the fake has the same three. */
export const TABLE_GROUPS = `
groups:
  open:
    limits:
      - { name: plenty, rate: ${UNITS_MAX}/1s, burst: ${UNITS_MAX}, scope: key }
      - { name: tokens, rate: 1000000/1s, burst: 1000000, unit: tokens, scope: key }
  slots:
    limits: [ { name: slots, concurrency: 1, scope: key } ]
    lease: { default: 30s, max: 10m }
  spaced:
    limits: [ { name: pace, spacing: 1h, scope: key } ]
`;

const MALFORMED = { reason: 'MALFORMED', code: 'invalid_argument' } as const;

/** One Acquire with these fields beside a key of its own. */
function acquire(name: string, fields: Fields, expect: Expected): Case {
  return { name, steps: [{ method: 'Acquire', fields: (_before, key) => ({ group: 'open', key, ...fields }), expect }] };
}

function refused(name: string, method: string, fields: Fields, expect: Expected): Case {
  return { name, steps: [{ method, fields, expect }] };
}

function permitOf(answer: Answer | undefined): string {
  return answer?.ok === true ? String(answer.fields['permit']) : '';
}

const LEASED: Step = { method: 'Acquire', fields: (_before, key) => ({ group: 'slots', key, ttl: '0s', lease: '30s' }), expect: { ok: { lease: '30s' } } };
const MANY_UNITS = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`unit${index}`, 1]));

/** Asks that are answered with a permit, or refused by admission itself. */
const ASKS: readonly Case[] = [
  acquire('an open group admits', {}, { ok: {} }),
  acquire('now or not at all, and there is room', { ttl: '0s' }, { ok: {} }),
  acquire(
    'every field at a good value',
    { ttl: '30s', priority: 1, costs: { requests: 1, tokens: 400 }, lease: '1s', holder: 'Zoë', requestId: '' },
    { ok: {} },
  ),
  acquire('a cost of nothing', { costs: { requests: 0 } }, { ok: {} }),
  acquire('priority at its bounds', { priority: 999 }, { ok: {} }),
  acquire('unknown group', { group: 'nobody' }, { reason: 'UNKNOWN_GROUP', code: 'not_found' }),
  acquire('a group name with a slash', { group: 'a/b' }, MALFORMED),
  acquire('a group name of 129 letters', { group: 'g'.repeat(129) }, MALFORMED),
  acquire('negative ttl', { ttl: '-1s' }, MALFORMED),
  acquire('ttl at the bound', { ttl: `${TTL_MAX / SECOND}s` }, { ok: {} }),
  acquire('huge ttl', { ttl: `${TTL_MAX / SECOND + 1}s` }, MALFORMED),
  acquire('absurd ttl', { ttl: '315576000000s' }, MALFORMED),
  acquire('negative cost', { costs: { requests: -1 } }, MALFORMED),
  acquire('a cost at the bound', { costs: { requests: UNITS_MAX } }, { ok: {} }),
  acquire('huge cost', { costs: { requests: UNITS_MAX + 1 } }, MALFORMED),
  acquire('a cost beyond 2^53', { costs: { requests: '9007199254740993' } }, MALFORMED),
  acquire('a cost in a unit that is no name', { costs: { 'a b': 1 } }, MALFORMED),
  acquire('seventeen units', { costs: MANY_UNITS }, MALFORMED),
  acquire('a key of 257 bytes', { key: 'k'.repeat(257) }, MALFORMED),
  acquire('a key of 129 letters in 258 bytes', { key: 'é'.repeat(129) }, MALFORMED),
  acquire('a key that does not print', { key: 'a\u0007b' }, MALFORMED),
  acquire('negative priority', { priority: -1 }, MALFORMED),
  acquire('huge priority', { priority: 1000 }, MALFORMED),
  acquire('a class the group does not have', { priorityClass: 'nobodys' }, MALFORMED),
  acquire('a lease of nothing', { lease: '0s' }, MALFORMED),
  acquire('a lease at the bound', { lease: `${LEASE_MAX / SECOND}s` }, { ok: {} }),
  acquire('a huge lease', { lease: `${LEASE_MAX / SECOND + 1}s` }, MALFORMED),
  acquire('a holder of 257 bytes', { holder: 'h'.repeat(257) }, MALFORMED),
  acquire('a request id of 129 bytes', { requestId: 'r'.repeat(129) }, MALFORMED),
  acquire('a cost that can never pass', { group: 'slots', costs: { requests: 2 } }, { reason: 'OVERSIZED', code: 'failed_precondition', limit: 'slots' }),
];

/** Permits that live on. */
const FLOWS: readonly Case[] = [
  {
    name: 'a lease is renewed, released, and then not known any more',
    steps: [
      LEASED,
      { method: 'Renew', fields: ([got]) => ({ permit: permitOf(got), lease: '60s' }), expect: { ok: { lease: '60s' } } },
      { method: 'Release', fields: ([got]) => ({ permit: permitOf(got) }), expect: { ok: { ended: true } } },
      { method: 'Renew', fields: ([got]) => ({ permit: permitOf(got) }), expect: { reason: 'UNKNOWN_PERMIT', code: 'not_found' } },
    ],
  },
  {
    name: 'a taken slot: expired within a short ttl, free again after the release',
    steps: [
      LEASED,
      {
        method: 'Acquire',
        fields: (_before, key) => ({ group: 'slots', key, ttl: '0.02s' }),
        expect: { reason: 'EXPIRED', code: 'resource_exhausted', limit: 'slots' },
      },
      { method: 'Release', fields: ([got]) => ({ permit: permitOf(got), outcome: 'OUTCOME_USED' }), expect: { ok: { ended: true } } },
      { ...LEASED, method: 'Acquire' },
    ],
  },
  {
    name: 'the second of a spacing comes too early, and is told when',
    steps: [
      { method: 'Acquire', fields: (_before, key) => ({ group: 'spaced', key }), expect: { ok: {} } },
      {
        method: 'Acquire',
        fields: (_before, key) => ({ group: 'spaced', key, ttl: '1s' }),
        expect: { reason: 'INFEASIBLE', code: 'resource_exhausted', limit: 'pace', retry: true },
      },
    ],
  },
  {
    name: 'fences are strings and grow',
    steps: [
      LEASED,
      { method: 'Explain', fields: (_before, key) => ({ ask: { group: 'slots', key } }), expect: { ok: { place: { place: '1', limit: 'slots' } } } },
      { method: 'Explain', fields: (_before, key) => ({ ask: { group: 'open', key } }), expect: { ok: { admitted: true } } },
    ],
  },
  refused('explain an unknown group', 'Explain', { ask: { group: 'nobody' } }, { reason: 'UNKNOWN_GROUP', code: 'not_found' }),
  refused('explain with a negative cost', 'Explain', { ask: { group: 'open', costs: { requests: -1 } } }, MALFORMED),
  refused('renew a permit nobody gave', 'Renew', { permit: 'nobodys' }, { reason: 'UNKNOWN_PERMIT', code: 'not_found' }),
  refused('renew for a negative time', 'Renew', { permit: 'nobodys', lease: '-5s' }, MALFORMED),
  refused('release a permit nobody gave', 'Release', { permit: 'nobodys' }, { reason: 'UNKNOWN_PERMIT', code: 'not_found' }),
  refused('release as unused with costs', 'Release', { permit: 'nobodys', outcome: 'OUTCOME_UNUSED', costs: { requests: 1 } }, MALFORMED),
  refused('release with a pushback it did not meet', 'Release', { permit: 'nobodys', retryAfter: '1s' }, MALFORMED),
  refused('release a permit with a negative cost', 'Release', { permit: 'nobodys', costs: { requests: -1 } }, MALFORMED),
];

/** Calls of operators. */
const OPERATORS: readonly Case[] = [
  { name: 'groups are listed', steps: [{ method: 'ListGroups', fields: {}, expect: { ok: {} } }] },
  { name: 'a group is shown', steps: [{ method: 'GetGroup', fields: { group: 'slots' }, expect: { ok: { group: { name: 'slots', enforce: true } } } }] },
  refused('an unknown group is shown', 'GetGroup', { group: 'nobody' }, { reason: 'UNKNOWN_GROUP', code: 'not_found' }),
  { name: 'waiters are listed', steps: [{ method: 'ListWaiters', fields: { group: 'open' }, expect: { ok: {} } }] },
  refused('waiters of an unknown group', 'ListWaiters', { group: 'nobody' }, { reason: 'UNKNOWN_GROUP', code: 'not_found' }),
  refused('a page of minus one', 'ListWaiters', { group: 'slots', pageSize: -1 }, MALFORMED),
  refused('a page of 1001', 'ListLeases', { group: 'slots', pageSize: 1001 }, MALFORMED),
  { name: 'leases are listed', steps: [LEASED, { method: 'ListLeases', fields: { group: 'slots' }, expect: { ok: {} } }] },
  {
    name: 'one key is paused and resumed',
    steps: [
      { method: 'Pause', fields: (_before, key) => ({ group: 'open', key, duration: '60s' }), expect: { ok: {} } },
      { method: 'Resume', fields: (_before, key) => ({ group: 'open', key }), expect: { ok: {} } },
    ],
  },
  refused('pause an unknown group', 'Pause', { group: 'nobody' }, { reason: 'UNKNOWN_GROUP', code: 'not_found' }),
  refused('pause for no time', 'Pause', { group: 'slots', duration: '0s' }, MALFORMED),
  refused('an override of nothing', 'Override', { group: 'slots', duration: '60s' }, MALFORMED),
  refused('an override without end', 'Override', { group: 'slots', enforce: true }, MALFORMED),
  refused('an override to nought', 'Override', { group: 'slots', duration: '60s', limits: { slots: { concurrency: { max: 0 } } } }, MALFORMED),
  {
    name: 'an override holds and is ended',
    steps: [
      { method: 'Override', fields: { group: 'slots', duration: '60s', limits: { slots: { concurrency: { max: 2 } } } }, expect: { ok: {} } },
      { method: 'Override', fields: { group: 'slots', duration: '0s' }, expect: { ok: {} } },
    ],
  },
  {
    name: 'a lease is revoked; its holder is fenced',
    steps: [
      LEASED,
      { method: 'RevokeLease', fields: ([got]) => ({ group: 'slots', permit: permitOf(got) }), expect: { ok: {} } },
      { method: 'Renew', fields: ([got]) => ({ permit: permitOf(got) }), expect: { reason: 'FENCED', code: 'aborted' } },
    ],
  },
];

/** The whole table. */
export const TABLE: readonly Case[] = [...ASKS, ...FLOWS, ...OPERATORS];

/** What each kind of bad bytes must meet. The binary form ignores fields it does not know, as protobuf has it. */
export function expectedOf(badness: Badness, binary: boolean): (answer: Answer) => boolean {
  switch (badness) {
    case 'malformed':
    case 'wrong_type':
      return (answer) => !answer.ok && answer.code === 'invalid_argument' && answer.reason === 'MALFORMED';
    case 'unknown_field':
      return (answer) => (binary ? answer.ok : !answer.ok && answer.code === 'invalid_argument' && answer.reason === 'MALFORMED');
    case 'oversized':
      return (answer) => !answer.ok && (answer.code === 'resource_exhausted' || answer.http === 413);
    case 'content_type':
      return (answer) => !answer.ok && answer.http === 415;
  }
}
