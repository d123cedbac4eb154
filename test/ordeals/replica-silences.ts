/** A time in which others took a replica for dead; milliseconds of one monotonic clock. */
export interface Silence {
  readonly replica: string;
  readonly from: number;
  readonly until: number;
}

/**
 * Reads from the logs of replicas (each line after CLOCK_MONOTONIC in seconds) when one was taken for dead that was not killed: its
 * process stood still on a busy machine, or its connections did. Until it is back it may send what another sends too.
 * `killed`: times in which a replica was down.
 */
export function silencesOf(logs: readonly string[], killed: readonly Silence[]): readonly Silence[] {
  const found: Silence[] = [];
  for (const log of logs) {
    const lost = new Map<string, { replica: string; from: number }>();
    const ends = (instance: string, until: number): void => {
      const known = lost.get(instance);
      lost.delete(instance);
      if (known === undefined) return;
      const down = killed.some(({ replica, from, until: up }) => replica === known.replica && known.from >= from && known.from <= up);
      if (!down) found.push({ ...known, until });
    };
    for (const line of log.split('\n')) {
      const [, seconds, text] = /^([\d.]+) (\{.*"event":"peer_(?:lost|joined)".*\})$/.exec(line) ?? [];
      if (text === undefined) continue;
      const { event, replica, instance } = JSON.parse(text) as { event: string; replica: string; instance: string };
      const at = Number(seconds) * 1_000;
      if (event === 'peer_joined') ends(instance, at);
      else lost.set(instance, { replica, from: at });
    }
    for (const instance of [...lost.keys()]) ends(instance, Number.POSITIVE_INFINITY);
  }
  return found;
}
