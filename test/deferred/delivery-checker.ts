/** What a client was told, in the order of the answers. Times are of one monotonic clock, in milliseconds. */
export interface Acknowledged {
  readonly key: string;
  readonly id: string;
  readonly body: string;
  readonly at: number;
}

/** What a backend got. */
export interface Delivered {
  readonly key: string;
  readonly attempt: number;
  readonly body: string;
  readonly at: number;
}

/** An end as the receiver of callbacks got it. */
export interface Reported {
  /** Of the request that ended. */
  readonly id: string;
  readonly state: string;
  /** `webhook-id`: by it a receiver knows a repeat. */
  readonly webhook: string;
  readonly at: number;
}

/** What happened, as client and backend wrote it down. */
export interface DeliveryHistory {
  readonly acknowledged: readonly Acknowledged[];
  readonly delivered: readonly Delivered[];
  /** When the server was killed. */
  readonly kills: readonly number[];
  /** Where several deliver: times in which one of them was taken for dead that was not killed. What it had on its way is delivered by another too. */
  readonly silences?: readonly { readonly from: number; readonly until: number }[];
}

/** A repeat may belong to a kill so long before it: armed, killed, started, sent. */
const REPEAT_WITHIN_MS = 60_000;

/**
 * Judges a run by the logs of clients and backend alone: every acknowledged request was delivered, with its bytes; one that was
 * delivered again had been on its way when the server was killed, and said so by a higher attempt number under the same key.
 * Returns what is wrong.
 */
export function checkDeliveries({ acknowledged, delivered, kills, silences = [] }: DeliveryHistory): readonly string[] {
  const wrong: string[] = [];
  const byKey = new Map<string, Delivered[]>();
  for (const each of delivered) byKey.set(each.key, [...(byKey.get(each.key) ?? []), each]);
  const ids = new Map<string, string>();
  for (const { key, id, body } of acknowledged) {
    const before = ids.get(key);
    if (before !== undefined && before !== id) wrong.push(`key ${key} was acknowledged as ${before} and as ${id}`);
    ids.set(key, id);
    const seen = byKey.get(key);
    if (seen === undefined) wrong.push(`acknowledged and lost: ${key} (${id})`);
    else if (seen.some((each) => each.body !== body)) wrong.push(`${key} was delivered with other bytes`);
  }
  for (const [key, seen] of byKey) {
    let last = 0;
    for (const [index, { attempt, at }] of seen.entries()) {
      if (attempt <= last) wrong.push(`${key} was delivered as attempt ${attempt} after ${last}`);
      last = Math.max(last, attempt);
      if (index === 0) continue;
      const previous = seen[index - 1] as Delivered;
      const killed = kills.some((kill) => kill >= previous.at - 50 && kill <= at && at - kill < REPEAT_WITHIN_MS);
      const silent = silences.some(({ from, until }) => from <= at && until >= previous.at - 50 && at - from < REPEAT_WITHIN_MS);
      if (!killed && !silent) wrong.push(`${key} was delivered twice without a kill between`);
    }
  }
  return wrong;
}

/**
 * Judges callbacks by what their receiver got: the end of every one of these requests was reported at least once, each time under the
 * same `webhook-id`, and as the same end. Returns what is wrong.
 */
export function checkCallbacks(asked: readonly Acknowledged[], reported: readonly Reported[]): readonly string[] {
  const wrong: string[] = [];
  const byId = Map.groupBy(reported, ({ id }) => id);
  for (const { key, id } of asked) {
    const seen = byId.get(id) ?? [];
    if (seen.length === 0) wrong.push(`the end of ${key} (${id}) was never reported`);
    const webhooks = new Set(seen.map(({ webhook }) => webhook));
    if (webhooks.size > 1) wrong.push(`the end of ${key} was reported as ${[...webhooks].join(' and as ')}`);
    const states = new Set(seen.map(({ state }) => state));
    if (states.size > 1) wrong.push(`${key} was reported ${[...states].join(' and ')}`);
  }
  return wrong;
}

/** How many first deliveries came in another order than their requests were accepted; `allowed` neighbours may swap. */
export function outOfOrder(history: DeliveryHistory, allowed: number): number {
  return lateDeliveries(history, allowed).length;
}

/**
 * First deliveries that came after one of a request that was accepted more than `allowed` later. A higher attempt than the first was begun
 * in its order before, and did not come to the backend: its sender was killed.
 */
export function lateDeliveries({ acknowledged, delivered }: DeliveryHistory, allowed: number): readonly Delivered[] {
  const sequence = new Map(acknowledged.map(({ key, id }) => [key, id.split('-', 1)[0] ?? '']));
  const order = [...sequence].sort(([, a], [, b]) => a.length - b.length || (a < b ? -1 : 1)).map(([key]) => key);
  const rank = new Map(order.map((key, index) => [key, index]));
  const firsts = new Map<string, Delivered>();
  for (const each of delivered) if (!firsts.has(each.key)) firsts.set(each.key, each);
  const late: Delivered[] = [];
  let highest = -1;
  for (const [key, each] of firsts) {
    const place = rank.get(key);
    if (place === undefined) continue;
    if (place < highest - allowed) late.push(each);
    highest = Math.max(highest, place);
  }
  return late;
}
