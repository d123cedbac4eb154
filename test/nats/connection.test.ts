import { expect, test } from 'vitest';
import { reconnectDelays } from '../../src/nats/connection.ts';

const server = (listen: string) => ({ listen, hostname: '', port: 0, src: '', tlsName: '', reconnects: 0, lastConnect: 0, gossiped: false, didConnect: true });

test('Each server is dialled at once, and then every 50 to 70 ms, whatever the others are', () => {
  let time = 1_000;
  const { reconnectToServer, reconnectDelayHandler } = reconnectDelays(
    () => time,
    () => 0.5,
  );
  const delay = (listen: string) => reconnectToServer([server(listen)], null);
  expect(delay('a')).toMatchObject({ server: { listen: 'a' }, delay: 0 });
  expect(delay('b')).toMatchObject({ delay: 0 });
  expect(delay('a')).toMatchObject({ delay: 60 });
  time += 200;
  expect(delay('a')).toMatchObject({ delay: 0 });
  expect(reconnectToServer([], null)).toBeNull();
  // The client compares it with wall times.
  expect(reconnectDelayHandler() + Date.now()).toBeLessThan(0);
});
