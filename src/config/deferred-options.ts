import { DAY, HOUR, MILLISECOND, MINUTE } from '../core/time.ts';
import { callbackHost, idSource, secretReferences, signedContent, successRule } from './deferred-leaves.ts';
import { ValueError } from './errors.ts';
import { addressRange } from './route-scalars.ts';
import { boolean, duration, integer, oneOf, size, string } from './scalars.ts';
import { list, option, optional, refine, required, struct, type ValueOf } from './schema.ts';
import { showDuration } from './units.ts';

const MONTH = 30 * DAY;
const YEAR = 365 * DAY;

/** What a field may be called. */
export const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;

const fieldName = string({ unit: 'header', pattern: FIELD_NAME, rule: 'The name of a header; case does not count.', lengthMax: 128 });

const answer = struct(
  {
    status: option(integer({ min: 200, max: 299 }, 'HTTP status'), 202, 'Status of the answer once the request is stored; 200 for senders that know no other.'),
    shape: option(
      oneOf('ticket', 'empty', 'lunar'),
      'ticket',
      'ticket: `Location: /.sluice/requests/ID` and JSON; empty: no body and no Location; lunar: `Location: /retrieve?sequence_id=ID` and `X-Lunar-Enqueued: true`.',
    ),
  },
  { short: 'status' },
);

const hmac = struct({
  secrets: required(secretReferences, 'Key of the HMAC, as text; two while they are exchanged.'),
  header: required(fieldName, 'Header with the signature.'),
  prefix: option(
    string({ unit: 'text', pattern: /^[\x21-\x7e]*$/, rule: 'Characters that print.', lengthMax: 32 }),
    '',
    'What stands before the signature: `sha256=`, `v0=`.',
  ),
  algorithm: option(oneOf('sha256', 'sha512', 'sha1'), 'sha256', 'Hash of the HMAC; sha1 only where a sender knows no other.'),
  encoding: option(oneOf('hex', 'base64'), 'hex', 'How the signature is written.'),
  timestamp: optional(fieldName, 'Header with the time of signing, in seconds since 1970; it must be within `tolerance`.', 'no replay window'),
  content: optional(signedContent, 'What is signed.', '`{timestamp}.{body}` with `timestamp`, else `{body}`'),
});

const verify = refine(
  struct({
    shopify: optional(
      secretReferences,
      'Shopify: the client secret (`X-Shopify-Hmac-Sha256`). Shopify signs no time: take `dedupe` against replays.',
      'not Shopify',
    ),
    github: optional(secretReferences, 'GitHub: the secret of the webhook (`X-Hub-Signature-256`). GitHub signs no time.', 'not GitHub'),
    stripe: optional(secretReferences, 'Stripe: the signing secret of the endpoint, with its `whsec_` (`Stripe-Signature`).', 'not Stripe'),
    standardWebhooks: optional(
      secretReferences,
      'Standard Webhooks (and Svix): the secret, `whsec_` and base64 (`webhook-signature`).',
      'not Standard Webhooks',
    ),
    hmac: optional(hmac, 'Any other sender that signs with an HMAC.', 'no other'),
    tolerance: option(
      duration({ min: 1000 * MILLISECOND, max: DAY }),
      '5m',
      'A signed time further from now, before or after, is refused: an old request cannot be sent again.',
    ),
  }),
  (options, report, written) => {
    const named = SENDERS.filter((name) => written.has(name));
    if (named.length !== 1)
      report(
        [named[1] ?? ''].filter((step) => step !== ''),
        new ValueError(`verify names ${named.length === 0 ? 'no sender' : named.join(' and ')}`, `Write exactly one of ${SENDERS.join(', ')}.`),
      );
    const { timestamp, content } = options.hmac ?? {};
    if (content !== undefined && content.includes('{timestamp}') !== (timestamp !== undefined))
      report(
        ['hmac', 'content'],
        new ValueError('{timestamp} and the header that holds it go together', 'Write timestamp: HEADER, and {timestamp} into content, or neither.'),
      );
  },
);

