import { BlockList, type LookupFunction } from 'node:net';

/** Addresses no name of a backend may lead to: a cloud's metadata and other link-local ones, the unspecified one, multicast and broadcast. An address written in the file itself is used as it is. */
const FORBIDDEN = new BlockList();
FORBIDDEN.addSubnet('0.0.0.0', 8);
FORBIDDEN.addSubnet('169.254.0.0', 16);
FORBIDDEN.addSubnet('224.0.0.0', 3);
FORBIDDEN.addAddress('::', 'ipv6');
FORBIDDEN.addSubnet('fe80::', 10, 'ipv6');
FORBIDDEN.addSubnet('ff00::', 8, 'ipv6');
FORBIDDEN.addAddress('fd00:ec2::254', 'ipv6');

/** A lookup after which a name that leads anywhere forbidden is as good as none: an attacker who can change a DNS record must not reach what only this host can. */
export function guardedLookup(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, found, family) => {
      if (error !== null) return callback(error, found, family);
      const addresses = Array.isArray(found) ? found.map(({ address }) => address) : [found];
      if (!addresses.some(isForbidden)) return callback(null, found, family);
      const refusal = Object.assign(new Error(`${hostname} leads to an address that no backend may have.`), { code: 'EADDRNOTAVAIL' });
      callback(refusal, found, family);
    });
  };
}

function isForbidden(address: string): boolean {
  const [bare = ''] = address.split('%', 1);
  return FORBIDDEN.check(bare, bare.includes(':') ? 'ipv6' : 'ipv4');
}
