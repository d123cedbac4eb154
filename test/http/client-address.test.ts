import { BlockList } from 'node:net';
import { describe, expect, test } from 'vitest';
import { clientAddress } from '../../src/http/client-address.ts';

const trusted = new BlockList();
trusted.addSubnet('10.0.0.0', 8, 'ipv4');
trusted.addSubnet('fd00::', 8, 'ipv6');

function client(remote: string, headers: Readonly<Record<string, string>> = {}): string {
  return clientAddress(remote, { header: (name) => headers[name] }, trusted).clientIp;
}

describe('the client is', () => {
  const cases: readonly (readonly [says: string, remote: string, headers: Readonly<Record<string, string>>, client: string])[] = [
    ['the other end', '1.2.3.4', {}, '1.2.3.4'],
    ['the other end in IPv6 clothes', '::ffff:1.2.3.4', {}, '1.2.3.4'],
    ['the other end, whatever it says, unless it is trusted', '1.2.3.4', { 'x-forwarded-for': '6.6.6.6' }, '1.2.3.4'],
    ['whom a trusted proxy names', '10.1.1.1', { 'x-forwarded-for': '5.5.5.5' }, '5.5.5.5'],
    ['the last that no trusted proxy has, not what it claims for others', '10.1.1.1', { 'x-forwarded-for': '6.6.6.6, 5.5.5.5, 10.2.2.2' }, '5.5.5.5'],
    ['the first where all are trusted', '10.1.1.1', { 'x-forwarded-for': '10.3.3.3, 10.2.2.2' }, '10.3.3.3'],
    ['the last that can be read', '10.1.1.1', { 'x-forwarded-for': '5.5.5.5, unknown, 10.2.2.2' }, '10.2.2.2'],
    ['without its port and brackets', '10.1.1.1', { 'x-forwarded-for': '[2001:db8::1]:99' }, '2001:db8::1'],
    ['without its port', '10.1.1.1', { 'x-forwarded-for': '5.5.5.5:99' }, '5.5.5.5'],
    ['whom Forwarded names', 'fd00::1', { forwarded: 'for=6.6.6.6;proto=https, For="[2001:db8::1]:99";by=10.0.0.1' }, '2001:db8::1'],
    ['the proxy where it says nothing', '10.1.1.1', {}, '10.1.1.1'],
  ];
  test.each(cases)('%s', (_says, remote, headers, expected) => {
    expect(client(remote, headers)).toBe(expected);
  });
});
