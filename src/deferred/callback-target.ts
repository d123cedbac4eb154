import { BlockList } from 'node:net';
import type { Refusal } from '../core/refusal.ts';
import type { CallbackPolicy } from './deferred-route.ts';

/** Characters of the URL of a callback at most. */
export const CALLBACK_URL_LENGTH_MAX = 2_048;

/**
 * Addresses that no callback leads to, unless its route lists them: everything that the IANA registries of special-purpose addresses
 * (RFC 6890) do not call globally reachable, and every way to write an IPv4 address in IPv6. Not the list of backends, which are private on purpose.
 */
const PRIVATE = new BlockList();
/** A list by itself: a range of IPv4-mapped addresses in the same list would hold every IPv4 address. */
const PRIVATE_V6 = new BlockList();
for (const [address, bits] of [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
  ] as const),
  ...([
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
  ] as const),
] as const)
  PRIVATE.addSubnet(address, bits);
for (const [address, bits] of [
  // ::, ::1, IPv4-compatible and IPv4-mapped; NAT64, Teredo and others of 2001::/23, 6to4.
  ...([
    ['::', 96],
    ['::ffff:0:0', 96],
    ['::ffff:0:0:0', 96],
    ['64:ff9b::', 96],
    ['64:ff9b:1::', 48],
    ['100::', 64],
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
  ] as const),
  // Unique local, link-local, site-local, multicast.
  ...([
    ['3fff::', 20],
    ['5f00::', 16],
    ['fc00::', 7],
    ['fe80::', 10],
    ['fec0::', 10],
    ['ff00::', 8],
  ] as const),
] as const)
  PRIVATE_V6.addSubnet(address, bits, 'ipv6');

/** Whether a callback may not lead to this address. */
export function isRefusedAddress(address: string, allowed: BlockList): boolean {
  const [bare = ''] = address.split('%', 1);
  const family = bare.includes(':') ? 'ipv6' : 'ipv4';
  return (family === 'ipv6' ? PRIVATE_V6 : PRIVATE).check(bare, family) && !allowed.check(bare, family);
}

/** Returns the URL of a callback; or why a request that names it is refused. What its name leads to is looked at when it is called. */
export function callbackUrl(text: string, policy: CallbackPolicy | undefined): URL | Refusal {
  if (policy === undefined) return { reason: 'forbidden', detail: 'This route reports to no callbacks; see `callback` of the route.' };
  const url = text.length <= CALLBACK_URL_LENGTH_MAX && /^[\x21-\x7e]+$/.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '' || url.hash !== '')
    return {
      reason: 'malformed',
      detail: `A callback must be an http or https URL without credentials and fragment, of at most ${CALLBACK_URL_LENGTH_MAX} characters.`,
    };
  if (url.protocol === 'http:' && !policy.plainHttp) return { reason: 'forbidden', detail: 'Callbacks of this route need https.' };
  const name = url.hostname.toLowerCase().replace(/\.$/, '');
  if (!policy.hosts.some((pattern) => fits(pattern, name, url.port))) return { reason: 'forbidden', detail: 'This route allows no callback to this host.' };
  const literal = /^\[.*\]$/.test(name) ? name.slice(1, -1) : /^[\d.]+$/.test(name) ? name : undefined;
  if (literal !== undefined && isRefusedAddress(literal, policy.addresses))
    return { reason: 'forbidden', detail: 'A callback may not lead to a private address.' };
  return url;
}

function fits(pattern: string, name: string, port: string): boolean {
  if (pattern === '*') return true;
  const [, host = pattern, wanted] = /^(.*?)(?::(\d{1,5}))?$/.exec(pattern) ?? [];
  if (wanted !== undefined && wanted !== port) return false;
  return host.startsWith('*.') ? name.length > host.length - 1 && name.endsWith(host.slice(1)) : name === host;
}
