import { collectErrors } from '../config/errors.ts';
import type { Plain } from '../config/source-value.ts';
import type { Imported, SourceFile } from './importer.ts';
import { Findings, type SourceNode } from './source-node.ts';
import { parseToml } from './toml.ts';

/*
 * reQue (helloimalemur/reQue): a store of POST requests that sends the oldest to one backend, every so many seconds. Its settings are one
 * flat file of texts. What each pair of its two switches does there and here is in docs/coming-from-reque.md.
 */

/** Longest interval that is taken: ten days. */
const INTERVAL_SECONDS_MAX = 864_000;

/** Bounds of `deferred.down.probe`. */
const PROBE_MS_MIN = 100;
const PROBE_MS_MAX = 3_600_000;

/** Keys that are read there and mean nothing here, and why. */
const UNUSED: Readonly<Record<string, { readonly why: string; readonly secret: boolean }>> = {
  database_url: { why: 'requests are kept in the embedded store (store.path); no database is needed', secret: true },
  database_name: { why: 'reQue does not use it either', secret: false },
  api_key: { why: 'reQue does not use it either; see auth.keys and routes[].verify', secret: true },
  log_path: { why: 'reQue does not use it either; the log goes to stdout as JSON lines', secret: false },
};

/** What is read of the settings. */
interface Settings {
  readonly port: number;
  readonly origin: string;
  readonly intervalMs: number;
  readonly requiresSuccess: boolean;
  readonly removesOnFailure: boolean;
}

/** Makes a configuration of reQue's Settings.toml: one deferred route that takes any method and path. */
export function importReque({ name, text }: SourceFile): Imported {
  const { mistakes, report } = collectErrors();
  const raw = parseToml(text, name, report);
  if (raw === undefined) return { kind: 'mistakes', mistakes };
  const findings = new Findings(report);
  const root = findings.root(raw);
  const settings = settingsOf(root);
  for (const [key, node] of root.entries()) {
    const unused = Object.hasOwn(UNUSED, key) ? UNUSED[key] : undefined;
    if (unused !== undefined) node.ignore(unused.why, unused.secret ? '(hidden)' : undefined);
  }
  if (settings === undefined || mistakes.length > 0) return { kind: 'mistakes', mistakes };
  return { kind: 'imported', config: configOf(settings), findings: findings.all(), notes: NOTES };
}

const NOTES: readonly string[] = [
  'Any method and path is taken, not three paths only, and is sent with its method, path, headers and bytes, not as a POST of the body.',
  'A request is answered 200 once it is on disk. One that cannot be stored is answered 4xx or 503, not 200. CORS fields are not added.',
  'No two requests are admitted less than the interval apart, and one at a time, also after a slow answer; `slack` makes up for one that is delivered late. An attempt ends after 60 s (routes[].timeout).',
  'What is given up is a dead letter for 30 days: `sluice requests list --state dead`, `sluice requests redrive`.',
];

function settingsOf(root: SourceNode): Settings | undefined {
  const remedy = 'reQue does not start without it either.';
  const port = root.need('reque_service_port', remedy);
  const proto = root.need('http_proto', remedy);
  const dest = root.need('http_dest', remedy);
  const interval = root.need('reque_interval', remedy);
  const requires = root.need('require_success', remedy);
  const removes = root.need('remove_from_queue_on_failure', remedy);

  const origin = proto && dest && originOf(proto, dest);
  const number = port?.integer(1, 65_535);
  const intervalMs = interval && intervalOf(interval);
  const requiresSuccess = requires?.truth();
  const removesOnFailure = removes?.truth();
  port?.understood('listen.proxy');
  if (requiresSuccess === undefined || removesOnFailure === undefined || requires === undefined || removes === undefined) return undefined;
  const how = pairOf(requiresSuccess, removesOnFailure).how;
  requires.changed(how);
  removes.changed(how);
  if (number === undefined || origin === undefined || intervalMs === undefined) return undefined;
  return { port: number, origin, intervalMs, requiresSuccess, removesOnFailure };
}

