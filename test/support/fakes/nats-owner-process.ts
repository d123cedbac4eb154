/* Starts a server, says where, and waits to be killed. Started by tests: node nats-owner-process.ts BINARY */
import { startNats } from './nats-server.ts';

const { pid, folder, monitorPort } = await startNats({ binary: process.argv[2] as string });
process.stdout.write(`${JSON.stringify({ pid, folder, monitorPort })}\n`);
