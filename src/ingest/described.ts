import type { MessageFacts, OperationKind, Statement } from '../domain/operation.ts';
import type { SpanView } from './span-view.ts';
import { codeOf } from './wanted-attributes.ts';

/** What a span says, before it becomes an operation; written field by field. */
export interface Described {
  kind: OperationKind;
  failed: boolean;
  sqlState: string;
  errorType: string;
  httpStatus: number;
  system: string;
  host: string;
  namespace: string;
  target: string;
  statement: Statement | undefined;
  message: MessageFacts | undefined;
  key: string;
  /** Which recorded parameters make the key, where the text itself does not show it. */
  keyParameters: readonly number[];
  /** What else differs between spans that are described alike: to be read of each. */
  varies: 'call' | 'database' | 'document' | 'message' | 'nothing';
  rows: number;
  idempotencyKey: string;
}

const noParameters: readonly number[] = [];

export const blank = (kind: OperationKind): Described => ({
  kind,
  failed: false,
  sqlState: '',
  errorType: '',
  httpStatus: 0,
  system: '',
  host: '',
  namespace: '',
  target: '',
  statement: undefined,
  message: undefined,
  key: '',
  keyParameters: noParameters,
  varies: 'nothing',
  rows: -1,
  idempotencyKey: '',
});

/** One name for each system, whatever the convention calls it. */
export function canonicalSystem(system: string): string {
  return system === 'postgres' ? 'postgresql' : system === 'mssql' ? 'microsoft.sql_server' : system.toLowerCase();
}

export const integer = (value: number): number => (Number.isFinite(value) ? Math.trunc(value) : -1);

/** Items of an array attribute, which travels as JSON text. */
export function listOf(text: string): readonly string[] {
  if (!text.startsWith('[')) return [];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list)
      ? list.map((item) => (item === null ? '' : typeof item === 'object' ? JSON.stringify(item) : String(item)))
      : [];
  } catch {
    return [];
  }
}
export const firstOfList = (text: string): string => (text.startsWith('[') ? (listOf(text)[0] ?? '') : text);
export const listText = (text: string): string => (text.startsWith('["') ? listOf(text).join(',') : text);

export const hostCodes = [
  [codeOf('server.address'), codeOf('server.port')],
  [codeOf('net.peer.name'), codeOf('net.peer.port')],
  [codeOf('network.peer.address'), codeOf('network.peer.port')],
  [codeOf('net.sock.peer.addr'), codeOf('net.sock.peer.port')],
] as const;
const peerServiceCode = codeOf('peer.service');

/** The server that was spoken to, with its port where given. */
export function hostOf(view: SpanView): string {
  for (const [address, port] of hostCodes) {
    if (!view.has(address)) continue;
    const name = view.text(address);
    const number = view.number(port, 0);
    return number > 0 ? withPort(name, number) : name;
  }
  return view.text(peerServiceCode);
}

/** Hosts are few and named by every span: one text for each, whose hash is known wherever it is looked up. */
const hostsMax = 10_000;
const hostTexts = new Map<string, Map<number, string>>();

function withPort(name: string, port: number): string {
  const ports = hostTexts.get(name);
  const known = ports?.get(port);
  if (known !== undefined) return known;
  const text = `${name}:${port}`;
  if (ports !== undefined && ports.size < hostsMax) ports.set(port, text);
  else if (ports === undefined && hostTexts.size < hostsMax) hostTexts.set(name, new Map([[port, text]]));
  return text;
}
