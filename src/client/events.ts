/** One event of a text/event-stream. */
export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** Longest line kept; the server's are far below. */
const LINE_MAX = 65_536;

/**
 * Events of a stream, in order (WHATWG HTML 9.2.6, without `id` and `retry`). Ends with the stream, throws when it is cut.
 * `heard` is called at every chunk, heartbeats too. Who stops reading early cancels the stream.
 */
export async function* eventsOf(body: ReadableStream<Uint8Array>, heard: () => void): AsyncGenerator<ServerEvent, void, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let name = '';
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      if (rest.length > LINE_MAX) throw new Error('a line of the event stream is too long');
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield { name: name === '' ? 'message' : name, data: data.join('\n') };
          name = '';
          data = [];
        } else if (line.startsWith('event:')) name = line.slice(6).trimStart();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
