import { type BlockList, isIP } from 'node:net';

/** Who is at the other end, and for whom it speaks. */
export interface ClientAddress {
  /** The other end of the connection. */
  readonly peerIp: string;
  readonly peerTrusted: boolean;
  /** The nearest address on the way that no trusted proxy has. */
  readonly clientIp: string;
}

/** Where header fields are found. */
export interface HeaderSource {
  /** By lower-case name; repeated ones joined by `, `. */
  header(name: string): string | undefined;
}

/**
 * Finds the client behind trusted proxies: X-Forwarded-For, else Forwarded (RFC 7239), from its end on, since only what a
 * trusted proxy added can be believed.
 */
export function clientAddress(remote: string | undefined, head: HeaderSource, trusted: BlockList): ClientAddress {
  const peer = peerOf(remote ?? '', trusted);
  if (!peer.peerTrusted) return peer;
  const { peerIp, peerTrusted } = peer;
  let clientIp = peerIp;
  for (const said of forwardedFor(head).reverse()) {
    const address = plain(said);
    if (isIP(address) === 0) break;
    clientIp = address;
    if (!isTrusted(address, trusted)) break;
  }
  return { peerIp, peerTrusted, clientIp };
}

/** Peers come again with every request of a connection. */
const peers = new WeakMap<BlockList, Map<string, ClientAddress>>();
const PEERS_MAX = 10_000;

/** The other end by itself; of lists that do not change any more. */
function peerOf(remote: string, trusted: BlockList): ClientAddress {
  let known = peers.get(trusted);
  if (known === undefined) {
    known = new Map();
    peers.set(trusted, known);
  }
  let peer = known.get(remote);
  if (peer === undefined) {
    const peerIp = plain(remote);
    peer = { peerIp, peerTrusted: isTrusted(peerIp, trusted), clientIp: peerIp };
    if (known.size >= PEERS_MAX) known.clear();
    known.set(remote, peer);
  }
  return peer;
}

function forwardedFor(head: HeaderSource): string[] {
  const list = head.header('x-forwarded-for');
  if (list !== undefined) return list.split(',');
  const forwarded = head.header('forwarded');
  return forwarded === undefined
    ? []
    : [...forwarded.matchAll(/(?:^|[;,])\s*for\s*=\s*("[^"]*"|[^;,\s]+)/gi)].map(([, address = '']) => address.replaceAll('"', ''));
}

/** Without port, brackets, zone, and the form of IPv4 in IPv6. */
export function plain(said: string): string {
  const text = said.trim();
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1];
  const address = bracketed ?? (/^\d+\.\d+\.\d+\.\d+:\d+$/.test(text) ? text.slice(0, text.indexOf(':')) : text);
  const zone = address.indexOf('%');
  return (zone < 0 ? address : address.slice(0, zone)).replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
}

/** Whether a plain address is in the list. */
export function isTrusted(address: string, trusted: BlockList): boolean {
  const version = isIP(address);
  return version !== 0 && trusted.check(address, version === 4 ? 'ipv4' : 'ipv6');
}