const SENDERS = ['shopify', 'github', 'stripe', 'standardWebhooks', 'hmac'] as const;

const backoff = {
  first: duration({ min: MILLISECOND, max: HOUR }),
  max: duration({ min: MILLISECOND, max: DAY }),
  attempts: integer({ min: 1, max: 10_000 }, 'attempts'),
} as const;

const retry = refine(
  struct({
    for: option(duration({ min: 0, max: YEAR }), '3d', 'Given up so long after its first attempt; 0: never sent again.'),
    first: option(backoff.first, '1s', 'Longest pause before the second attempt; it doubles with each, and the pause is drawn from 0 to it (full jitter).'),
    max: option(backoff.max, '10m', 'Longest pause between two attempts.'),
    delays: optional(
      list(duration({ min: 0, max: MONTH }), 100),
      'The pause before each further attempt, in place of for, first and max; after the last it is a dead letter.',
      'backoff',
    ),
    attempts: optional(backoff.attempts, 'Attempts at most.', '`for` alone decides'),
  }),
  (options, report, written) => {
    const { first, max } = options;
    if (options.delays !== undefined)
      for (const name of ['for', 'first', 'max'])
        if (written.has(name)) report([name], new ValueError(`${name} has no meaning beside delays`, 'Keep delays, or the backoff.'));
    if (options.delays?.length === 0) report(['delays'], new ValueError('a list without delays', 'Write for: 0 for one attempt alone.'));
    if (first !== undefined && max !== undefined && first > max)
      report(
        [written.has('first') ? 'first' : 'max'],
        new ValueError(`first (${showDuration(first)}) is above max (${showDuration(max)})`, 'Raise max, or lower first.'),
      );
  },
);

const keep = refine(
  struct({
    results: option(duration({ min: 0, max: YEAR }), '1h', 'How long an answer is kept, and an `Idempotency-Key` remembered, after the end.'),
    dead: option(duration({ min: MINUTE, max: YEAR }), '30d', 'How long a dead letter is kept.'),
    dedupe: option(duration({ min: 0, max: MONTH }), '10m', 'How long after its delivery an id of `dedupe` gets its first ticket; at most `results`.'),
  }),
  (options, report, written) => {
    const { results, dedupe } = options;
    if (results === undefined || dedupe === undefined || dedupe <= results || !written.has('dedupe')) return;
    report(['dedupe'], new ValueError(`ids are forgotten with their results (${showDuration(results)})`, 'Raise results, or lower dedupe.'));
  },
);

const sign = struct({
  secrets: required(secretReferences, 'Secrets of Standard Webhooks: `whsec_` and base64 of 24 to 64 bytes; with two, each attempt carries both signatures.'),
});

const callback = struct({
  hosts: required(list(callbackHost, 100), 'Hosts that a request may name for its callback; "*" for every host.'),
  secrets: required(secretReferences, 'Sign callbacks as Standard Webhooks: `whsec_` and base64 of 24 to 64 bytes; with two, both signatures are sent.'),
  http: option(boolean(), false, 'true: http:// too, not only https://.'),
  addresses: option(
    list(addressRange, 100),
    [],
    'Private addresses that a callback may lead to all the same; else loopback, private, link-local and reserved ones are refused.',
  ),
  timeout: option(duration({ min: 100 * MILLISECOND, max: 10 * MINUTE }), '30s', 'For one attempt at a callback.'),
  retry: option(
    struct({
      for: option(duration({ min: 0, max: YEAR }), '1d', 'Given up so long after the first attempt.'),
      first: option(backoff.first, '5s', 'Longest pause before the second attempt; it doubles with each.'),
      max: option(backoff.max, '1h', 'Longest pause between two attempts.'),
      attempts: optional(backoff.attempts, 'Attempts at most.', '`for` alone decides'),
    }),
    {},
    'When a callback is sent again: after anything but 2xx; 410 ends it at once.',
  ),
});

