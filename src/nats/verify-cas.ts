import type { StreamSubject } from './layout.ts';
import { NatsUnsupported } from './options.ts';
import { type StreamClient, WrongLastSequence } from './stream-client.ts';

/** Writers that want to follow the same message. */
const RACERS = 6;

/** How often, and for how long at most: a busy cluster must not hold up the start. */
const RACE = { rounds: 30, ms: 1500 } as const;

/**
 * Lets six writers race for each next message of a subject, the way owners race for a shard. Two winners in a round mean
 * that the servers do not compare when they apply (nats-server before 2.9.21 on replicated streams: 75 of 300 rounds), and
 * that nothing here would be safe: {@link NatsUnsupported}. Answers the rounds that were won: none while no server answers, which
 * is no verdict.
 */
export async function verifyCompareAndSet(records: readonly Pick<StreamClient, 'write' | 'newest'>[], place: StreamSubject): Promise<number> {
  const until = performance.now() + RACE.ms;
  const some = records[0];
  if (some === undefined) return 0;
  const newest = async (): Promise<number> => (await some.newest(place).catch(() => undefined))?.sequence ?? 0;
  let last = await newest();
  let won = 0;
  for (let round = 0; round < RACE.rounds && performance.now() < until; round++) {
    const writes = Array.from({ length: RACERS }, (_, index) => (records[index % records.length] ?? some).write(place, Uint8Array.of(index), last));
    const ends = await Promise.allSettled(writes);
    const winners = ends.filter((end) => end.status === 'fulfilled');
    if (winners.length > 1) {
      throw new NatsUnsupported(
        `NATS let ${winners.length} writers follow the same message of ${place.stream}; it cannot keep replicas apart. Upgrade every server of it.`,
      );
    }
    if (winners[0] !== undefined) {
      last = winners[0].value;
      won++;
    } else if (ends.some((end) => end.status === 'rejected' && end.reason instanceof WrongLastSequence)) {
      // Another replica races here too, or what was read was old.
      last = await newest();
    }
  }
  return won;
}
