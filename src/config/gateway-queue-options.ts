import type { GroupSettings } from '../admission/admission.ts';
import { SLACK_MAX } from '../core/bounds.ts';
import { type LimitSpec, PRIORITY_MAX, REQUESTS } from '../core/group.ts';
import { REPORTED_UNITS_MAX } from '../core/limits/reported-window.ts';
import { DAY, HOUR, MINUTE, NEVER, SECOND } from '../core/time.ts';
import { type Reference, referenceIn } from './auth-options.ts';
import { ValueError } from './errors.ts';
import { groupName } from './group-options.ts';
import { PER } from './limit-scalars.ts';
import { duration, integer, oneOf } from './scalars.ts';
import { option, optional, refine, scalar, struct, type ValueOf } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';

/** Where Discord states how many sessions an application may start. */
export const DISCORD_LIMITS_URL = 'https://discord.com/api/v10/gateway/bot';

/** Never in the file itself, which is read by many. */
const token = scalar<Reference>({
  unit: 'secret',
  bounds: '{ file: PATH } or { env: NAME }',
  json: {
    anyOf: ['file', 'env'].map((from) => ({ type: 'object', properties: { [from]: { type: 'string' } }, required: [from], additionalProperties: false })),
  },
  read: (raw) => referenceIn(raw) ?? new ValueError('a token does not stand in this file', 'Write { env: DISCORD_TOKEN } or { file: PATH } that hold it.'),
});

const limitsUrl = scalar<string>({
  unit: 'URL',
  bounds: 'http:// or https://, without a login',
  json: { type: 'string', pattern: '^https?://', maxLength: 2048 },
  read: readUrl,
});

function readUrl(raw: SourceValue): string | ValueError {
  const text = raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
  const url = text.length <= 2048 && /^https?:\/\/[^\s@]+$/.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined) return url.href;
  // Not shown where it may hold a password.
  return new ValueError(
    `${text.includes('@') ? 'this URL' : formatSourceValue(raw)} is not the URL of session limits`,
    `Write http:// or https:// without a login, or leave it out: ${DISCORD_LIMITS_URL}.`,
  );
}

const options = struct({
  group: option(groupName, 'gateway-queue', 'Name of the group that the server makes for it: with it the queue is seen, paused and watched as any other.'),
  variant: option(oneOf('twilight', 'pluralkit'), 'twilight', "Whose answers it gives: twilight-rs/gateway-queue's JSON, or PluralKit/gateway-queue's text."),
  token: optional(
    token,
    'Token of the application. With it, `max_concurrency` and the session starts that are left come from `limitsUrl`, at the start and every `refresh`; until they are known callers are held.',
    'no limit of session starts; `maxConcurrency` is the number of buckets',
  ),
  limitsUrl: option(limitsUrl, DISCORD_LIMITS_URL, 'Where session limits are asked for, with `token`.'),
  refresh: option(
    duration({ min: 5 * SECOND, max: DAY }),
    '10m',
    'Session limits are asked for again at each multiple of this, by all replicas at once, and when a window of session starts ends; after a failure in 5 s, then after twice as long each time, at most this or 5 minutes.',
  ),
  countedWithin: option(
    duration({ min: SECOND, max: HOUR }),
    '30s',
    'Time from an answer to the moment at which the identify that follows is surely in the count of `limitsUrl`.',
  ),
  maxConcurrency: option(
    integer({ min: 0, max: 65_536 }, 'buckets'),
    1,
    'Buckets, by shard modulo this number, while no `token` is given; 0: no limit at all. A reload takes it, with callers in line.',
  ),
  period: option(duration(PER), '5s', 'At most one answer of a bucket in this time and `slack`.'),
  slack: option(
    duration({ min: 0, max: SLACK_MAX }),
    '250ms',
    'Added to `period`, since networks and clients bring two identifies closer together than the answers they follow.',
  ),
  shards: optional(
    oneOf('lenient', 'strict'),
    'lenient: a `shard` that is no number from 0 to 4294967295, or stands twice, counts as 0, with a warning in the log. strict: 400 at once; only for clients that look at the status.',
    'lenient; strict for pluralkit',
  ),
  backlog: option(integer({ min: 1, max: 1_000_000 }, 'callers'), 100_000, 'Callers held at most; the connection of one more is closed without an answer.'),
  returnWithin: option(
    duration({ min: 0, max: 10 * MINUTE }),
    '10s',
    'A shard whose connection was lost while it waited finds its place if it is back within this; others go before it meanwhile.',
  ),
  closeAfter: option(
    duration({ min: 0, max: MINUTE }),
    '1s',
    'A connection that is closed without an answer is closed so late, since clients queue again at once.',
  ),
});

/** How session starts of gateway shards are spaced, as read. */
export type GatewayQueueOptions = ValueOf<typeof options>;

/** How session starts of gateway shards are spaced. */
export const gatewayQueueOptions = refine(options, ({ token: given }, report, written) => {
  if (given === undefined || !written.has('maxConcurrency')) return;
  report(['maxConcurrency'], new ValueError('maxConcurrency has no meaning with a token', 'Remove it: limitsUrl says it. Or remove the token.'));
});

/** The limit whose windows `limitsUrl` reports. */
export const SESSION_STARTS = 'session_starts';

/** Bytes that waiting callers count for, at most: they have none. */
const NO_BYTES_MAX = 1 << 20;

/** The group that the listener acquires from: a spacing by bucket, and with a token the session starts of the application. No wait ends by time. */
export function gatewayQueueGroup({ group, token: given, maxConcurrency, period, slack, backlog }: GatewayQueueOptions): GroupSettings {
  const identify: LimitSpec = { name: 'identify', unit: REQUESTS, scope: 'key', quota: { kind: 'spacing', spacing: period, slack }, keys: new Map() };
  const starts: LimitSpec = {
    name: SESSION_STARTS,
    unit: REQUESTS,
    scope: 'group',
    quota: { kind: 'fixed', align: 'reported', permits: REPORTED_UNITS_MAX, per: DAY, day: 1, time: 0, timezone: 'UTC', spill: 0 },
    keys: new Map(),
  };
  return {
    spec: {
      name: group,
      limits: given !== undefined ? [identify, starts] : maxConcurrency === 0 ? [] : [identify],
      parent: undefined,
      settleMax: 1,
      enforce: true,
      backlog: { requests: backlog, bytes: NO_BYTES_MAX, perKey: backlog, keys: 100_000, wait: undefined, onFull: 'newest' },
      aging: undefined,
      fairness: { by: 'key', weights: new Map() },
    },
    wait: { default: NEVER, max: NEVER },
    lease: { default: 30 * SECOND, max: 10 * MINUTE },
    priority: { classes: new Map(), default: PRIORITY_MAX },
    pushback: { scope: 'key', max: MINUTE },
    costs: new Map(),
    refusal: undefined,
    unreachable: 'closed',
  };
}
