/* Comments of the protocol, from an image of buf with source information: generated code has none of them at run time. */

/** Where comments stand, as descriptor.proto has it. */
export interface SourceCodeInfo {
  readonly location?: readonly { readonly path?: readonly number[]; readonly leadingComments?: string }[];
}

interface Message {
  readonly name: string;
  readonly field?: readonly { readonly name: string }[];
  readonly nestedType?: readonly Message[];
}

interface ImageFile {
  readonly package?: string;
  readonly messageType?: readonly Message[];
  readonly sourceCodeInfo?: SourceCodeInfo;
}

/** Numbers of the fields of FileDescriptorProto and DescriptorProto that paths are made of. */
const MESSAGE = 4;
const FIELD = 2;
const NESTED = 3;
/** The package whose messages plain HTTP speaks. */
const PACKAGE = 'sluice.v1';

/** Returns the file with the comment of each message and field of the protocol, by its full name. */
export function commentsFile(image: string): string {
  const { file: files } = JSON.parse(image) as { readonly file: readonly ImageFile[] };
  const comments = files.filter((each) => each.package === PACKAGE).flatMap((each) => [...commentsOf(each)]);
  const lines = comments.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, comment]) => `  [${quoted(name)}, ${quoted(comment)}],`);
  const head = '/** Comments of messages and fields of the protocol, by full name. Written by `npm run gen`. */\n';
  const entries = `const ENTRIES: readonly (readonly [name: string, comment: string])[] = [\n${lines.join('\n')}\n];\n`;
  return `${entries}\n${head}export const COMMENTS: Readonly<Record<string, string>> = Object.fromEntries(ENTRIES);\n`;
}

function* commentsOf({ package: name = '', messageType = [], sourceCodeInfo }: ImageFile): Generator<readonly [string, string]> {
  const byPath = commentsByPath(sourceCodeInfo);
  function* of(message: Message, path: readonly number[], scope: string): Generator<readonly [string, string]> {
    const full = `${scope}.${message.name}`;
    yield [full, oneLine(byPath.get(path.join('.')))];
    for (const [index, field] of (message.field ?? []).entries()) yield [`${full}.${field.name}`, oneLine(byPath.get([...path, FIELD, index].join('.')))];
    for (const [index, nested] of (message.nestedType ?? []).entries()) yield* of(nested, [...path, NESTED, index], full);
  }
  for (const [index, message] of messageType.entries())
    for (const [full, comment] of of(message, [MESSAGE, index], name)) if (comment !== '') yield [full, comment];
}

/** Returns the comments of a file by the path of what they stand above, numbers joined by dots (descriptor.proto, SourceCodeInfo). */
export function commentsByPath(info: SourceCodeInfo | undefined): ReadonlyMap<string, string> {
  return new Map(info?.location?.map(({ path = [], leadingComments = '' }) => [path.join('.'), leadingComments]));
}

/** Returns the lines of a comment as one line. */
export function oneLine(comment = ''): string {
  return comment
    .split('\n')
    .map((line) => line.trim())
    .join(' ')
    .trim();
}

/** A literal of TypeScript as the formatter writes it: single quotes, unless there are fewer double ones inside. */
function quoted(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\');
  return text.includes("'") && !text.includes('"') ? `"${escaped}"` : `'${escaped.replaceAll("'", "\\'")}'`;
}
