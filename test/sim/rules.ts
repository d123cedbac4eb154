/** One rule taken out on purpose: in `file` under src/, `from` (which must be there once) becomes `to`. */
export interface Removed {
  /** Names the mutant, in `test/mutants.json` and for `npm run faults -- --mutant`. */
  readonly name: string;
  readonly rule: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Another place of the same rule in the same file. */
  readonly also?: { readonly from: string; readonly to: string };
  /** The broken promise shows only with real gates. */
  readonly gates?: boolean;
  /** Where to begin: a seed that showed it when this was written. */
  readonly seed: number;
}

/** Returns the text of `file` with the rule taken out. Throws if the code has changed around it. */
export function without({ file, from, to, also }: Pick<Removed, 'file' | 'from' | 'to' | 'also'>, text: string): string {
  if (text.split(from).length !== 2)
    throw new Error(`src/${file} does not say once: ${from}\nThe code has changed: take the rule out where it is written now.`);
  const changed = text.replace(from, () => to);
  return also === undefined ? changed : without({ file, ...also }, changed);
}

/** An owner that decides so many microseconds past its `until`, in the simulation (`right`) and in the server (`until`). */
function late(name: string, by: number, seed: number): Removed {
  return {
    ...{ name, seed, file: 'coordination/ownership/owned-shards.ts' },
    rule: `slots end: nothing is decided ${by} us past \`until\``,
    from: 'if (at < ownership.from || at >= ownership.until) return undefined;',
    to: `if (at < ownership.from || at >= ownership.until + ${by}) return undefined;`,
    also: { from: 'return DISTANT_PAST;\n    return ownership.until;', to: `return DISTANT_PAST;\n    return plus(ownership.until, ${by});` },
  };
}

/** Rules that no seed of the simulation needs: what finds each of them out is in `test/mutants.json`. */
export const unseen: readonly Removed[] = [
  {
    name: 'renewal-of-any-term',
    rule: 'term tag: a renewal gives slots only to the term that it names',
    file: 'coordination/ownership/owned-shards.ts',
    from: 'if (ownership?.term === term) ownership.until',
    to: 'if (ownership !== undefined) ownership.until',
    seed: 1,
  },
  {
    name: 'clock-without-last-record',
    rule: 'a clock is never behind what its last owner wrote',
    file: 'coordination/ownership/ownership-record.ts',
    from: 'clock = later(clock, entry.at);',
    to: '',
    seed: 1,
  },
  {
    name: 'reload-in-process-time',
    rule: 'a reload asks each tree for the right to decide in the time of its shard',
    file: 'admission/reconfigure.ts',
    from: 'tree.turn.awaitTerm(tree.now()) ?? []',
    to: 'tree.turn.awaitTerm(outsideTime(tree)) ?? []',
    seed: 1,
  },
];

