import { MILLISECOND, MINUTE, SECOND } from '../core/time.ts';
import { type Reference, referenceIn } from './auth-options.ts';
import { ValueError } from './errors.ts';
import { filePath } from './listen-options.ts';
import { boolean, duration, oneOf, size, string } from './scalars.ts';
import { list, option, optional, type ReportAt, refine, required, scalar, struct, type Unverified, type ValueOf } from './schema.ts';
import type { SourceValue } from './source-value.ts';

const SERVER = /^(?:(?:nats|tls):\/\/)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?$/;

const MONITOR = /^https?:\/\/(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?\/?$/;

const SERVER_RULE = 'nats://host:port or tls://host:port, without a login; port 4222 if it says none.';

/** Not shown when it is wrong: people put logins into URLs. */
const server = scalar<string>({
  unit: 'URL',
  bounds: SERVER_RULE.replace(/\.$/, ''),
  json: { type: 'string', pattern: SERVER.source },
  read(raw: SourceValue) {
    const found = raw.kind === 'scalar' && typeof raw.value === 'string' ? SERVER.exec(raw.value) : null;
    return found === null || Number(found[1] ?? 0) > 65_535 ? new ValueError('this is not the URL of a NATS server', `Write ${SERVER_RULE}`) : found[0];
  },
});

const monitor = scalar<string>({
  unit: 'URL',
  bounds: 'http://host:port or https://host:port, of `http` in nats.conf',
  json: { type: 'string', pattern: MONITOR.source },
  read(raw: SourceValue) {
    const found = raw.kind === 'scalar' && typeof raw.value === 'string' ? MONITOR.exec(raw.value) : null;
    return found === null || Number(found[1] ?? 0) > 65_535
      ? new ValueError('this is not a monitoring address of a NATS server', 'Write http://host:port, as `http` in nats.conf says.')
      : found[0];
  },
});

/** Never in the file itself, which is read by many. */
const secret = scalar<Reference>({
  unit: 'secret',
  bounds: '{ file: PATH } or { env: NAME }',
  json: {
    anyOf: ['file', 'env'].map((from) => ({ type: 'object', properties: { [from]: { type: 'string' } }, required: [from], additionalProperties: false })),
  },
  read: (raw) => referenceIn(raw) ?? new ValueError('a secret does not stand in this file', 'Write { file: PATH } or { env: NAME } that hold it.'),
});

const tls = struct({
  ca: optional(filePath, "PEM file with the authorities that sign the servers' certificates.", "the system's"),
  cert: optional(filePath, 'PEM file with the certificate to show them.', 'none is shown'),
  key: optional(filePath, 'PEM file with its private key.', 'none'),
  first: option(boolean(), false, 'TLS before anything is said, for servers with `handshake_first`.'),
});

const cluster = struct({
  nats: required(list(server, 100), 'NATS servers, any of one cluster; the others are learned from them.'),
  credentials: optional(
    struct({ file: required(filePath, 'The `.creds` file.') }, { short: 'file' }),
    'Login by a file with a JWT and its seed (`.creds`), read again at each connect.',
    'no such login',
  ),
  user: optional(string({ unit: 'name', pattern: /^\S+$/, rule: 'No spaces, at most 256 characters.', lengthMax: 256 }), 'Login by name.', 'no such login'),
  password: optional(secret, 'Password of `user`.', 'no password'),
  token: optional(secret, 'Login by token.', 'no such login'),
  tls: optional(tls, 'Encrypts; a server without TLS is then refused.', 'as the servers offer'),
  prefix: option(
    string({ unit: 'name', pattern: /^[a-z0-9][a-z0-9_-]*$/, rule: 'Small letters, digits, "_" and "-", at most 32.', lengthMax: 32 }),
    'sluice',
    'Begins all subjects and, in capitals, all streams: one for each deployment on the same account.',
  ),
  name: optional(
    string({ unit: 'name', pattern: /^[A-Za-z0-9][A-Za-z0-9._:-]*$/, rule: 'Letters, digits, ".", "_", ":" and "-", at most 128.', lengthMax: 128 }),
    'Names this replica: another for each, the same over restarts.',
    "the host's name and the port of `api`, or of the first listener that there is",
  ),
  replicas: option(
    scalar<'auto' | 1 | 3>({
      unit: 'copies',
      bounds: 'auto, 1, 3',
      json: { enum: ['auto', 1, 3] },
      read(raw) {
        const value = raw.kind === 'scalar' ? raw.value : undefined;
        return value === 'auto' || value === 1 || value === 3 ? value : new ValueError('this is no number of copies', 'Take auto, 1 or 3.');
      },
    }),
    'auto',
    'Copies of each stream at least; auto: 3 on a NATS cluster, 1 on a single server.',
  ),
  ledgerBytes: option(
    size({ min: 64 * 2 ** 20, max: 2 ** 44 }),
    '4GiB',
    'Room that the ledger may take in NATS, for each copy; reserved when its streams are made.',
  ),
  requestBytes: option(
    size({ min: 64 * 2 ** 20, max: 2 ** 44 }),
    '4GiB',
    'Room that deferred requests may take in NATS, for each copy, bodies and results included; reserved when their streams are made, at the first start with a route that stores.',
  ),
  startWithin: option(duration({ min: SECOND, max: 10 * MINUTE }), '30s', 'At the start NATS is waited for so long.'),
  dialWithin: option(
    duration({ min: 50 * MILLISECOND, max: 10 * SECOND }),
    '500ms',
    'A NATS server that has not taken a connection by then is passed over for the next.',
  ),
  answerWithin: option(
    duration({ min: 50 * MILLISECOND, max: 5 * SECOND }),
    '250ms',
    'A renewal that NATS has not answered by then is tried anew; several times the round trip, and less than a second.',
  ),
  durability: option(
    oneOf('synced', 'acknowledged'),
    'synced',
    'For deferred requests. synced: each NATS server must sync to its disk what it acknowledges, which `monitor` proves; acknowledged: what a majority of NATS has taken counts as stored, synced to its disks or not (`sync_interval`).',
  ),
  monitor: optional(
    list(monitor, 100),
    'Monitoring addresses of all NATS servers: with `durability: synced` a start with deferred requests reads there whether each syncs what it acknowledges.',
    'none',
  ),
});

/** How replicas reach NATS, as read. */
export type ClusterOptions = ValueOf<typeof cluster>;

/** Replicas over NATS. */
export const clusterOptions = refine(cluster, checkCluster);

function checkCluster(value: Unverified<ClusterOptions>, report: ReportAt, written: ReadonlySet<string>): void {
  if (value.nats?.length === 0) report(['nats'], new ValueError('no NATS server is named', 'Write one URL or more.'));
  const logins = ['credentials', 'user', 'token'].filter((name) => written.has(name));
  if (logins.length > 1) report([logins[1] ?? ''], new ValueError(`${logins.join(' and ')} are two logins`, 'Keep one of them.'));
  if (written.has('password') !== written.has('user')) {
    const [has, lacks] = written.has('user') ? ['user', 'password'] : ['password', 'user'];
    report([has], new ValueError(`${has} stands without ${lacks}`, `Add cluster.${lacks}, or remove it.`));
  }
  const { cert, key } = value.tls ?? {};
  if ((cert === undefined) !== (key === undefined))
    report(['tls'], new ValueError('a certificate and its key go together', 'Give cluster.tls.cert and cluster.tls.key, or neither.'));
}
