import type { EngineReply, EngineStream } from '../../src/http/engine.ts';

type Pairs = readonly (readonly [name: string, value: string])[];

/** Headers and trailers that a call of the suite asks for. */
export interface AnswerMetadata {
  headers: Pairs;
  trailers: Pairs;
}

const ENVELOPE_BYTES = 5;

/** Adds headers and trailers to an answer of Connect or gRPC-Web, in the places that each has for them. */
export class MetadataReply implements EngineReply {
  readonly #reply: EngineReply;
  readonly #metadata: AnswerMetadata;

  constructor(reply: EngineReply, metadata: AnswerMetadata) {
    this.#reply = reply;
    this.#metadata = metadata;
  }

  onGone(gone: () => void): void {
    this.#reply.onGone(gone);
  }

  send(status: number, headers: Pairs, body: string | Uint8Array): boolean {
    const type = contentType(headers);
    const { trailers } = this.#metadata;
    if (isEnveloped(type)) return this.#reply.send(status, [...headers, ...this.#metadata.headers], this.#ended(type, Buffer.from(body)));
    return this.#reply.send(
      status,
      [...headers, ...this.#metadata.headers, ...trailers.map(([name, value]): [string, string] => [`Trailer-${name}`, value])],
      body,
    );
  }

  stream(status: number, headers: Pairs): EngineStream {
    const type = contentType(headers);
    const stream = this.#reply.stream(status, [...headers, ...this.#metadata.headers]);
    return {
      get ready() {
        return stream.ready;
      },
      write: (chunk) => stream.write(this.#ended(type, Buffer.from(chunk))),
      end: () => stream.end(),
    };
  }

  /** The same envelopes, the last with the trailers if it is the end of an answer. */
  #ended(type: string, bytes: Buffer): Buffer {
    let at = 0;
    while (at < bytes.length && bytes[at] === 0) at += ENVELOPE_BYTES + bytes.readUInt32BE(at + 1);
    if (at >= bytes.length) return bytes;
    const end = bytes.subarray(at + ENVELOPE_BYTES).toString();
    const { trailers } = this.#metadata;
    const more = type.startsWith('application/grpc-web')
      ? end + trailers.map(([name, value]) => `${name.toLowerCase()}: ${value}\r\n`).join('')
      : this.#endOfStream(end);
    const head = Buffer.from(bytes.subarray(at, at + ENVELOPE_BYTES));
    head.writeUInt32BE(Buffer.byteLength(more), 1);
    return Buffer.concat([bytes.subarray(0, at), head, Buffer.from(more)]);
  }

  #endOfStream(text: string): string {
    const metadata: Record<string, string[]> = {};
    for (const [name, value] of this.#metadata.trailers) metadata[name] = [...(metadata[name] ?? []), value];
    return JSON.stringify({ ...(JSON.parse(text) as object), metadata });
  }
}

function contentType(headers: Pairs): string {
  return headers.find(([name]) => name === 'Content-Type')?.[1] ?? '';
}

function isEnveloped(type: string): boolean {
  return type.startsWith('application/connect+') || type.startsWith('application/grpc-web');
}
