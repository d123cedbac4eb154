import { BlockList } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { ClientLimiter, isTrustedProxy } from '../../src/http/client-limiter.ts';
import { type ProxyRig, proxyRig } from '../proxy/listener/rig.ts';

/* One client does not take all there is. */

let rig: ProxyRig | undefined;
afterEach(async () => {
  await rig?.stop();
  rig = undefined;
});

const config = (trusted: string): string => `bounds: { perClient: 3 }
backends: { shop: { urls: [ BACKEND ] } }
groups: { slots: { limits: [ { name: slots, concurrency: 1 } ], refusal: { status: 429 } } }
routes: [ { group: slots, backend: shop, trustedProxies: [ ${trusted} ] } ]
`;

const clientLimit = async (of: ProxyRig, what: string): Promise<number> => {
  const text = await (await fetch(`http://${of.running.addresses['health']}/metrics`)).text();
  return Number(new RegExp(`sluice_forward_client_limit_total\\{what="${what}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
};

const GET = (client: string): string => `GET /x HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: ${client}\r\n\r\n`;

test('connections of one address beyond its bound are closed; one that ends makes room; what they claim does not count', async () => {
  rig = await proxyRig(config(''));
  const wires = await Promise.all([0, 1, 2].map(() => (rig as ProxyRig).wire()));
  for (const wire of wires) {
    wire.write(GET('203.0.113.9'));
    await wire.until((received) => received.endsWith('ok'));
  }
  const fourth = await rig.wire();
  fourth.write(GET('203.0.113.10'));
  expect(await fourth.untilClosed()).toBe('');
  expect([rig.backend.seen.length, await clientLimit(rig, 'connection')]).toEqual([3, 1]);
  wires[0]?.write('GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
  await wires[0]?.untilClosed();
  const fifth = await rig.wire();
  fifth.write(GET('203.0.113.9'));
  await fifth.until((received) => received.endsWith('ok'));
});

test('a trusted proxy may have more; the requests of each of its clients under way are bounded, waiting ones too', async () => {
  const held: (() => void)[] = [];
  rig = await proxyRig(config('127.0.0.0/8'), (_request, socket) => void held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')));
  const ofOne = await Promise.all([0, 1, 2, 3].map(() => (rig as ProxyRig).wire()));
  for (const wire of ofOne.slice(0, 3)) wire.write(GET('203.0.113.9'));
  await rig.shows('slots', { leases: 1, waiting: 2 });
  ofOne[3]?.write(GET('203.0.113.9'));
  const refused = (await ofOne[3]?.until((received) => received.includes('\r\n\r\n'))) ?? '';
  expect(refused).toMatch(/^HTTP\/1\.1 429 [\s\S]*Sluice-Reason: shed\r\n[\s\S]*Retry-After: 1\r\n/);
  expect(await clientLimit(rig, 'request')).toBe(1);
  const other = await rig.wire();
  other.write(GET('203.0.113.10'));
  const itself = await rig.wire();
  itself.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1, waiting: 4 });
  ofOne[2]?.destroy();
  await rig.shows('slots', { leases: 1, waiting: 3 });
  const again = await rig.wire();
  again.write(GET('203.0.113.9'));
  await rig.shows('slots', { leases: 1, waiting: 4 });
  expect(await clientLimit(rig, 'request')).toBe(1);
});

describe('a count', () => {
  test('takes a /64 of IPv6 for one, however it is written, and forgets who has nothing', () => {
    const clientLimiter = new ClientLimiter(2);
    const ends = ['2001:db8::1', '2001:DB8:0:0:ffff::2'].map((address) => clientLimiter.enter(address));
    expect([clientLimiter.enter('2001:db8:0:0:1:2:3:4'), clientLimiter.size]).toEqual([undefined, 1]);
    expect([clientLimiter.enter('2001:db8:0:1::1'), clientLimiter.enter('::1'), clientLimiter.enter('192.0.2.1')].every((each) => each !== undefined)).toBe(
      true,
    );
    for (const end of ends) end?.();
    expect([clientLimiter.size, clientLimiter.enter('2001:db8::3') !== undefined]).toEqual([3, true]);
  });

  test('a peer is trusted where any route trusts it', () => {
    const list = new BlockList();
    list.addSubnet('10.0.0.0', 8, 'ipv4');
    const trusted = isTrustedProxy([new BlockList(), list]);
    expect(['10.1.2.3', '11.1.2.3', ''].map(trusted)).toEqual([true, false, false]);
  });
});
