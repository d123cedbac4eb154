import { COST_UNITS_MAX, UNIT_NAME, UNITS_MAX } from '../core/bounds.ts';
import { DAY, MILLISECOND } from '../core/time.ts';
import { BACKEND_NAME } from './backend-options.ts';
import { checkMode } from './deferred-mode.ts';
import { deferredFields, FIELD_NAME } from './deferred-options.ts';
import { groupName, refusalOptions } from './group-options.ts';
import { filePath } from './listen-options.ts';
import { addressRange, askSource, classSource, headerPattern, hostPattern, keySource, methodName, pathPattern, settleSource } from './route-scalars.ts';
import { duration, integer, oneOf, size, string } from './scalars.ts';
import { dictionary, list, option, optional, refine, required, struct, type ValueOf } from './schema.ts';

const match = struct({
  host: optional(hostPattern, 'The Host field, without case; *.name for every name below.', 'any host'),
  path: optional(pathPattern, 'The path: words as they are, {name} for one segment, * for one, or at the end for all that follow.', 'any path'),
  case: optional(oneOf('any', 'exact'), 'Whether the case of words in `path` counts; values of {name} keep theirs.', 'any with a group, exact without'),
  slash: optional(
    oneOf('any', 'exact'),
    'Whether a slash at the end of a path counts; any: `/a` takes `/a/`, `/a/` takes `/a`, and `/a/*` takes `/a`.',
    'any with a group, exact without',
  ),
  methods: optional(list(methodName, 32), 'Methods; GET covers HEAD.', 'any method'),
  header: option(
    dictionary(string({ unit: 'text', pattern: /^[\t\x20-\x7e]*$/, rule: 'The whole value, or * for any.', lengthMax: 1024 }), {
      noun: 'header',
      names: FIELD_NAME,
      namesMax: 16,
      rule: 'The name of a header; case does not count.',
    }),
    {},
    'Headers that must be there: the whole value, or * for any.',
  ),
});

const costs = dictionary(
  struct(
    {
      ask: optional(askSource, 'What a request costs: a number, or where it is in the request.', 'the default'),
      default: option(
        integer({ min: 0, max: UNITS_MAX }),
        1,
        'Where the request has none, or one that is no whole number from 0; that is counted, not refused.',
      ),
      settle: optional(
        settleSource,
        'Where the answer, JSON up to 1 MiB or the last 64 KiB of SSE, not compressed, contains what was used; not found: the cost charged at admission stays.',
        'the cost charged at admission',
      ),
    },
    { short: 'ask' },
  ),
  { noun: 'unit', names: UNIT_NAME, namesMax: COST_UNITS_MAX, rule: 'Letters, digits, ".", "_" and "-", a letter first, at most 64.' },
);

/** One route. */
const route = struct({
  match: option(match, {}, 'Which requests; all that is set must fit. The first route that fits takes the request; none: 404.'),
  backend: required(
    string({ unit: 'backend name', pattern: BACKEND_NAME, rule: 'The name of one of `backends`.', lengthMax: 128 }),
    'Where its requests go: one of `backends`.',
  ),
  group: optional(groupName, 'The group whose limits count.', 'it passes straight through'),
  key: optional(
    keySource,
    'The key inside the group, read from the request or the same for all; a request that has none goes under the empty key.',
    'the empty key',
  ),
  class: optional(classSource, 'The class of priority; one that the group does not have counts as none.', "the group's default"),
  costs: option(costs, {}, 'What a request costs beside the request itself, by unit.'),
  body: option(
    struct({
      max: option(size({ min: 0, max: 2 ** 40 }), '64MiB', 'A longer body is refused with 413 before anything is charged.'),
      memory: option(
        size({ min: 0, max: 2 ** 30 }),
        '64KiB',
        'What is held beyond goes to disk; longer bodies are sent on as they come where their request passes at once.',
      ),
      receive: option(
        duration({ min: 100 * MILLISECOND, max: DAY }),
        '5m',
        'Time for the whole of a body to arrive, with charge: body; then 408. Time in which the backend does not read it does not count.',
      ),
      rate: option(size({ min: 0, max: 2 ** 30 }), '256B', 'Bytes a second that a sender must keep up after its first 5 s; else 408.'),
    }),
    {},
    'Bodies.',
  ),
  charge: option(
    oneOf('body', 'headers'),
    'body',
    'When admission is asked: once the body is there, or so much of it that its sender holds nothing by being slow; or on the headers, whatever the sender does.',
  ),
  attempts: option(integer({ min: 1, max: 10 }, 'attempts'), 3, 'How often a request is sent at most, where it may be sent again.'),
  trustedProxies: option(list(addressRange, 1000), [], 'Whose X-Forwarded-For is believed for client-ip and passed on; of others the address counts.'),
  dropHeaders: option(
    list(headerPattern, 32),
    [],
    'Headers of requests that are not sent on: names, or beginnings of names with * behind. Key, class and costs are read before.',
  ),
  refusal: optional(refusalOptions, 'What a refused caller of this route gets.', "the group's refusal"),
  ...deferredFields,
});

/** A route as read. */
export type RouteOptions = ValueOf<typeof route>;

/** The routes, in order. */
export const routesOptions = list(refine(route, checkMode), 10_000);

/** What is held of bodies, in all. */
export const bodiesOptions = struct({
  memory: option(size({ min: 0, max: 2 ** 40 }), '256MiB', 'In memory; beyond, bodies go to disk.'),
  disk: option(size({ min: 0, max: 2 ** 44 }), '1GiB', 'On disk; beyond, senders are paused. 0: never on disk.'),
  path: optional(
    filePath,
    'Folder for bodies on disk; nothing in it outlives the server.',
    '`bodies` under `store.path`; with store: memory, `sluice-bodies` where temporary files are',
  ),
});
