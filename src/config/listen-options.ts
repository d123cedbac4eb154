import { ValueError } from './errors.ts';
import { string } from './scalars.ts';
import { type Field, list, option, optional, type ReportAt, refine, required, scalar, struct, type Unverified, type ValueOf } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';

/** Where a listener takes connections; port 0: any free one. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A path of a file, as the process sees it. */
export const filePath = string({ unit: 'file', pattern: /^[^\0\n]+$/, rule: 'A path; relative ones start at the working directory.', lengthMax: 4096 });

const tls = struct({
  cert: required(filePath, 'PEM file with the certificate and its chain.'),
  key: required(filePath, 'PEM file with the private key.'),
  clientCa: optional(filePath, 'PEM file: callers must show a certificate signed by one of these.', 'no client certificates'),
});

const address = scalar<Address | 'none'>({
  unit: 'address',
  bounds: 'a port, host:port, or none',
  json: { anyOf: [{ type: 'integer', minimum: 0, maximum: 65_535 }, { type: 'string' }] },
  read: readAddress,
});

/** `8080`, `127.0.0.1:9091`, `[::1]:9091`, `none`; a port alone means every IPv4 address. */
function readAddress(raw: SourceValue): Address | 'none' | ValueError {
  const fault = new ValueError(`${formatSourceValue(raw)} is not an address`, 'Write a port (8080), host:port (127.0.0.1:9091, "[::1]:9091"), or none.');
  if (raw.kind !== 'scalar' || raw.value === null || typeof raw.value === 'boolean') return fault;
  const value = String(raw.value);
  if (value === 'none') return 'none';
  const [, bracketed, plain, digits] = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):)?(\d{1,5})$/.exec(value) ?? [];
  const port = Number(digits);
  if (digits === undefined) return fault;
  return port <= 65_535
    ? { host: bracketed ?? plain ?? '0.0.0.0', port }
    : new ValueError(`port ${digits} is out of bounds`, 'Take 0 (any free port) to 65535.');
}

const listener = struct(
  {
    address: required(address, 'Port, host:port, or none for no such listener; a port alone means every IPv4 address.'),
    tls: optional(tls, 'Encrypts what this listener takes.', 'no TLS'),
  },
  { short: 'address' },
);

const hostName = string({
  unit: 'host name',
  pattern: /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/,
  rule: 'A name or an IPv4 address without a port, letters, digits, ".", "_" and "-".',
  lengthMax: 253,
});

/** Where the dashboard is; no part is `.` or `..`, none has to be encoded. */
const dashboardPath = string({
  unit: 'path',
  pattern: /^(?:none|\/|(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+\/?)$/,
  rule: '"/", a path such as /sluice, or none.',
  lengthMax: 128,
});

const adminListener = struct(
  {
    address: required(address, 'Port, host:port, or none. Beyond loopback only with `auth.keys` or `tls.clientCa`.'),
    tls: optional(tls, 'Encrypts what this listener takes.', 'no TLS'),
    hosts: option(
      list(hostName, 64),
      [],
      'Names in `Host` that are taken beside localhost and the addresses of loopback, so that no page in a browser reaches it by a name of its own. With `auth.keys` every name is.',
    ),
    dashboard: option(
      dashboardPath,
      '/',
      'Path of the dashboard, or none for no dashboard. Below it `/v1/` is answered too, so that a proxy may pass the path on as it came.',
    ),
  },
  { short: 'address' },
);

/** A listener as read. */
export type Listener = ValueOf<typeof listener>;

function at(fallback: number | string, about: string): Field<Listener> {
  return option(listener, fallback, about);
}

const listen = struct({
  api: at(8080, 'Connect, gRPC-Web and plain HTTP.'),
  grpc: at(9090, 'gRPC.'),
  health: at(9092, '/livez, /readyz (also as /healthz) and /metrics.'),
  admin: option(adminListener, '127.0.0.1:9091', 'Calls of operators; where `auth` is missing, the only place that answers them.'),
  proxy: at('none', 'Requests that are held, admitted, and sent on by `routes`.'),
  gatewayQueue: at('none', 'Shards of a Discord application that wait for their start: any request is held until `gatewayQueue` lets it go.'),
});

type ListenOptions = ValueOf<typeof listen>;

/** Every listener; each speaks one set of protocols. */
export const listenOptions = refine(listen, checkPorts);

/** Every listener that has an address. */
export const LISTENERS = ['api', 'grpc', 'proxy', 'health', 'admin', 'gatewayQueue'] as const;

function checkPorts(listen: Unverified<ListenOptions>, report: ReportAt): void {
  const taken = new Map<number, { readonly name: string; readonly host: string }[]>();
  for (const name of LISTENERS) {
    const wanted = listen[name]?.address;
    if (wanted === undefined || wanted === 'none' || typeof wanted === 'string' || !wanted.port) continue;
    const host = wanted.host ?? '';
    const others = taken.get(wanted.port) ?? [];
    const clash = others.find((other) => other.host === host || isEvery(other.host) || isEvery(host));
    if (clash !== undefined) report([name], new ValueError(`${name} and ${clash.name} both want port ${wanted.port}`, 'Give each listener a port of its own.'));
    taken.set(wanted.port, [...others, { name, host }]);
  }
}

function isEvery(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** Reports a listener of operators that a network reaches and that demands no credential. */
export function checkAdmin(admin: Unverified<ListenOptions>['admin'], hasKeys: boolean, report: ReportAt): void {
  const address = admin?.address;
  if (address === undefined || address === 'none' || hasKeys || admin?.tls?.clientCa !== undefined) return;
  const { host } = address;
  if (host === undefined || isLoopback(host)) return;
  const what = host === '0.0.0.0' ? 'every IPv4 address (a port alone is that)' : host;
  report([], new ValueError(`operators would be answered on ${what} without a credential`, 'Set auth.keys or tls.clientCa, or listen on 127.0.0.1:9091.'));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
