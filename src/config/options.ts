import { GROUP_NAME } from '../core/bounds.ts';
import { MILLISECOND, MINUTE } from '../core/time.ts';
import { authOptions } from './auth-options.ts';
import { backendsOptions } from './backend-options.ts';
import { clusterOptions } from './cluster-options.ts';
import { deferredOptions } from './deferred-options.ts';
import { envoyOptions } from './envoy-options.ts';
import { gatewayQueueOptions } from './gateway-queue-options.ts';
import { groupOptions } from './group-options.ts';
import { filePath, listenOptions } from './listen-options.ts';
import { bodiesOptions, routesOptions } from './route-options.ts';
import { boolean, duration, integer, oneOf, size } from './scalars.ts';
import { dictionary, option, optional, struct, type ValueOf } from './schema.ts';

const storeOptions = struct(
  {
    kind: option(oneOf('disk', 'memory'), 'disk', 'memory: nothing survives a restart. `store: memory` sets the same.'),
    path: option(filePath, './data', 'Folder of the embedded store; one server at a time. With `cluster` only for bodies of forwarded requests.'),
    bytes: option(
      size({ min: 16 * 2 ** 20, max: 2 ** 44 }),
      '10GiB',
      'Disk it may take. A third is kept for compaction; one tree of groups takes at most half of what is left to all, so others find room. Deferred requests have a file of their own, with the same bound.',
    ),
    takeOver: option(boolean(), false, 'Start although another process holds the store: that one decides nothing more and ends. Else this one does not start.'),
  },
  { short: 'kind' },
);

const bounds = struct({
  groups: option(integer({ min: 1, max: 100_000 }, 'groups'), 10_000, 'Groups in this file.'),
  body: option(size({ min: 4096, max: 65_536 }), '64KiB', 'Body of an HTTP call; longer ones are refused as too_large. Over gRPC a message may have 64KiB.'),
  receive: option(
    duration({ min: 100 * MILLISECOND, max: 10 * MINUTE }),
    '10s',
    'Time for the whole of a request to arrive; at the proxy for its head, 10 s at most.',
  ),
  sessions: option(integer({ min: 1, max: 1_000_000 }, 'sessions'), 20_000, 'Sessions open at once, and those that may yet resume; more are shed.'),
  undecided: option(
    integer({ min: 0, max: 1_000_000 }, 'callers'),
    10_000,
    'Pending arrivals: callers held in one tree of groups while no replica, or not yet this process, holds its term (leadership). More are refused as undecided.',
  ),
  requestIds: option(integer({ min: 1, max: 10_000_000 }, 'ids'), 200_000, 'Request ids remembered for callers that come back.'),
  unread: option(
    duration({ min: 1000 * MILLISECOND, max: 60 * MINUTE }),
    '60s',
    'Write timeout: a caller of the proxy, of a gRPC call, or of a stream over HTTP (SSE, Connect, gRPC-Web) that reads nothing of its response for this long is disconnected.',
  ),
  perClient: option(
    integer({ min: 1, max: 1_000_000 }, 'connections'),
    10_000,
    'Per-client limit: connections of one address (of IPv6: one /64) to the proxy; more are closed. Behind trustedProxies: requests of one client in flight; more are shed.',
  ),
  grpcStreams: option(integer({ min: 1, max: 100_000 }, 'calls'), 1_000, 'Calls open at once on one gRPC connection; more wait at the client, or are refused.'),
  grpcOpens: option(
    integer({ min: 10, max: 1_000_000 }, 'calls'),
    10_000,
    'Calls that one gRPC connection may open in a second; it is closed beyond (ENHANCE_YOUR_CALM), and its address slowed down.',
  ),
  grpcResets: option(
    integer({ min: 10, max: 990 }, 'calls'),
    950,
    'Calls of one gRPC connection that may end unanswered at once (cancelled, empty, unknown); a thirtieth of it comes back each second. Closed beyond.',
  ),
  grpcBytes: option(
    size({ min: 65_536, max: 1 << 30 }),
    '4MiB',
    'Bytes of one gRPC connection in a second, beyond 64 KiB for each call that it opens; it is closed beyond.',
  ),
  firstMessage: option(
    duration({ min: 100 * MILLISECOND, max: 10 * MINUTE }),
    '10s',
    'Time for the request of a gRPC call to arrive, or the first of its requests.',
  ),
  unreadBytes: option(
    size({ min: 65_536, max: 1 << 30 }),
    '4MiB',
    'Bytes of one stream (gRPC, SSE, Connect, gRPC-Web) that may wait for its reader; it is cut beyond.',
  ),
  descriptors: option(
    integer({ min: 16, max: 100_000 }, 'descriptors'),
    64,
    'File descriptors kept for health, admin, backends and files, at most a quarter of the process (ulimit -n); with fewer left, new connections of callers are closed.',
  ),
  settled: option(
    integer({ min: 0, max: 10_000_000 }, 'permits'),
    100_000,
    'Permits without lease that may still settle their costs, in one tree of groups; the oldest is forgotten.',
  ),
});

