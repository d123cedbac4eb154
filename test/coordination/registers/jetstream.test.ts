import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe } from 'vitest';
import { createLayout } from '../../../src/nats/layout.ts';
import { type NatsLink, openNats } from '../../../src/server/nats.ts';
import { registersSuite } from '../../conformance/registers.suite.ts';
import { natsVersions, showLogsOfFailures } from '../../support/fakes/nats.ts';
import { forgetStreams, natsOptions } from '../../support/fakes/nats-options.ts';
import { type NatsServer, startNats } from '../../support/fakes/nats-server.ts';

showLogsOfFailures();

describe.each(natsVersions())('on nats-server $version', ({ binary }) => {
  let server: NatsServer;
  beforeAll(async () => {
    server = await startNats({ binary: binary() });
  });
  afterAll(() => server?.clean());

  registersSuite('jetstream', async () => {
    const links: NatsLink[] = [];
    return {
      async open() {
        const link = await openNats(natsOptions([server.url]));
        links.push(link);
        return link.registers;
      },
      async damage(name) {
        const connection = await connect({ servers: server.url });
        await jetstream(connection).publish(createLayout('sluice').register(name).subject, 'another hand');
        await connection.close();
      },
      async end() {
        for (const link of links) await link.close();
        await forgetStreams([server.url]);
      },
    };
  });
});
