import { Backends } from './backends.ts';
import type { Forwarder } from './forwarder.ts';
import type { ForwardEvent } from './forwarding.ts';
import type { BackendSpec } from './route.ts';

/** One backend at work: its description, the choice of its URLs, and who sends. */
export interface BackendLine {
  readonly spec: BackendSpec;
  readonly choice: Backends;
  readonly forwarder: Forwarder;
}

/** Joins the backends with their forwarders, by name. */
export function backendLines(
  specs: readonly BackendSpec[],
  make: (spec: BackendSpec) => Forwarder,
  tell: (event: ForwardEvent) => void,
): ReadonlyMap<string, BackendLine> {
  const lines = new Map<string, BackendLine>();
  for (const spec of specs) {
    const choice = new Backends(spec, ({ kind, url }) => tell({ kind, backend: spec.name, url: spec.urls[url] ?? '' }));
    lines.set(spec.name, { spec, choice, forwarder: make(spec) });
  }
  return lines;
}