/** The groups, by name. */
export const groupsOptions = dictionary(groupOptions, {
  noun: 'group',
  names: GROUP_NAME,
  namesMax: 100_000,
  rule: 'Letters, digits, ".", "_" and "-", a letter or digit first, at most 128.',
});

/**
 * The one source of every option: its type, default, bounds, and sentence. `npm run gen` writes
 * docs/sluice.schema.json and docs/configuration.md from it.
 */
export const rootOptions = struct({
  listen: option(listenOptions, {}, 'Where the server takes connections.'),
  http: option(
    struct({
      engine: option(
        oneOf('auto', 'node', 'uws'),
        'auto',
        'HTTP/1.1 engine of `api`: auto takes uWebSockets.js where it is installed and loads, else node:http.',
      ),
      ambiguousPaths: option(
        oneOf('refuse', 'match'),
        'refuse',
        'Paths at `proxy` that servers read in different ways (%2F, %5C, a backslash, encoded dots, and dots, // or ; where they lead to another route): 400; or match, by RFC 3986 alone.',
      ),
    }),
    {},
    'The HTTP/1.1 listeners.',
  ),
  auth: option(authOptions, {}, 'Who may call.'),
  store: option(storeOptions, {}, 'What survives a restart, and where; with `cluster` that is in NATS.'),
  drain: option(
    struct({
      delay: option(duration({ min: 0, max: 10 * MINUTE }), '5s', 'After SIGTERM: not ready but still serving, while balancers learn of it.'),
      grace: option(duration({ min: 0, max: 60 * MINUTE }), '20s', 'Then those held stay this long to be admitted; the rest are refused.'),
    }),
    {},
    'How the server stops.',
  ),
  log: option(
    struct({
      level: option(oneOf('trace', 'debug', 'info', 'warn', 'error', 'silent'), 'info', 'Least weight of what is logged, as JSON lines on stdout.'),
      requests: option(
        boolean(),
        false,
        'true: a line for each request that is admitted or refused, and for each permit that ends, with group, key, costs and times, no bodies: a trace for `sluice simulate`.',
      ),
    }),
    {},
    'Logging.',
  ),
  revision: option(integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), 0, 'Counts up with each change of the file; logged at start and at each reload.'),
  bounds: option(bounds, {}, 'What one server holds at most, beside the bounds of each group.'),
  groups: option(groupsOptions, {}, 'Named sets of limits, each with one queue.'),
  allowEmpty: option(
    boolean(),
    false,
    'true: a file without groups is taken. false: it is a mistake at start and at reload, since a file that is being rewritten is empty for a moment.',
  ),
  cluster: optional(clusterOptions, 'Replicas that share every group over NATS JetStream.', 'one node'),
  backends: option(backendsOptions, {}, 'Servers that requests are sent on to, by name.'),
  routes: option(routesOptions, [], 'Which requests go where, under which limits; the first that fits.'),
  bodies: option(bodiesOptions, {}, 'Bodies of requests held for all routes.'),
  deferred: option(deferredOptions, {}, 'Requests that are stored and sent later, of all routes.'),
  envoy: optional(
    envoyOptions,
    'The rate limit service of Envoy, Istio and Gateway API, on `listen.grpc`; its calls are held until the limits let a request pass.',
    'no such service',
  ),
  gatewayQueue: option(gatewayQueueOptions, {}, 'Session starts of gateway shards, at `listen.gatewayQueue`.'),
});

/** Every option as read, before the groups are compiled. */
export type Options = ValueOf<typeof rootOptions>;
