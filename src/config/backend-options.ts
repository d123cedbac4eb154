import { DAY, HOUR, MILLISECOND, MINUTE, SECOND } from '../core/time.ts';
import { ValueError } from './errors.ts';
import { filePath } from './listen-options.ts';
import { duration, integer, oneOf, string } from './scalars.ts';
import { dictionary, list, option, optional, refine, required, scalar, struct, type ValueOf } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';

const NAME_RULE = 'Letters, digits, ".", "_" and "-", a letter or digit first, at most 128.';

/** What a backend may be called. */
export const BACKEND_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const ORIGIN = /^https?:\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?)(:\d{1,5})?\/?$/;

/** Where a backend is; requests go nowhere else, whatever hosts they name. A path would change what was sent. */
const origin = scalar<string>({
  unit: 'URL',
  bounds: 'http:// or https://, a host, a port; no path',
  json: { type: 'string', pattern: ORIGIN.source },
  read: readOrigin,
});

function readOrigin(raw: SourceValue): string | ValueError {
  const text = raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
  if (!ORIGIN.test(text) || !URL.canParse(text)) {
    // Not shown where it may hold a password.
    const shown = text.includes('@') ? 'this URL' : formatSourceValue(raw);
    return new ValueError(
      `${shown} is not the address of a backend`,
      'Write scheme, host and port alone: http://10.0.0.1:7780. Paths are passed on as they came.',
    );
  }
  return new URL(text).origin;
}

const fieldName = string({
  unit: 'header',
  pattern: /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/,
  rule: 'The name of a header; case does not count.',
  lengthMax: 128,
});

const milliseconds = (max: number) => duration({ min: MILLISECOND, max });

const backend = struct({
  urls: required(list(origin, 64), 'Where it is: each request goes to the one with the least in flight.'),
  timeout: option(
    struct({
      connect: option(milliseconds(MINUTE), '2s', 'To connect, TLS included; then another URL is tried, since nothing was sent.'),
      firstByte: option(milliseconds(HOUR), '60s', 'From the last byte sent to the first of the answer; then 504.'),
      idle: option(milliseconds(HOUR), '60s', 'Between two pieces of an answer; then it is cut.'),
    }),
    {},
    'Timeouts towards the backend.',
  ),
  concurrency: optional(
    integer({ min: 1, max: 100_000 }, 'requests'),
    'Requests in flight per URL and replica; more wait with their permit, first in, first out.',
    'no bound but the groups',
  ),
  queue: option(
    struct({
      requests: option(
        integer({ min: 0, max: 1_000_000 }, 'requests'),
        10_000,
        'Requests that wait for a URL with room (`concurrency`) at most, in this replica; beyond, a request is refused as `shed` with `Retry-After`.',
      ),
      wait: option(
        milliseconds(HOUR),
        '30s',
        'So long a request waits for a URL whose route has no group and that sends no `Prefer: wait`; others wait until their own `ttl` is over. Then it is refused as `expired` with `Retry-After`.',
      ),
    }),
    {},
    'The line before `concurrency`.',
  ),
  onAbort: option(
    oneOf('cancel', 'finish'),
    'cancel',
    'When the caller leaves: cancel the request at the backend, or let it finish and keep the slot until it has.',
  ),
  ca: optional(filePath, 'PEM file with the authorities that may have signed its certificates.', "Node's own"),
  resolve: option(duration({ min: SECOND, max: DAY }), '30s', 'Connections older than this are not used again, so that a changed DNS record is followed.'),
  quotaHeaders: optional(
    refine(
      struct({
        remaining: optional(fieldName, 'What is left: at 0 the group or key pauses, by its `pushback`, as after a 429.', 'answers of 429 and 503 alone pause'),
        reset: optional(
          fieldName,
          'When there is more: seconds, a moment, or `6m5s`.',
          'the names that are known: `RateLimit`, `X-RateLimit-Reset` and the like',
        ),
        retryAfter: optional(fieldName, 'The same, where it is there; before `reset`.', '`Retry-After`'),
      }),
      (_names, report, written) => {
        if (written.size === 0) report([], new ValueError('quotaHeaders names no header', 'Write remaining: x-ratelimit-remaining, or remove it.'));
      },
    ),
    'Headers in which its responses state what is left of a quota of its own.',
    'what is left is not looked at; see `pushback`',
  ),
  ejection: option(
    struct({
      failures: option(integer({ min: 1, max: 1000 }, 'failures'), 5, 'Failures in a row after which a URL gets no requests; the last URL always does.'),
      for: option(duration({ min: 100 * MILLISECOND, max: HOUR }), '10s', 'For so long; then one request tries it.'),
    }),
    {},
    'URLs that fail.',
  ),
});

/** A backend as read. */
export type BackendOptions = ValueOf<typeof backend>;

/** The backends, by name. */
export const backendsOptions = dictionary(
  refine(backend, ({ urls, ca }, report) => {
    if (urls?.length === 0) report(['urls'], new ValueError('a backend without URLs', 'Write at least one: [ http://10.0.0.1:7780 ].'));
    if (ca !== undefined && urls?.every((url) => url?.startsWith('http:')))
      report(['ca'], new ValueError('ca has no meaning without TLS', 'Write https:// in urls, or remove ca.'));
    const twice = urls?.findIndex((url, index) => url !== undefined && urls.indexOf(url) !== index) ?? -1;
    if (twice >= 0) report(['urls', twice], new ValueError('this URL stands twice', 'Keep one: the bound of concurrency counts per URL.'));
  }),
  { noun: 'backend', names: BACKEND_NAME, namesMax: 10_000, rule: NAME_RULE },
);