/** Milliseconds; fractions of a second are taken, though reQue takes whole seconds only. */
function intervalOf(node: SourceNode): number | undefined {
  const seconds = node.decimal(0, INTERVAL_SECONDS_MAX, `above 0, up to ${INTERVAL_SECONDS_MAX}`);
  if (seconds === undefined) return undefined;
  const ms = Math.ceil(seconds * 1000);
  if (ms === 0) {
    node.mistake('an interval of 0 sends nothing in reQue, whose worker ends with it', 'Write the seconds between two requests: 3, or 0.05.');
    return undefined;
  }
  node.understood('groups.reque.limits: spacing, and concurrency 1');
  return ms;
}

function originOf(proto: SourceNode, dest: SourceNode): string | undefined {
  const scheme = proto.text()?.replace(/:\/\/$/, '');
  const address = dest.text()?.replace(/\/$/, '');
  if (scheme === undefined || address === undefined) return undefined;
  if (scheme !== 'http' && scheme !== 'https') {
    proto.mistake(`requests are sent by http or https, not by ${JSON.stringify(scheme.slice(0, 40))}`, 'Write http or https.');
    return undefined;
  }
  if (!/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?)(:\d{1,5})?$/.test(address) || !URL.canParse(`${scheme}://${address}`)) {
    dest.mistake('this is not a host and a port', 'Write localhost:7780. A path before the paths of all requests is not added: have the backend serve it.');
    return undefined;
  }
  for (const node of [proto, dest]) node.understood('backends.destination.urls');
  return new URL(`${scheme}://${address}`).origin;
}

/** What a pair of reQue's switches means here: what counts as delivered, and what becomes of the rest. */
function pairOf(requiresSuccess: boolean, removesOnFailure: boolean): { readonly how: string; readonly options: { readonly [name: string]: Plain } } {
  if (removesOnFailure)
    return {
      how: 'success: 2xx, retry.for: 0. Sent once; one that fails is a dead letter, where reQue deletes it',
      options: { success: '2xx', retry: { for: 0 } },
    };
  const kept = { order: 'key', retry: { for: '1h', first: '1s', max: '1m' } };
  if (requiresSuccess)
    return {
      how: 'success: 2xx, retry.for: 1h, order: key. Sent again until it succeeds, those behind it wait; after 1h a dead letter. reQue takes 200 alone for success, and never gives up',
      options: { success: '2xx', ...kept },
    };
  return {
    how: 'success: any, retry.for: 1h, order: key. Any answer delivers it; without an answer it is sent again, those behind it wait; after 1h a dead letter. reQue sends the first request for ever, delivered or not',
    options: { success: 'any', ...kept },
  };
}

function configOf({ port, origin, intervalMs, requiresSuccess, removesOnFailure }: Settings): { readonly [name: string]: Plain } {
  const { options } = pairOf(requiresSuccess, removesOnFailure);
  const spacing = intervalMs % 1000 === 0 ? `${intervalMs / 1000}s` : `${intervalMs}ms`;
  return {
    listen: { api: 'none', grpc: 'none', proxy: port },
    store: { path: './data' },
    backends: { destination: { urls: [origin] } },
    groups: {
      reque: {
        limits: [
          { name: 'interval', spacing },
          { name: 'one', concurrency: 1 },
        ],
        fairness: { by: 'none' },
      },
    },
    routes: [
      {
        name: 'reque',
        group: 'reque',
        key: 'value all',
        backend: 'destination',
        mode: 'deferred',
        answer: { status: 200, shape: 'empty' },
        ...options,
        keep: { dead: '30d' },
      },
    ],
    // A backend that is back is found within an interval.
    deferred: { down: { probe: intervalMs < PROBE_MS_MIN ? `${PROBE_MS_MIN}ms` : intervalMs > PROBE_MS_MAX ? `${PROBE_MS_MAX}ms` : spacing } },
  };
}