/** The rules that the protocol stands on, docs/design/coordination.md 2 and 3: without any one of them the simulation must fail. */
export const removed: readonly Removed[] = [
  {
    name: 'no-slot-wait',
    rule: 'slot wait: a term begins where the slots of a dead owner end',
    file: 'coordination/ownership/ownership-record.ts',
    from: 'from = later(from, entry.until);',
    to: '',
    seed: 1,
  },
  {
    name: 'no-record-votes',
    rule: 'no record, no vote: a session whose record is lost cannot be revoked',
    file: 'coordination/membership/revocation.ts',
    from: 'if (answer.value === undefined) return this.#writeTombstone(peer, 0, reading);',
    to: 'if (answer.value === undefined) return void this.#deps.peers.end(peer.session, { own: [] }, reading.mono);',
    seed: 8,
  },
  {
    name: 'no-drift',
    rule: 'drift: evidence of a clock gets weaker with age',
    file: 'coordination/clocks/clock-bounds.ts',
    from: 'this.#offset - DRIFT_MAX * (now - this.#at)',
    to: 'this.#offset',
    seed: 2,
  },
  {
    name: 'evidence-of-any-term',
    rule: 'term tag: evidence of one term says nothing about another',
    file: 'coordination/clocks/clock-bounds.ts',
    from: 'if (known?.term !== term) return undefined;',
    to: 'if (known === undefined) return undefined;',
    seed: 13,
  },
  {
    name: 'bound-of-any-term',
    rule: 'term tag: the bound of a new term does not go on from the old one',
    file: 'coordination/clocks/clock-bounds.ts',
    from: 'known?.term === term ? known.bound',
    to: 'known !== undefined ? known.bound',
    seed: 1,
  },
  {
    name: 'fences-without-term',
    rule: 'fences carry their term',
    file: 'core/gate/grants.ts',
    from: 'return (this.term << SERIAL_BITS) | BigInt(serial - this.#serialBase);',
    to: 'return BigInt(serial - this.#serialBase);',
    gates: true,
    seed: 1,
  },
  {
    name: 'slots-never-end',
    rule: 'slots end: nothing is decided from `until` on',
    file: 'coordination/ownership/owned-shards.ts',
    from: 'if (at < ownership.from || at >= ownership.until) return undefined;',
    to: 'if (at < ownership.from) return undefined;',
    also: { from: 'return DISTANT_PAST;\n    return ownership.until;', to: 'return DISTANT_PAST;\n    return plus(DISTANT_PAST, Number.MAX_SAFE_INTEGER);' },
    seed: 1,
  },
  late('late-50ms', 50_000, 1),
  late('late-1s', 1_000_000, 1),
  {
    name: 'slots-never-begin',
    rule: 'slots begin: nothing is decided before `from`',
    file: 'coordination/ownership/owned-shards.ts',
    from: 'if (at < ownership.from || at >= ownership.until) return undefined;',
    to: 'if (at >= ownership.until) return undefined;',
    seed: 1,
  },
  {
    name: 'unacknowledged-renewals',
    rule: 'only an acknowledged renewal makes slots ours',
    file: 'coordination/membership/session.ts',
    from: "if (answer.kind !== 'changed') return;",
    to: "if (answer.kind !== 'changed') return this.#deps.callbacks.renewed(record.own);",
    seed: 1,
  },
  {
    name: 'revoked-by-reading',
    rule: 'only a changed register revokes: what was read may be old',
    file: 'coordination/membership/revocation.ts',
    from: "if (changed.kind === 'changed') peers.end",
    to: 'peers.end',
    seed: 1,
  },
  {
    name: 'claimed-without-cas',
    rule: 'a claim is compare-and-set: one that failed is no claim',
    file: 'coordination/ownership/claims.ts',
    from: "if (answer.kind !== 'changed') {",
    to: `if (answer.kind === 'changed') this.#vacancies.delete(shard);
      else host.gained(shard, record, 1, claimed, reading);
      if (answer.kind !== 'changed') {`,
    seed: 1,
  },
  {
    name: 'views-go-back',
    rule: 'reads may lag: what is known of a shard never goes back to an older term',
    file: 'coordination/ownership/ownership-cache.ts',
    from: 'if (known?.record !== undefined && (record === undefined || record.term <= known.record.term)) return known;',
    to: 'if (known?.record !== undefined && record === undefined) return known;',
    seed: 8,
  },
  {
    name: 'decides-after-halt',
    rule: 'who hands over stops first',
    file: 'coordination/ownership/owned-shards.ts',
    from: "if (ownership === undefined || ownership.phase === 'halted' || ownership.phase === 'sealed') return undefined;",
    to: 'if (ownership === undefined) return undefined;',
    seed: 1,
  },
  {
    name: 'moving-shard-unrecorded',
    rule: 'a shard stays in the session record until its register names another',
    file: 'coordination/ownership/owned-shards.ts',
    from: 'return [...this.#shards.values()].map(({ shard, term, clock, until }) => {',
    to: "return [...this.#shards.values()].filter(({ phase }) => phase === 'owned').map(({ shard, term, clock, until }) => {",
    gates: true,
    seed: 24,
  },
  {
    name: 'channel-repeats',
    rule: 'a channel delivers once',
    file: 'relay/transport/channel.ts',
    from: 'if (frame.seq <= this.#delivered || frame.seq > this.#delivered + FRAMES_MAX) {',
    to: `if (frame.seq <= this.#delivered) return frame.ops;
    if (frame.seq > this.#delivered + FRAMES_MAX) {`,
    seed: 1,
  },
  {
    name: 'channel-reorders',
    rule: 'a channel delivers in order',
    file: 'relay/transport/channel.ts',
    from: 'this.#early.set(frame.seq, frame.ops);',
    to: `if (frame.seq > this.#delivered + 1) {
      this.#delivered = frame.seq;
      return frame.ops;
    }
    this.#early.set(frame.seq, frame.ops);`,
    seed: 1,
  },
  {
    name: 'channel-never-resends',
    rule: 'a channel sends again what was not acknowledged',
    file: 'relay/transport/channel.ts',
    from: 'if (mono - sent.sentAt >= RETRANSMIT_AFTER) this.#put(seq, sent, mono);',
    to: 'if (mono - sent.sentAt >= RETRANSMIT_AFTER) sent.sentAt = mono;',
    seed: 42,
  },
  {
    name: 'agreed-time-exact',
    rule: 'cold start: what clocks agree on may be off twice, by taker and dead owner',
    file: 'coordination/ownership/ownership-record.ts',
    from: 'return plus(at, Math.floor(Math.max(0, agreed - wall - 2 * AGREED_WITHIN) * (1 - DRIFT_MAX)));',
    to: 'return plus(at, Math.max(0, agreed - wall));',
    seed: 1,
  },
  {
    name: 'old-revision-keeps',
    rule: 'who runs by an older configuration gives everything to who runs by the newest',
    file: 'coordination/ownership/rebalance.ts',
    from: 'leaving: leaving || revision < newest',
    to: 'leaving',
    seed: 1,
  },
];
