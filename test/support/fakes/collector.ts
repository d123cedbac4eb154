import { createServer, type Server } from 'node:http';

/** A span as a collector receives it. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '' for the first span of a trace. */
  readonly parentId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** `traceId-spanId` of each link. */
  readonly links: readonly string[];
  /** 2: an error. */
  readonly status: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Attributes of the process that sent it. */
  readonly resource: Readonly<Record<string, string | number | boolean>>;
}

/** A collector of OpenTelemetry on loopback: takes spans by OTLP over HTTP, in protobuf, and answers `status`. */
export class Collector {
  readonly spans: ReceivedSpan[] = [];
  /** Paths and content types of what came. */
  readonly posts: string[] = [];
  status = 200;
  readonly #server: Server;
  readonly #waiting = new Set<() => void>();

  private constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.posts.push(`${request.method} ${request.url} ${request.headers['content-type']}`);
        if (this.status === 200) this.spans.push(...spansOf(Buffer.concat(chunks)));
        response.writeHead(this.status, { 'Content-Type': 'application/x-protobuf' }).end();
        for (const look of [...this.#waiting]) look();
      });
    });
  }

  static async open(): Promise<Collector> {
    const collector = new Collector();
    await new Promise<void>((resolve) => collector.#server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  /** Resolves with the spans once `enough` says so; looks again whenever some came. */
  async until(enough: (spans: readonly ReceivedSpan[]) => boolean): Promise<readonly ReceivedSpan[]> {
    if (!enough(this.spans)) {
      await new Promise<void>((resolve) => {
        const look = (): void => {
          if (!enough(this.spans)) return;
          this.#waiting.delete(look);
          resolve();
        };
        this.#waiting.add(look);
      });
    }
    return this.spans;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}

/** A field of a protobuf message: a length-delimited one as bytes, any other as a number. */
type Field = readonly [number: number, value: Buffer | bigint];

/** Reads the fields of one message; as much of protobuf as OTLP needs. */
function* fieldsOf(bytes: Buffer): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] as number;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const [number, wire] = [tag >> 3, tag & 7];
    if (wire === 0) yield [number, varint()];
    else if (wire === 1) {
      yield [number, bytes.readBigUInt64LE(at)];
      at += 8;
    } else if (wire === 5) {
      yield [number, BigInt(bytes.readUInt32LE(at))];
      at += 4;
    } else {
      const length = Number(varint());
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

/** The values of a repeated message field. */
function all(bytes: Buffer, wanted: number): readonly Buffer[] {
  return [...fieldsOf(bytes)].flatMap(([number, value]) => (number === wanted && typeof value !== 'bigint' ? [value] : []));
}

/** The last value of a field; undefined: it is not there. */
function one(bytes: Buffer, wanted: number): Buffer | bigint | undefined {
  return [...fieldsOf(bytes)].findLast(([number]) => number === wanted)?.[1];
}

function text(bytes: Buffer, wanted: number, encoding: BufferEncoding = 'utf8'): string {
  const value = one(bytes, wanted);
  return typeof value === 'object' ? value.toString(encoding) : '';
}

function attributesOf(bytes: Buffer, field: number): Readonly<Record<string, string | number | boolean>> {
  return Object.fromEntries(
    all(bytes, field).map((pair) => {
      const [[kind, value] = [0, 0n]] = [...fieldsOf(all(pair, 2)[0] ?? Buffer.alloc(0))];
      if (typeof value !== 'bigint') return [text(pair, 1), value.toString()];
      const double = Buffer.alloc(8);
      double.writeBigUInt64LE(BigInt.asUintN(64, value));
      return [text(pair, 1), kind === 2 ? value === 1n : kind === 4 ? double.readDoubleLE() : Number(value)];
    }),
  );
}

/** Spans of an ExportTraceServiceRequest. */
function spansOf(request: Buffer): readonly ReceivedSpan[] {
  return all(request, 1).flatMap((group) => {
    const resource = attributesOf(all(group, 1)[0] ?? Buffer.alloc(0), 1);
    return all(group, 2).flatMap((scope) => all(scope, 2).map((span) => spanOf(span, resource)));
  });
}

function spanOf(span: Buffer, resource: ReceivedSpan['resource']): ReceivedSpan {
  const status = all(span, 15)[0];
  return {
    ...{ traceId: text(span, 1, 'hex'), spanId: text(span, 2, 'hex'), parentId: text(span, 4, 'hex'), name: text(span, 5), resource },
    kind: Number(one(span, 6) ?? 0n),
    attributes: attributesOf(span, 9),
    links: all(span, 13).map((link) => `${text(link, 1, 'hex')}-${text(link, 2, 'hex')}`),
    status: status === undefined ? 0 : Number(one(status, 3) ?? 0n),
    startNs: one(span, 7) as bigint,
    endNs: one(span, 8) as bigint,
  };
}
