import type { SourceNode } from '../source-node.ts';

/** Processors on one way of a request at most. */
const STEPS_MAX = 64;
/** Ways that one flow may branch into at most. */
const WAYS_MAX = 64;

/** A processor of a flow. */
export interface Processor {
  readonly name: string;
  readonly kind: string;
  readonly node: SourceNode;
  /** Values of its parameters by their keys; the last of a repeated one. */
  readonly parameters: ReadonlyMap<string, SourceNode>;
}

/** One way that a request may take through a flow to its provider. */
export interface Way {
  /** Queues and limiters, in order. */
  readonly steps: readonly Processor[];
  /** Headers that must be there, of filters that it passed. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Values that headers must not have. */
  readonly absent: readonly (readonly [name: string, value: string])[];
  /** What answers a request that is refused by the first of them that says so. */
  readonly refusal: Processor | undefined;
}

interface Edge {
  readonly condition: string | undefined;
  /** undefined: the end of the flow. */
  readonly to: string | undefined;
}

/** Reads the processors of a flow, by name. */
export function processorsOf(flow: SourceNode): ReadonlyMap<string, Processor> {
  const found = new Map<string, Processor>();
  const nodes = flow.get('processors');
  if (nodes === undefined || !nodes.isMap('the name of each processor with its kind and parameters')) return found;
  for (const [name, node] of nodes.entries()) {
    const kind = node.need('processor', 'Say what kind of processor it is: Queue.')?.text();
    const parameters = new Map<string, SourceNode>();
    const list = node.get('parameters');
    if (list?.isList('key and value of each parameter, after "- "')) {
      for (const item of list.items()) {
        const key = item.need('key', 'Name the parameter.')?.text();
        const value = item.get('value');
        if (key !== undefined && value !== undefined) parameters.set(key, value);
      }
    }
    if (kind !== undefined) found.set(name, { name, kind, node, parameters });
  }
  return found;
}

/** A flow that has no equivalent: `why`, at a key of it. */
export class NotExpressible {
  readonly why: string;

  constructor(why: string) {
    this.why = why;
  }
}

/** Follows the requests of a flow from its beginning to its end, past filters that look at one header. */
export function waysOf(flow: SourceNode, processors: ReadonlyMap<string, Processor>): readonly Way[] | NotExpressible {
  const request = flow.get('flow')?.get('request');
  const edges = request === undefined ? new NotExpressible('the flow says nothing of requests') : edgesOf(request, processors);
  if (edges instanceof NotExpressible) return edges;
  const walk = new Walk(edges, processors);
  const [first, ...more] = edges.get(START) ?? [];
  if (first === undefined || more.length > 0) return new NotExpressible('its requests do not begin at one step');
  return walk.go(first, { steps: [], headers: [], absent: [], refusal: undefined }) ?? walk.ways;
}

/** Ways that are found from a step on; each method returns why there is none, undefined where all is well. */
class Walk {
  readonly ways: Way[] = [];
  readonly #edges: ReadonlyMap<string, readonly Edge[]>;
  readonly #processors: ReadonlyMap<string, Processor>;

  constructor(edges: ReadonlyMap<string, readonly Edge[]>, processors: ReadonlyMap<string, Processor>) {
    this.#edges = edges;
    this.#processors = processors;
  }

  /** Follows an edge to the end of the flow. */
  go({ to }: Edge, way: Way): NotExpressible | undefined {
    if (way.steps.length + way.headers.length + way.absent.length > STEPS_MAX || this.ways.length >= WAYS_MAX)
      return new NotExpressible('its ways go in a circle, or there are too many');
    if (to === undefined) {
      this.ways.push(way);
      return undefined;
    }
    const processor = this.#processors.get(to);
    if (processor === undefined) return new NotExpressible(`there is no processor ${JSON.stringify(to)}`);
    if (processor.kind === 'Filter') return this.#branch(processor, way);
    if (processor.kind === 'Queue' || processor.kind === 'Limiter') return this.#hold(processor, way);
    if (processor.kind === 'GenerateResponse') return new NotExpressible(`${to} answers requests that nothing has refused`);
    const instead =
      processor.kind === 'AsyncQueue' ? 'write mode: deferred with answer: { shape: lunar } by hand, docs/deferred.md' : 'Sluice has no equivalent';
    return new NotExpressible(`${to} is of the kind ${processor.kind}: ${instead}`);
  }

