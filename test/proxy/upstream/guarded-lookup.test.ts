import type { LookupFunction } from 'node:net';
import { describe, expect, test } from 'vitest';
import { guardedLookup } from '../../../src/proxy/upstream/guarded-lookup.ts';

type Found = { readonly address: string; readonly family: number };

/** What comes of a name that leads to these addresses. */
function lookedUp(addresses: readonly string[], all: boolean): Promise<string | readonly Found[]> {
  const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  const resolver: LookupFunction = (_name, _options, callback) => callback(null, all ? found : (found[0]?.address ?? ''), found[0]?.family);
  return new Promise((resolve, reject) => {
    guardedLookup(resolver)('shop', { all }, (error, result) => (error === null ? resolve(result) : reject(error)));
  });
}

describe('a name of a backend', () => {
  test.each(['10.0.0.1', '127.0.0.1', '192.168.1.1', '203.0.113.9', '169.253.255.255', '169.255.0.0', '::1', 'fd00::1', '2001:db8::1', '::ffff:10.0.0.1'])(
    'may lead to %s',
    async (address) => {
      expect(await lookedUp([address], false)).toBe(address);
      expect(await lookedUp([address], true)).toHaveLength(1);
    },
  );

  test.each([
    '169.254.169.254',
    '169.254.0.0',
    '0.0.0.0',
    '0.1.2.3',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'febf::1',
    'ff02::1',
    'fd00:ec2::254',
    'FD00:0EC2:0::254',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
  ])('may not lead to %s, alone or among others', async (address) => {
    await expect(lookedUp([address], false)).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
    await expect(lookedUp(['10.0.0.1', address], true)).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
  });

  test('that leads nowhere says so', async () => {
    const none: LookupFunction = (_name, _options, callback) => callback(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), '', 4);
    await expect(
      new Promise((resolve, reject) => guardedLookup(none)('shop', {}, (error) => (error === null ? resolve(0) : reject(error)))),
    ).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });
});
