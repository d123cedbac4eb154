import { commentsByPath, oneLine, type SourceCodeInfo } from './proto-comments.ts';

/* docs/protobuf.md, from an image of buf: every service, message, field and enum of the published protocol with its comment. */

/** The page that is written. */
export const PROTO_PAGE = 'docs/protobuf.md';

interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName?: string;
  readonly proto3Optional?: boolean;
  readonly oneofIndex?: number;
}

interface Enum {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}

interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly oneofDecl?: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry?: boolean };
}

interface Method {
  readonly name: string;
  readonly inputType: string;
  readonly outputType: string;
  readonly clientStreaming?: boolean;
  readonly serverStreaming?: boolean;
}

interface ProtoFile {
  readonly name: string;
  readonly package?: string;
  readonly messageType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly service?: readonly { readonly name: string; readonly method?: readonly Method[] }[];
  readonly sourceCodeInfo?: SourceCodeInfo;
}

/** Numbers of the fields of descriptor.proto that paths of comments are made of. */
const OF_FILE = { message: 4, enum: 5, service: 6, syntax: 12 } as const;
const OF_MESSAGE = { field: 2, nested: 3, enum: 4 } as const;
const MEMBER = 2;

const PACKAGE = 'sluice.v1';

const HEAD = `# The protocol

<!-- Written by \`npm run gen\` from proto/sluice/v1. -->

Package \`${PACKAGE}\`, file by file. Over gRPC a call is \`/${PACKAGE}.SERVICE/METHOD\` on \`listen.grpc\`; over Connect and gRPC-Web the same path on \`listen.api\`; in JSON
names are written as \`requestId\`, and \`request_id\` is taken, too. How to call it well: [clients.md](clients.md). Plain HTTP: [openapi.json](openapi.json).
`;

/** Returns the page, from an image as JSON. */
export function protoPage(image: string): string {
  const { file: files } = JSON.parse(image) as { readonly file: readonly ProtoFile[] };
  const ours = files.filter((each) => each.package === PACKAGE);
  return `${[HEAD, ...ours.map(fileSection)].join('\n').trimEnd()}\n`;
}

function fileSection(file: ProtoFile): string {
  const comments = commentsByPath(file.sourceCodeInfo);
  const lines = [`## ${file.name}`, '', ...paragraphs(comments.get(`${OF_FILE.syntax}`)), ''];
  for (const [index, service] of (file.service ?? []).entries()) {
    const path = [OF_FILE.service, index];
    lines.push(
      `### ${service.name}`,
      '',
      ...paragraphs(comments.get(path.join('.'))),
      '',
      '| call | takes | answers | what it does |',
      '| --- | --- | --- | --- |',
    );
    for (const [number, method] of (service.method ?? []).entries()) {
      const takes = `${method.clientStreaming === true ? 'stream of ' : ''}${reference(method.inputType)}`;
      const answers = `${method.serverStreaming === true ? 'stream of ' : ''}${reference(method.outputType)}`;
      lines.push(row(`\`${method.name}\``, takes, answers, comments.get([...path, MEMBER, number].join('.'))));
    }
    lines.push('');
  }
  for (const [index, message] of (file.messageType ?? []).entries()) lines.push(...messageSection(message, '', [OF_FILE.message, index], comments));
  for (const [index, each] of (file.enumType ?? []).entries()) lines.push(...enumSection(each, '', [OF_FILE.enum, index], comments));
  return lines.join('\n');
}

function messageSection(message: Message, scope: string, path: readonly number[], comments: ReadonlyMap<string, string>): readonly string[] {
  const nested = message.nestedType ?? [];
  const maps = new Map(nested.filter((each) => each.options?.mapEntry === true).map((each) => [each.name, each.field ?? []]));
  const lines = [`### ${scope}${message.name}`, '', ...paragraphs(comments.get(path.join('.'))), ''];
  if (message.field !== undefined) lines.push('| field | no. | type | what it is |', '| --- | --- | --- | --- |');
  for (const [index, field] of (message.field ?? []).entries()) {
    const oneof = field.proto3Optional !== true && field.oneofIndex !== undefined ? message.oneofDecl?.[field.oneofIndex]?.name : undefined;
    const type = `${typeOf(field, maps)}${oneof === undefined ? '' : `, one of \`${oneof}\``}`;
    lines.push(row(`\`${field.name}\``, `${field.number}`, type, comments.get([...path, OF_MESSAGE.field, index].join('.'))));
  }
  if (message.field !== undefined) lines.push('');
  for (const [index, each] of nested.entries())
    if (!maps.has(each.name)) lines.push(...messageSection(each, `${scope}${message.name}.`, [...path, OF_MESSAGE.nested, index], comments));
  for (const [index, each] of (message.enumType ?? []).entries())
    lines.push(...enumSection(each, `${scope}${message.name}.`, [...path, OF_MESSAGE.enum, index], comments));
  return lines;
}

function enumSection({ name, value }: Enum, scope: string, path: readonly number[], comments: ReadonlyMap<string, string>): readonly string[] {
  const rows = value.map((each, index) => row(`\`${each.name}\``, `${each.number}`, comments.get([...path, MEMBER, index].join('.'))));
  return [`### ${scope}${name}`, '', ...paragraphs(comments.get(path.join('.'))), '', '| value | no. | what it is |', '| --- | --- | --- |', ...rows, ''];
}

function typeOf(field: Field, maps: ReadonlyMap<string, readonly Field[]>): string {
  const [key, value] = maps.get(field.typeName?.split('.').at(-1) ?? '') ?? [];
  if (key !== undefined && value !== undefined) return `map of ${typeOf(key, maps)} to ${typeOf(value, maps)}`;
  const one = field.typeName === undefined ? field.type.replace('TYPE_', '').toLowerCase() : reference(field.typeName);
  return field.label === 'LABEL_REPEATED' ? `list of ${one}` : `${one}${field.proto3Optional === true ? ', optional' : ''}`;
}

/** Returns a type's name, as a link where it is one of this page. */
function reference(full: string): string {
  const name = full.replace(/^\./, '');
  if (!name.startsWith(`${PACKAGE}.`)) return `\`${name}\``;
  const own = name.slice(PACKAGE.length + 1);
  return `[${own}](#${own.toLowerCase().replaceAll('.', '')})`;
}

function row(...cells: readonly (string | undefined)[]): string {
  return `| ${cells.map((cell) => oneLine(cell).replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Returns a comment as Markdown: its lines, an empty one between paragraphs. */
function paragraphs(comment = ''): readonly string[] {
  return comment
    .trimEnd()
    .split('\n')
    .map((line) => line.trim());
}
