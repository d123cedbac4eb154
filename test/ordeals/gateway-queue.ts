import { killPlay } from '../gateway-queue/plays.ts';
import { check, type Ordeal } from './ordeal.ts';

const TIMES = Number(process.env['SLUICE_TIMES'] ?? 20);

/** The gateway queue is killed while shards queue, so many times in a row; a fake of Discord judges what they do. */
export const gatewayQueue: Ordeal = {
  name: 'gateway-queue',
  about: `${TIMES} times: 16 shards of 4 buckets queue, kill -9 and a start in the middle; no bucket twice in 5 s, and the session starts exact`,
  lacks: () => undefined,
  run: async (say) => {
    for (let time = 1; time <= TIMES; time++) {
      const { identifies, left, failures } = await killPlay(() => {});
      check(identifies === 16, `${identifies} of 16 shards identified`);
      check(left[0] === left[1], `Discord has ${left[0]} session starts left, the server ${left[1]}`);
      say(`${time} of ${TIMES}: 16 identified, ${left[1]} session starts are left at both, ${failures} connections queued again`);
    }
  },
};