/** Options of a route for requests that are stored. */
export const deferredFields = {
  name: optional(
    string({
      unit: 'route name',
      pattern: /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
      rule: 'Letters, digits, ".", "_" and "-", a letter or digit first, at most 128.',
      lengthMax: 128,
    }),
    'Names the route: in metrics, and in requests that it has stored.',
    'its path',
  ),
  mode: option(
    oneOf('forward', 'deferred'),
    'forward',
    'forward: the caller is held until its request is admitted and answered; deferred: stored, answered at once, and sent when it is admitted.',
  ),
  respondAsync: option(
    boolean(),
    false,
    'true: a caller of this forward route may send `Prefer: respond-async`; with `wait=N` it is held up to N seconds first.',
  ),
  answer: option(answer, {}, 'What a caller gets once its request is stored.'),
  verify: optional(verify, 'Refuses a request that is not signed by its sender, with 401, before it is stored.', 'every sender is believed'),
  dedupe: optional(
    idSource,
    'Where a sender writes its own id of a delivery: one that is pending or was delivered lately gets its first ticket.',
    'no such id',
  ),
  order: option(oneOf('none', 'key'), 'none', 'key: requests of one key are sent one after the other, in the order of their acceptance.'),
  onDead: option(
    oneOf('continue', 'hold'),
    'continue',
    'With order: key, when the oldest of a key is a dead letter: go on, or hold the key until it is redriven or cancelled.',
  ),
  success: option(successRule, '2xx', 'Statuses of the backend that count as delivered.'),
  retry: option(
    retry,
    {},
    'When a request is sent again: no answer, 408, 425, 429, 5xx. Other statuses below 500 that are no success are dead letters at once.',
  ),
  keep: option(keep, {}, 'How long what has ended is kept.'),
  timeout: option(duration({ min: 100 * MILLISECOND, max: DAY }), '60s', 'For one attempt, from its start to the end of the answer.'),
  sign: optional(sign, 'Signs every attempt as Standard Webhooks, with the time of the attempt.', 'no signature'),
  callback: optional(callback, 'Lets a request name a URL (`Sluice-Callback`) that is called at its end.', 'a request that names one is refused'),
  pushback: option(
    oneOf('group', 'none'),
    'group',
    "What a backend's `Retry-After` delays: the request, and others by the group's `pushback`; or the request alone.",
  ),
  results: optional(size({ min: 0, max: 16 * 2 ** 20 }), 'So much of the body of an answer is kept.', '`deferred.results`'),
} as const;

/** Deferred requests of all routes. */
export const deferredOptions = struct({
  floor: option(
    struct({
      after: option(duration({ min: 1000 * MILLISECOND, max: MONTH }), '10m', 'Once the oldest deferred request of a group is older.'),
      every: option(
        integer({ min: 2, max: 1_000_000 }, 'admissions'),
        20,
        'One of so many admissions of the group at least is an overdue deferred one, whatever the classes.',
      ),
    }),
    {},
    'Deferred requests come after live callers of every class, but do not starve.',
  ),
  inFlight: option(integer({ min: 1, max: 100_000 }, 'attempts'), 256, 'Attempts under way at once, in one process, beside the limits of the groups.'),
  inFlightBytes: option(
    size({ min: 64 * 1024, max: 64 * 2 ** 30 }),
    '256MiB',
    'Bytes of the bodies of requests that are under way at once, in one process; a larger one goes alone.',
  ),
  down: option(
    struct({
      after: option(
        integer({ min: 1, max: 1000 }, 'attempts'),
        5,
        'Attempts in a row, over all URLs, that end without connection, in a timeout, or in 502, 503 without `Retry-After`, or 504.',
      ),
      probe: option(
        duration({ min: 100 * MILLISECOND, max: HOUR }),
        '3s',
        'Then one request at a time tries it, at most so often; no request spends an attempt meanwhile.',
      ),
    }),
    {},
    'When a backend counts as down.',
  ),
  results: option(size({ min: 0, max: 16 * 2 ** 20 }), '256KiB', 'So much of the body of an answer is kept, where the route sets nothing.'),
});

/** Deferred requests as read. */
export type DeferredOptions = ValueOf<typeof deferredOptions>;