  #hold(processor: Processor, way: Way): NotExpressible | undefined {
    const { name } = processor;
    if (way.steps.includes(processor)) return new NotExpressible('its ways go in a circle');
    const passes = this.#edge(name, ['allowed', 'below_limit', undefined]);
    const refuses = this.#edge(name, ['blocked', 'above_limit']);
    const answers = refuses?.to === undefined ? undefined : this.#processors.get(refuses.to);
    if (refuses !== undefined && answers?.kind !== 'GenerateResponse') return new NotExpressible(`a request that ${name} refuses goes on`);
    if (passes === undefined) return new NotExpressible(`nothing follows ${name}`);
    return this.go(passes, { ...way, steps: [...way.steps, processor], refusal: way.refusal ?? answers });
  }

  #branch({ name: at, parameters }: Processor, way: Way): NotExpressible | undefined {
    const wanted = parameters.get('header')?.raw;
    const text = wanted?.kind === 'scalar' ? String(wanted.value) : '';
    const [, name, value] = /^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,128})=([\x20-\x7e]{1,1024})$/.exec(text) ?? [];
    if (name === undefined || value === undefined || parameters.size !== 1)
      return new NotExpressible(`${at} looks at more than one header with its value (header: NAME=VALUE)`);
    const hit = this.#edge(at, ['hit']);
    const miss = this.#edge(at, ['miss']);
    if (hit === undefined || miss === undefined) return new NotExpressible(`${at} has not both ways, hit and miss`);
    const header = name.toLowerCase();
    const known = way.headers.find(([each]) => each === header);
    if (known !== undefined) return this.go(known[1] === value ? hit : miss, way);
    const without = way.absent.some(([each, not]) => each === header && not === value);
    if (without) return this.go(miss, way);
    return this.go(hit, { ...way, headers: [...way.headers, [header, value]] }) ?? this.go(miss, { ...way, absent: [...way.absent, [header, value]] });
  }

  #edge(from: string, conditions: readonly (string | undefined)[]): Edge | undefined {
    return this.#edges.get(from)?.find(({ condition }) => conditions.includes(condition));
  }
}

/** The beginning of a flow among the names of processors, which are not empty. */
const START = '';

/** Edges by the processor that they lead away from. */
function edgesOf(request: SourceNode, processors: ReadonlyMap<string, Processor>): ReadonlyMap<string, readonly Edge[]> | NotExpressible {
  if (!request.isList('from and to of each step, after "- "')) return new NotExpressible('the flow says nothing of requests');
  const edges = new Map<string, Edge[]>();
  for (const item of request.items()) {
    const from = item.need('from', 'Say where the request comes from.');
    const to = item.need('to', 'Say where it goes.');
    if (from === undefined || to === undefined) continue;
    if (from.get('flow') !== undefined || to.get('flow') !== undefined) return new NotExpressible('it is joined to another flow');
    const fromProcessor = from.get('processor');
    const at = fromProcessor?.get('name')?.text() ?? START;
    const target = to.get('processor')?.get('name');
    const name = target?.text();
    if (name !== undefined && !processors.has(name)) target?.mistake(`there is no processor ${JSON.stringify(name.slice(0, 60))}`, 'Name one of processors.');
    const list = edges.get(at) ?? [];
    list.push({ condition: fromProcessor?.get('condition')?.text(), to: name });
    edges.set(at, list);
  }
  return edges;
}
